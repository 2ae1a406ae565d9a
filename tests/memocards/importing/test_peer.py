"""Anki itself reads what we write, and we read what it writes. For its licence's sake, in a process of its own."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from kit.scheduling import Outcome, StudyClock
from memocards.content.editors import SYSTEM
from memocards.exporting import export_anki
from memocards.exporting.anki import guid_of
from memocards.importing.reading import read
from memocards.importing.rows import RowKind
from memocards.importing.storing import preview, store
from memocards.learning import rating
from memocards.markup.to_html import as_html
from memocards.models import CardProgress, LearnerSettings, MemoCard, Review
from tests.factories import LearnerSettingsFactory, MemoCardFactory, TopicFactory
from tests.memocards.importing.files import bad, cards, items, skipped

PEER = Path(__file__).with_name("anki_peer.py")
ZONE = "Asia/Seoul"
TEXTS = [
    ("수도는 **어디**?", "서울 (Seoul), *Korea*"),
    ("# no title, 1 < 2 & 3", "- one\n- two\n  - three\n\n1. x\n2. y"),
    ("`code` and `a < b`", '```python\nprint("<b>")\n    # "x" & y\n```'),
    ("[a link](https://example.org/x?y=1)", "| A | B |\n| --- | --- |\n| 1\\|2 | ~~x~~ |"),
    ("{{c1::no gap}} [sound:no.mp3]", "> quoted\n>\n> twice\n\n---\n\n## Title"),
    ("مرحبا \\<script>alert(1)\\</script>", "one\\\ntwo\n\nthree \\*no emphasis\\*"),
]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        importlib.util.find_spec("anki") is None,
        reason="The anki package is not installed: there is no wheel of it for this machine.",
    ),
]


def peer(*arguments: object) -> Any:
    done = subprocess.run(
        [sys.executable, PEER, *map(str, arguments)],
        env={**os.environ, "TZ": ZONE},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


@pytest.fixture
def learner() -> LearnerSettings:
    return LearnerSettingsFactory.create(time_zone=ZONE, rollover_hour=4)


def clock() -> StudyClock:
    return StudyClock(ZONE, 4)


def study(learner: LearnerSettings, card: MemoCard, *outcomes: tuple[int, str]) -> None:
    """Rate a card so many days ago, each time. No two cards in the same millisecond: that is a review's id in Anki."""
    noon = clock().start_of(clock().study_day(timezone.now())) + timedelta(hours=8, seconds=card.pk % 1_000)
    for days_ago, outcome in outcomes:
        rating.rate_card(
            learner_id=learner.learner_id,
            card_id=card.pk,
            review_id=uuid4(),
            outcome=Outcome(outcome),
            reviewed_at=min(noon - timedelta(days=days_ago), timezone.now()),
            duration_ms=1_500,
        )


def test_anki_imports_an_export_without_a_difference_and_only_once(tmp_path: Path, learner: LearnerSettings) -> None:
    ladder = TopicFactory.create(name="World::Asia", description="About *Asia*.")
    fsrs = TopicFactory.create(name="By FSRS", scheduler="fsrs")
    for number, (front, back) in enumerate(TEXTS):
        MemoCardFactory.create(topic=ladder, front=front, back=back, tags=["a b", "x::y"], external_id=f"g~{number}")
    study(learner, by_id("g~0"), (30, "good"), (29, "good"), (26, "again"), (25, "good"))
    study(learner, by_id("g~1"), (3, "easy"))
    study(learner, by_id("g~2"), (1, "good"), (0, "hard"))
    remembered = MemoCardFactory.create(topic=fsrs, front="FSRS", back="b")
    study(learner, remembered, (10, "good"), (5, "good"), (1, "hard"))
    MemoCardFactory.create(topic=ladder, needs_review=True)
    MemoCardFactory.create(topic=ladder, deleted_at=timezone.now())

    package = tmp_path / "export.apkg"
    done = export_anki([ladder, fsrs], package, learner=learner)
    assert (done.notes, done.scheduled, done.reviews) == (7, 4, 10)
    first = peer("import", tmp_path / "peer.anki2", package)
    assert first["log"] == {"new": 7, "updated": 0, "duplicate": 0, "conflicting": 0}
    assert first["notes"] == {guid(card): expected(card, learner) for card in MemoCard.objects.filter(pk__in=live())}

    again = tmp_path / "again.apkg"
    export_anki([ladder, fsrs], again, learner=learner)
    second = peer("import", tmp_path / "peer.anki2", again)
    assert second["log"] == {"new": 0, "updated": 0, "duplicate": 7, "conflicting": 0}
    assert second["notes"] == first["notes"]

    # A change here updates the note there.
    changed = by_id("g~5")
    changed.back = "changed"
    changed.updated_at = timezone.now() + timedelta(seconds=2)
    changed.save(update_fields=["back"])
    MemoCard.objects.filter(pk=changed.pk).update(updated_at=timezone.now() + timedelta(seconds=2))
    export_anki([ladder, fsrs], again, learner=learner)
    third = peer("import", tmp_path / "peer.anki2", again)
    assert third["log"] == {"new": 0, "updated": 1, "duplicate": 6, "conflicting": 0}
    assert third["notes"]["g~5"]["fields"][1] == "changed"


def test_every_card_that_is_counted_is_one_to_anki(tmp_path: Path) -> None:
    topic = TopicFactory.create(name="A\x1fB")
    nothing = ["[x]: http://y", "&nbsp;", "#", "- ", "[](http://x.y)", "\x1f", "\x01\x1e"]
    texts = ["a\x1fb", "\x0bc\x0cd", "---", "[x]: http://y\n\n<b>", *nothing]
    for text in texts:
        MemoCardFactory.create(topic=topic, front=text, back=text, tags=["t\x1fu", "v\x01"])
    package = tmp_path / "export.apkg"
    assert export_anki([topic], package).notes == len(texts)
    collection = peer("import", tmp_path / "peer.anki2", package)
    assert collection["log"] == {"new": len(texts), "updated": 0, "duplicate": 0, "conflicting": 0}
    by_guid = {guid(card): card for card in MemoCard.objects.all()}
    for note_guid, note in collection["notes"].items():
        html = as_html(by_guid[note_guid].front)
        assert (note["fields"], len(note["cards"])) == ([html, html], 1)
        assert note["tags"] == ["t\ufffdu", "v\ufffd"]
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", html)
    assert bad(items(package)) == []


def test_an_export_comes_back_as_it_was(tmp_path: Path) -> None:
    topic = TopicFactory.create(name="World::Asia")
    for number, (front, back) in enumerate(TEXTS):
        MemoCardFactory.create(topic=topic, front=front, back=back, tags=["x::y", "z"], external_id=f"g~{number}")
    export_anki([topic], tmp_path / "export.apkg")
    seen = preview(read(tmp_path / "export.apkg"))
    assert seen.differences == []
    assert seen.report.unchanged == len(TEXTS)


def test_we_import_what_anki_exports(tmp_path: Path) -> None:
    notes = peer("make", tmp_path)["notes"]
    guids = {note["fields"][0]: guid for guid, note in notes.items()}
    japan, bern = guids["Japan"], guids["{{c1::Bern}} is the capital of {{c2::Switzerland::country}}."]
    expected_cards = {
        (
            "Geography",
            guids["Capital of <b>France</b>?"],
            "Capital of **France**?",
            "Paris & only Paris",
            ("capital", "europe::west"),
        ),
        ("Geography::Asia", guids["대한민국의 수도는?"], "대한민국의 수도는?", "- 서울\n- Seoul", ()),
        ("Geography::Asia", japan, "Japan", "Tokyo", ("capital",)),
        ("Geography::Asia", f"{japan}#2", "Tokyo", "Japan", ("capital",)),
        (
            "Geography",
            bern,
            "[...] is the capital of Switzerland.",
            "**Bern** is the capital of Switzerland.\\\nNot Zürich.",
            (),
        ),
        (
            "Geography",
            f"{bern}#2",
            "Bern is the capital of [country].",
            "Bern is the capital of **Switzerland**.\\\nNot Zürich.",
            (),
        ),
    }
    for name in ("new.apkg", "old.apkg", "new.colpkg", "old.colpkg"):
        entries = items(tmp_path / name)
        rows = {(row.topic, row.external_id, row.front, row.back, row.tags) for row in cards(entries)}
        assert rows == expected_cards, name
        assert skipped(entries) == [("media", "flag.png")]
        assert [reason for _place, reason in bad(entries)] == [
            "The front holds media only (flag.png), which are left out."
        ]
    # The text export of notes knows no templates, so the way back of one note is missing.
    rows = {(row.topic, row.external_id, row.front, row.back, row.tags) for row in cards(items(tmp_path / "notes.txt"))}
    assert rows == {row for row in expected_cards if row[1] != f"{japan}#2"}
    assert {row.front for row in cards(items(tmp_path / "cards.txt"))} == {row[2] for row in expected_cards}

    report = store(read(tmp_path / "new.apkg", kind=RowKind.CARD), create_topics=True, skip_bad=True, editor=SYSTEM)
    assert (report.new, report.bad, report.new_topics) == (6, 1, ["Geography", "Geography::Asia"])
    assert store(read(tmp_path / "old.colpkg"), skip_bad=True, editor=SYSTEM).unchanged == 6
    assert store(read(tmp_path / "notes.txt"), skip_bad=True, editor=SYSTEM).unchanged == 5


def by_id(external_id: str) -> MemoCard:
    return MemoCard.objects.get(external_id=external_id)


def live() -> list[int]:
    return list(MemoCard.objects.filter(needs_review=False, deleted_at=None).values_list("pk", flat=True))


def guid(card: MemoCard) -> str:
    return guid_of(card, is_taken=False)


def expected(card: MemoCard, learner: LearnerSettings) -> dict[str, Any]:
    """What Anki should hold of this card, from our own tables."""
    return {
        "fields": [as_html(card.front), as_html(card.back)],
        "tags": [tag.replace(" ", "_") for tag in card.tags],
        "kind": "StudyHub",
        "cards": [{"deck": card.topic.name, **scheduling(card, learner)}],
    }


def scheduling(card: MemoCard, learner: LearnerSettings) -> dict[str, Any]:
    progress = CardProgress.objects.filter(card=card, learner_id=learner.learner_id).first()
    today = clock().study_day(timezone.now())
    if progress is None:
        return {"type": 0, "queue": 0, "interval": 0, "reviews": 0, "lapses": 0, "stability": None, "history": []}
    last = clock().study_day(progress.last_reviewed_at)
    due = last + timedelta(days=365) if progress.due_at is None else clock().study_day(progress.due_at)
    state = progress.scheduler_state
    return {
        "type": 2,
        "queue": -1 if progress.due_at is None else 2,
        "due_in": (due - today).days,
        "interval": (due - last).days,
        "reviews": progress.review_count,
        "lapses": progress.lapse_count,
        "stability": pytest.approx(state["stability"], abs=0.001) if "stability" in state else None,
        "history": history(card, learner),
    }


def history(card: MemoCard, learner: LearnerSettings) -> list[list[int]]:
    log: list[list[int]] = []
    reviews = Review.objects.filter(card=card, learner_id=learner.learner_id).order_by("reviewed_at")
    for place, review in enumerate(reviews):
        day = clock().study_day(review.reviewed_at)
        interval = 365 if review.due_after is None else (clock().study_day(review.due_after) - day).days
        log.append(
            [
                int(review.reviewed_at.astimezone(UTC).timestamp() * 1000),
                ["again", "hard", "good", "easy"].index(review.outcome) + 1,
                max(interval, 1),
                log[-1][2] if log else 0,
                1_500,
                1 if place else 0,
            ]
        )
    return log
