"""Exports: what they hold, that imports read it again, and that a package appears whole or not at all."""

import io
import json
import sqlite3
import zipfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from kit.scheduling import StudyClock
from memocards.errors import NotFound
from memocards.exchange.names import name_of
from memocards.exporting import export_anki, export_content, live_topics
from memocards.importing.reading import read
from memocards.importing.rows import RowKind
from memocards.importing.storing import preview
from memocards.models import CardProgress, LearnerSettings, MemoCard, Topic
from tests.factories import (
    CardProgressFactory,
    LearnerSettingsFactory,
    MemoCardFactory,
    QuestionFactory,
    ReviewFactory,
    TopicFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)

CLOCK = StudyClock("Asia/Seoul", 4)


@pytest.fixture
def topic() -> Topic:
    return TopicFactory.create(name="World::Asia")


@pytest.fixture
def learner() -> LearnerSettings:
    return LearnerSettingsFactory.create(time_zone="Asia/Seoul", rollover_hour=4)


def exported(topics: list[Topic], format: str, **options: Any) -> str:
    out = io.StringIO(newline="")
    export_content(topics, out, format=format, **options)
    return out.getvalue()


def tables(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every table of the package's collection."""
    with zipfile.ZipFile(path) as archive:
        collection = path.with_suffix(".sqlite")
        collection.write_bytes(archive.read("collection.anki2"))
        assert archive.read("media") == b"{}"
    with closing(sqlite3.connect(collection)) as database:
        database.row_factory = sqlite3.Row
        return {
            table: [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY 1")]
            for table in ("col", "notes", "cards", "revlog")
        }


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
def test_cards_are_read_again_as_they_are(tmp_path: Path, topic: Topic, format: str) -> None:
    MemoCardFactory.create(topic=topic, external_id="x", tags=["South America", "a,b", "c"], source="A book")
    MemoCardFactory.create(topic=topic, external_id="y", front='q"uo\nte\t;', back="# b\n\n- c", needs_review=True)
    MemoCardFactory.create(topic=topic, external_id="z", deleted_at=timezone.now())
    path = tmp_path / f"a.{format}"
    path.write_text(exported([topic], format, waiting=True), newline="")
    seen = preview(read(path))
    assert (seen.report.read, seen.report.unchanged, seen.differences) == (2, 2, [])


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
def test_questions_are_read_again_as_they_are(tmp_path: Path, topic: Topic, format: str) -> None:
    QuestionFactory.create(
        topic=topic,
        external_id="x",
        choices=["a|b\nc", '"d"', "`e`"],
        answer=3,
        explanation="Why.",
        explanation_status="ready",
        source="Exam",
    )
    QuestionFactory.create(topic=topic, external_id="y", explanation_status="failed")
    path = tmp_path / f"a.{format}"
    path.write_text(exported([topic], format, questions=True), newline="")
    seen = preview(read(path, kind=RowKind.QUESTION))
    assert (seen.report.read, seen.report.unchanged, seen.differences) == (2, 2, [])


def test_only_what_is_live_unless_asked(topic: Topic) -> None:
    card = MemoCardFactory.create(topic=topic)
    MemoCardFactory.create(topic=topic, needs_review=True)
    MemoCardFactory.create()
    lines = exported([topic], "jsonl").splitlines()
    assert [json.loads(line)["external_id"] for line in lines] == [name_of(MemoCard.objects.get(pk=card.pk))]
    assert len(exported([topic], "jsonl", waiting=True).splitlines()) == 2


def test_topics_by_name(topic: Topic) -> None:
    other = TopicFactory.create(name="Other")
    TopicFactory.create(name="Gone", deleted_at=timezone.now())
    assert live_topics(["Other", "World::Asia", "Other"]) == [other, topic]
    with pytest.raises(NotFound, match="There is no topic 'Gone'"):
        live_topics(["Other", "Gone"])


def test_a_package_without_a_learner_has_new_cards_in_order(tmp_path: Path, topic: Topic) -> None:
    for number in range(3):
        MemoCardFactory.create(topic=topic, external_id=f"g{number}", front=f"**f{number}**")
    done = export_anki([topic], tmp_path / "a.apkg")
    assert (done.notes, done.scheduled, done.reviews) == (3, 0, 0)
    anki = tables(tmp_path / "a.apkg")
    assert [(note["guid"], note["flds"].split("\x1f")[0]) for note in anki["notes"]] == [
        (f"g{number}", f"<strong>f{number}</strong>") for number in range(3)
    ]
    assert [(row["type"], row["queue"], row["due"]) for row in anki["cards"]] == [(0, 0, 1), (0, 0, 2), (0, 0, 3)]
    assert anki["revlog"] == []
    assert "World::Asia" in {deck["name"] for deck in json.loads(anki["col"][0]["decks"]).values()}


def test_guids_are_stable_and_never_shared(tmp_path: Path, topic: Topic) -> None:
    other = TopicFactory.create()
    first = MemoCardFactory.create(topic=topic, external_id="same")
    without = MemoCardFactory.create(topic=topic)

    def guids() -> dict[str, str]:
        export_anki([topic, other], tmp_path / "a.apkg")
        return {note["sfld"]: note["guid"] for note in tables(tmp_path / "a.apkg")["notes"]}

    before = guids()
    assert before[first.front] == "same"
    second = MemoCardFactory.create(topic=other, external_id="same")
    after = guids()
    assert before.items() <= after.items()
    assert len(set(after.values())) == 3
    Topic.objects.filter(pk=topic.pk).update(name="Renamed")
    MemoCard.objects.filter(pk=without.pk).update(back="changed")
    assert guids() == after
    assert after[second.front] != "same"


def test_progress_becomes_due_days_and_a_sentinel_is_suspended(
    tmp_path: Path, topic: Topic, learner: LearnerSettings
) -> None:
    first_day = CLOCK.study_day(datetime(2026, 3, 1, tzinfo=UTC))
    answered = CLOCK.start_of(first_day) + timedelta(days=2, hours=20)
    due, known = MemoCardFactory.create(topic=topic), MemoCardFactory.create(topic=topic)
    common = {"learner": learner.learner, "last_reviewed_at": answered}
    CardProgressFactory.create(
        card=due, due_at=CLOCK.start_of(first_day + timedelta(days=9)), review_count=4, lapse_count=1, **common
    )
    CardProgressFactory.create(card=known, due_at=None, review_count=1, last_outcome="easy", **common)
    CardProgressFactory.create(card=MemoCardFactory.create(topic=topic))
    ReviewFactory.create(
        learner=learner.learner,
        card=due,
        reviewed_at=CLOCK.start_of(first_day) + timedelta(hours=3),
        due_after=CLOCK.start_of(first_day + timedelta(days=1)),
        duration_ms=99_999,
    )
    for outcome in ("again", "good"):
        ReviewFactory.create(
            learner=learner.learner,
            card=due,
            reviewed_at=answered,
            outcome=outcome,
            due_after=CLOCK.start_of(first_day + timedelta(days=9)),
        )
    ReviewFactory.create(learner=learner.learner, card=due, reviewed_at=answered, undone_at=answered)
    ReviewFactory.create(card=due)

    done = export_anki([topic], tmp_path / "a.apkg", learner=learner)
    assert (done.notes, done.scheduled, done.reviews) == (3, 2, 3)
    anki = tables(tmp_path / "a.apkg")
    fields = ("type", "queue", "due", "ivl", "reps", "lapses")
    assert [tuple(row[name] for name in fields) for row in anki["cards"]] == [
        (2, 2, 9, 7, 4, 1),
        (2, -1, 2 + 365, 365, 1, 0),
        (0, 0, 3, 0, 0, 0),
    ]
    moment = int(answered.timestamp() * 1000)
    assert [(row["id"], row["ivl"], row["lastIvl"], row["time"], row["type"]) for row in anki["revlog"]] == [
        (int((CLOCK.start_of(first_day) + timedelta(hours=3)).timestamp() * 1000), 1, 0, 60_000, 0),
        (moment, 7, 1, 0, 1),
        (moment + 1, 7, 7, 0, 1),
    ]
    assert anki["col"][0]["crt"] == int(CLOCK.start_of(first_day).timestamp())
    conf = json.loads(anki["col"][0]["conf"])
    assert (conf["schedVer"], conf["rollover"], conf["creationOffset"]) == (2, 4, -540)
    assert CardProgress.objects.count() == 3


def test_the_memory_of_fsrs_is_kept(tmp_path: Path, learner: LearnerSettings) -> None:
    topic = TopicFactory.create(scheduler="fsrs")
    state = {"stability": 12.34567, "difficulty": 5.4321, "day": "2026-03-01"}
    CardProgressFactory.create(card=MemoCardFactory.create(topic=topic), learner=learner.learner, scheduler_state=state)
    CardProgressFactory.create(card=MemoCardFactory.create(topic=topic), learner=learner.learner, due_at=None)
    export_anki([topic], tmp_path / "a.apkg", learner=learner)
    first, second = tables(tmp_path / "a.apkg")["cards"]
    assert json.loads(first["data"]) == {"s": 12.3457, "d": 5.432}
    assert second["data"] == ""


def test_a_package_is_whole_or_not_there(tmp_path: Path, topic: Topic) -> None:
    MemoCardFactory.create(topic=topic)
    path = tmp_path / "a.apkg"
    path.write_text("the old one")

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_anki([topic], path, on_written=stop)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.apkg", "the old one")]
    export_anki([topic], path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.apkg"]
    assert zipfile.is_zipfile(path)


def test_thousands_of_cards_cost_a_few_statements(
    tmp_path: Path, topic: Topic, learner: LearnerSettings, django_assert_max_num_queries: Any
) -> None:
    MemoCard.objects.bulk_create(
        MemoCard(topic=topic, front=f"f{n}", back="b", external_id=f"g{n}", needs_review=False) for n in range(3_000)
    )
    with django_assert_max_num_queries(8):
        assert export_anki([topic], tmp_path / "a.apkg", learner=learner).notes == 3_000
