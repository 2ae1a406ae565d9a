"""A viewer's database of the first release is brought to the present tables: rows, ratings and whose they are."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from viewer.tests.hub import LEARNER, TOKEN, FakeHub
from viewer.tests.installation import Installation

# Runs in a process of its own: makes the tables of the first release, and rows in each of them.
_FILL = """
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "viewer.settings"
import django
django.setup()
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
executor = MigrationExecutor(connection)
others = [leaf for leaf in executor.loader.graph.leaf_nodes() if leaf[0] != "viewer"]
apps = executor.migrate([*others, ("viewer", "0001_tables")]).apps
for model, rows in json.loads(sys.argv[1]).items():
    for row in rows:
        apps.get_model("viewer", model).objects.create(**row)
"""
_MOMENT = "2026-11-25T12:00:00+00:00"
_WAITING = "00000000-0000-4000-8000-000000000001"
_ACCEPTED = "00000000-0000-4000-8000-000000000002"
_REFUSED = "00000000-0000-4000-8000-000000000003"


@pytest.fixture
def far_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    hub.publish("topic", 1)
    hub.publish("card", 1)
    hub.publish("card", 2)
    hub.publish("card", 3)
    hub.publish("card_progress", 4)
    yield hub
    hub.stop()


@pytest.fixture
def installed(tmp_path: Path, far_hub: FakeHub) -> Installation:
    """At the head of the hub's feed, with a rating in each state."""
    installation = Installation(tmp_path / "viewer", {"HUB_URL": far_hub.url, "HUB_TOKEN": TOKEN})
    filling = installation.start(json.dumps(_rows(far_hub)), code=_FILL)
    output, _nothing = filling.communicate(timeout=60)
    assert filling.returncode == 0, output
    return installation


def _rows(hub: FakeHub) -> dict[str, list[dict[str, Any]]]:
    projection = {"generation": 3, "hash": "0", "schema_version": 1}
    card = {**projection, "topic_id": 1, "question_id": None, "back": "Lima", "tags": []}
    progress = {"card_id": 1, "topic_id": 1, "learner_id": LEARNER, "last_outcome": "good", "review_stage": 0}
    rating = {"outcome": "good", "reviewed_at": _MOMENT, "duration_ms": 900}
    unknown = {"kind": "poem", "source_id": 1, "seq": 1, "payload": "{}", "reason": "This version does not know it."}
    source = hashlib.sha256(f"{hub.url}\n{TOKEN}".encode()).hexdigest()
    state = {"cursor": f"{hub.epoch}.{hub.seq}", "generation": 3, "scanning": False, "seq": hub.seq, "head": hub.seq}
    return {
        "Topic": [{**projection, "id": 1, "seq": 1, "name": "Capitals", "description": "", "position": 1}],
        "Question": [
            {**projection, "id": 1, "seq": 1, "topic_id": 1, "stem": "Which?", "choices": ["A", "B"], "answer": 1},
        ],
        "Explanation": [{**projection, "id": 1, "seq": 1, "question_id": 1, "body": "So."}],
        "Card": [{**card, "id": number, "seq": number + 1, "front": f"Front {number}"} for number in (1, 2, 3)],
        "CardProgress": [{**projection, **progress, "id": 4, "seq": 5, "last_reviewed_at": _MOMENT, "due_at": _MOMENT}],
        "UnknownItem": [{**projection, **unknown}],
        "Rating": [
            {**rating, "id": _WAITING, "card_id": 1},
            {**rating, "id": _ACCEPTED, "card_id": 2, "state": "accepted", "accepted_at": _MOMENT},
            {**rating, "id": _REFUSED, "card_id": 3, "state": "refused", "problem": "No.", "holds_card": False},
        ],
        "SyncState": [
            {**state, "at_head": True, "synced_at": _MOMENT, "learner_id": LEARNER, "source": source},
        ],
    }


def test_what_a_viewer_of_the_first_release_held_is_there_and_goes_on(
    installed: Installation, far_hub: FakeHub
) -> None:
    tables = ["topic", "question", "explanation", "card", "cardprogress", "unknownitem"]
    before = {table: installed.rows(f"SELECT * FROM viewer_{table}") for table in tables}
    assert all(before.values())
    synced = installed.run("sync", "--once")
    assert synced.returncode == 0, synced.stdout + synced.stderr
    assert {table: installed.rows(f"SELECT * FROM viewer_{table}") for table in tables} == before
    # It went on from where it stood, as the owner that its source was, and sent what waited.
    assert [asked["after"] for asked in far_hub.asked] == [f"{far_hub.epoch}.{far_hub.seq}"]
    assert list(far_hub.reviews) == [_WAITING]
    hub = far_hub.owner.hub.hex
    assert installed.rows("SELECT hub, subscriber_id, learner_id FROM viewer_owner") == [(hub, 3, LEARNER)]
    assert installed.rows("SELECT replace(id, '-', ''), hub, learner_id, state FROM viewer_rating ORDER BY id") == [
        (_WAITING.replace("-", ""), hub, LEARNER, "accepted"),
        (_ACCEPTED.replace("-", ""), hub, LEARNER, "accepted"),
        (_REFUSED.replace("-", ""), hub, LEARNER, "refused"),
    ]


def test_with_another_token_nothing_of_it_is_touched_and_nothing_is_sent(
    installed: Installation, far_hub: FakeHub
) -> None:
    far_hub.token = "another"
    refused = installed.run("sync", "--once", HUB_TOKEN="another")
    assert refused.returncode == 1
    assert "It is from before viewers noted whose it is" in refused.stdout
    assert far_hub.reviews == {}
    far_hub.token = TOKEN
    assert installed.run("sync", "--once").returncode == 0
    assert list(far_hub.reviews) == [_WAITING]


def test_a_damaged_database_of_the_first_release_is_repaired_with_its_ratings_still_its_owners(
    installed: Installation, far_hub: FakeHub
) -> None:
    path = installed.directory / "viewer.sqlite3"
    (root,) = installed.rows("SELECT rootpage FROM sqlite_master WHERE name = 'viewer_topic'")[0]
    (size,) = installed.rows("PRAGMA page_size")[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    repaired = installed.run("repair")
    assert repaired.returncode == 0, repaired.stderr
    assert installed.run("sync", "--once").returncode == 0
    assert list(far_hub.reviews) == [_WAITING]
    assert installed.rows("SELECT count(*) FROM viewer_rating WHERE hub IS NULL") == [(0,)]
