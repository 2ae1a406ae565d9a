"""A file that changes many approved cards, while learners rate them: nobody waits long, and nobody sees half of it."""

import threading
import time
import uuid
from pathlib import Path
from typing import Self

import httpx
import psycopg
import pytest

from tests.process.processes import OwnDatabase, say, wait_until

# As long as a rating may wait, with the machine to ourselves.
SECONDS = 2.0
# One who made a subscriber's token reads it on the last line.
SCENE = """
from django.contrib.auth.models import User
from memocards.models import MemoCard
from memocards.content.topics import create_topic
from publish.services import enqueue_card_publish
from publish.subscribers import create_subscriber
from kit.transactions import in_transaction
topic = create_topic(name="World")
@in_transaction
def make():
    rows = MemoCard.objects.bulk_create(
        MemoCard(topic=topic, front=f"i{{n}}", back="old", external_id=f"i{{n}}", needs_review=False)
        for n in range({count})
    )
    enqueue_card_publish(*rows)
    return rows[0].pk
print(make())
User.objects.create_user("importer", is_staff=True)
for n in range(3):
    learner = User.objects.create_user(f"learner{{n}}")
    print(create_subscriber(name=learner.username, learner_id=learner.pk)[1])
"""


class Rater(threading.Thread):
    """A learner who rates one of these cards after the other. `waited`: seconds for each answer, by its status."""

    def __init__(self, url: str, token: str, keys: range) -> None:
        super().__init__()
        self._url, self._token, self._keys = url, token, keys
        self._is_over = False
        self.waited: list[tuple[int, float]] = []

    def run(self) -> None:
        with httpx.Client(base_url=self._url, headers={"Authorization": f"Bearer {self._token}"}, timeout=60) as client:
            for key in self._keys:
                if self._is_over:
                    return
                begun = time.monotonic()
                answer = client.post(
                    f"/api/study-cards/{key}/rate", json={"review_id": str(uuid.uuid4()), "outcome": "good"}
                )
                self.waited.append((answer.status_code, time.monotonic() - begun))
                time.sleep(0.1)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_over = True
        self.join()


class Onlooker(threading.Thread):
    """Counts the changed cards all the time, as everybody sees them."""

    def __init__(self, own_hub: OwnDatabase) -> None:
        super().__init__()
        # PostgreSQL writes the directory of its socket into the fifth line of this file.
        file = own_hub.directory / "postgres" / "data" / "postmaster.pid"
        self._socket = file.read_text().splitlines()[4]
        self._is_over = False
        self.seen: set[int] = set()

    def run(self) -> None:
        with psycopg.connect(host=self._socket, user="studyhub", dbname="studyhub", autocommit=True) as connection:
            while not self._is_over:
                counted = connection.execute("SELECT count(*) FROM memocards_memocard WHERE back <> 'old'").fetchone()
                assert counted
                self.seen.add(counted[0])
                time.sleep(0.02)

    def stop(self) -> None:
        self._is_over = True
        self.join()


def contention() -> float:
    """How many times longer than it computes a process takes here, because others want the processors too."""
    begun, computed = time.monotonic(), time.process_time()
    while time.process_time() - computed < 0.5:
        pass
    return (time.monotonic() - begun) / (time.process_time() - computed)


def _import_while_they_rate(hub: OwnDatabase, tmp_path: Path, count: int) -> None:
    crowded = contention()
    first, *tokens = hub.prepare(SCENE.format(count=count))[-4:]
    hub.hub()
    path = tmp_path / "changed.csv"
    rows = "".join(f"i{n},i{n},changed {'x' * 300}\n" for n in range(count))
    path.write_text(f"external_id,front,back\n{rows}")
    # Each on cards of their own, spread over the file.
    keys = [range(int(first) + n, int(first) + count, 7) for n in range(3)]
    raters = [Rater(hub.url, token, keys) for token, keys in zip(tokens, keys, strict=True)]
    with raters[0], raters[1], raters[2]:
        wait_until(lambda: all(len(rater.waited) > 3 for rater in raters), seconds=60)
        onlooker = Onlooker(hub)
        onlooker.start()
        said = hub.manage("import_cards", str(path), "--topic", "World", "--author", "importer")
        wait_until(lambda: all(rater.waited[-1][0] == httpx.codes.CONFLICT for rater in raters), seconds=60)
    onlooker.stop()
    assert f"{count:,} changed" in said
    assert onlooker.seen == {0, count}
    waited = [answer for rater in raters for answer in rater.waited]
    # A rating is stored as long as the card is approved, and from the import on it waits for review again. One that
    # meets the import's locks on a slow machine is told to come back, and is not lost.
    answers = {status for status, _seconds in waited} - {httpx.codes.SERVICE_UNAVAILABLE}
    assert answers == {httpx.codes.OK, httpx.codes.CONFLICT}
    longest = max(waiting for _status, waiting in waited)
    crowded = max(crowded, contention())
    say(f"{count:,} cards: the longest rating took {longest:.2f} s, in a crowd of {crowded:.1f}")
    assert longest < SECONDS * crowded


@pytest.mark.slow
def test_ratings_do_not_wait_for_an_import_of_their_cards(own_hub: OwnDatabase, tmp_path: Path) -> None:
    _import_while_they_rate(own_hub, tmp_path, 3_000)


@pytest.mark.slow
def test_ratings_wait_two_seconds_at_most_for_an_import_of_thirty_thousand_cards(
    own_hub: OwnDatabase, tmp_path: Path
) -> None:
    _import_while_they_rate(own_hub, tmp_path, 30_000)
