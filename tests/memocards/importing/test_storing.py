"""store() and preview(): only what changed is written, approvals and progress stay, and nothing is half done."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from memocards.content.cards import cards as services
from memocards.content.editors import SYSTEM, Editor
from memocards.content.questions import questions as question_services
from memocards.content.versions import versions_of
from memocards.importing.reading import Reading, read
from memocards.importing.refusals import BadRows, TopicMissing, UnknownTopics, UnreadableFile
from memocards.importing.rows import RowKind
from memocards.importing.storing import preview, store
from memocards.models import CardProgress, MemoCard, Question, Review, Topic
from publish.models import PublishOutbox
from tests.factories import (
    CardProgressFactory,
    MemoCardFactory,
    QuestionFactory,
    ReviewFactory,
    TopicFactory,
    UserFactory,
)
from tests.memocards.editors import reviewer
from tests.memocards.importing.files import card, question, write, write_jsonl
from tests.memocards.outbox import forget, outbox, truth
from tests.memocards.waiting import wait_until_somebody_waits

Start = Callable[..., Future[Any]]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def topic() -> Topic:
    return TopicFactory.create(name="Topic")


def jsonl(folder: Path, *rows: dict[str, Any], kind: RowKind = RowKind.CARD) -> Reading:
    return read(write_jsonl(folder / "a.jsonl", rows), kind=kind)


def test_new_cards_wait_for_review_and_are_enqueued(tmp_path: Path, topic: Topic) -> None:
    author = UserFactory.create()
    report = store(jsonl(tmp_path, card(2, tags=["x"]), card(1)), topic="Topic", editor=Editor(author.pk))
    assert (report.read, report.new, report.changed, report.unchanged) == (2, 2, 0, 0)
    first, second = MemoCard.objects.order_by("pk")
    assert [first.external_id, second.external_id] == ["c2", "c1"]
    assert (first.topic_id, first.front, first.back, first.tags) == (topic.pk, "Front 2", "Back 2", ["x"])
    assert first.needs_review
    assert first.author_id == author.pk
    assert first.source == "a.jsonl"
    assert first.reviewed_at is None
    first.full_clean()
    assert outbox() == {key: value for key, value in truth().items() if key[0] == "card"}


def test_a_second_import_writes_nothing(tmp_path: Path, topic: Topic) -> None:
    rows = jsonl(tmp_path, card(1), card(2))
    store(rows, topic="Topic", editor=SYSTEM)
    before = list(MemoCard.objects.order_by("pk").values())
    forget()
    report = store(rows, topic="Topic", editor=SYSTEM)
    assert (report.new, report.changed, report.unchanged) == (0, 0, 2)
    assert list(MemoCard.objects.order_by("pk").values()) == before
    assert outbox() == {}


def test_a_change_goes_back_to_review_and_the_rest_keeps_its_approval(tmp_path: Path, topic: Topic) -> None:
    store(jsonl(tmp_path, card(1), card(2), card(3)), topic="Topic", editor=SYSTEM)
    someone = UserFactory.create()
    keys = list(MemoCard.objects.order_by("pk").values_list("pk", flat=True))
    services.approve(versions=versions_of(MemoCard, keys[:2]), editor=reviewer(someone.pk))
    kept = MemoCard.objects.filter(pk=keys[0]).values().get()
    forget()
    report = store(
        jsonl(tmp_path, card(1), card(2, back="better"), card(3, back="better"), card(4)), topic="Topic", editor=SYSTEM
    )
    assert (report.new, report.changed, report.unapproved, report.unchanged) == (1, 2, 1, 1)
    assert MemoCard.objects.filter(pk=keys[0]).values().get() == kept
    approved, waiting = MemoCard.objects.filter(pk__in=keys[1:]).order_by("pk")
    assert approved.back == waiting.back == "better"
    assert approved.needs_review
    assert approved.unapproved_at is not None
    assert approved.reviewed_by_id is None
    assert waiting.unapproved_at is None
    new = MemoCard.objects.get(external_id="c4")
    assert outbox() == {("card", key): None for key in (keys[1], keys[2], new.pk)}
    assert truth()["card", keys[0]] is not None


def test_a_card_that_was_sent_back_waits_for_a_reviewer_once_it_changed(tmp_path: Path, topic: Topic) -> None:
    store(jsonl(tmp_path, card(1)), topic="Topic", editor=SYSTEM)
    key = MemoCard.objects.get().pk
    services.send_back(keys=[key], reason="Wrong.", editor=SYSTEM)
    store(jsonl(tmp_path, card(1)), topic="Topic", editor=SYSTEM)
    assert MemoCard.objects.get().sent_back_at is not None
    store(jsonl(tmp_path, card(1, back="right")), topic="Topic", editor=SYSTEM)
    assert MemoCard.objects.get().sent_back_at is None


def test_progress_and_reviews_are_not_touched(tmp_path: Path, topic: Topic) -> None:
    mine = MemoCardFactory.create(topic=topic, external_id="c1")
    CardProgressFactory.create(card=mine)
    ReviewFactory.create(card=mine)
    progress, reviews = list(CardProgress.objects.values()), list(Review.objects.values())
    report = store(jsonl(tmp_path, card(1, front="another")), topic="Topic", editor=SYSTEM)
    assert report.changed == 1
    assert MemoCard.objects.get().pk == mine.pk
    assert list(CardProgress.objects.values()) == progress
    assert list(Review.objects.values()) == reviews
    assert {key[0] for key in outbox()} == {"card"}


def test_a_deleted_card_stays_deleted(tmp_path: Path, topic: Topic) -> None:
    store(jsonl(tmp_path, card(1), card(2)), topic="Topic", editor=SYSTEM)
    gone = MemoCard.objects.get(external_id="c1")
    services.delete(keys=[gone.pk], editor=SYSTEM)
    forget()
    report = store(jsonl(tmp_path, card(1, back="another"), card(2)), topic="Topic", editor=SYSTEM)
    assert (report.deleted, report.changed, report.unchanged, report.new) == (1, 0, 1, 0)
    assert MemoCard.objects.get(pk=gone.pk).back == "Back 1"
    assert outbox() == {}


def test_what_a_file_does_not_speak_of_stays(tmp_path: Path, topic: Topic) -> None:
    MemoCardFactory.create(topic=topic, external_id="c1", front="Front 1", back="Back 1", tags=["x"], source="Book")
    assert store(jsonl(tmp_path, card(1)), topic="Topic", editor=SYSTEM).unchanged == 1
    assert store(jsonl(tmp_path, card(1, tags=[])), topic="Topic", editor=SYSTEM).changed == 1
    assert (MemoCard.objects.get().tags, MemoCard.objects.get().source) == ([], "Book")


def test_rows_without_an_id_are_known_by_their_front(tmp_path: Path, topic: Topic) -> None:
    store(read(write(tmp_path / "a.csv", "front,back\nSeoul,old\n")), topic="Topic", editor=SYSTEM)
    report = store(read(write(tmp_path / "a.csv", "front,back\n Seoul ,new\n")), topic="Topic", editor=SYSTEM)
    assert (report.new, report.changed) == (0, 1)


def test_rows_that_say_the_same_twice(tmp_path: Path, topic: Topic) -> None:
    rows = jsonl(
        tmp_path,
        card(1),
        card(2),
        card(1),
        card(2, back="other"),
        {"front": "f", "back": "a"},
        {"front": "f", "back": "b"},
    )
    with pytest.raises(BadRows) as caught:
        store(rows, topic="Topic", editor=SYSTEM)
    assert [(row.place, row.reason) for row in caught.value.listed] == [
        ("line 4", "The row has the same id 'c2' as line 2, but says something else."),
        ("line 6", "The row begins as line 5 does, but goes on differently. Give both an id of their own."),
    ]
    report = store(rows, topic="Topic", skip_bad=True, editor=SYSTEM)
    assert (report.read, report.new, report.repeated, report.bad) == (6, 3, 1, 2)


def test_one_bad_row_keeps_the_file_out(tmp_path: Path, topic: Topic) -> None:
    rows = jsonl(tmp_path, card(1), card(2, back=""), card(3))
    with pytest.raises(BadRows, match="1 row cannot be imported, so nothing was") as caught:
        store(rows, topic="Topic", create_topics=True, editor=SYSTEM)
    assert [(row.place, row.reason) for row in caught.value.listed] == [("line 2", "The back is empty.")]
    assert not MemoCard.objects.exists()
    assert not PublishOutbox.objects.exists()
    report = store(rows, topic="Topic", skip_bad=True, editor=SYSTEM)
    assert (report.read, report.new, report.bad) == (3, 2, 1)


def test_a_file_that_ends_early_leaves_nothing(tmp_path: Path, topic: Topic) -> None:
    good = "".join(f"f{n},b\n" for n in range(3_000))
    path = write(tmp_path / "a.csv", f"front,back\n{good}{'x' * 1_000_001}")
    with pytest.raises(UnreadableFile, match=r"a\.csv, line 3002: This line is longer"):
        store(read(path), topic="Topic", skip_bad=True, editor=SYSTEM)
    assert not MemoCard.objects.exists()


def test_topics_of_the_rows(tmp_path: Path, topic: Topic) -> None:
    rows = jsonl(tmp_path, card(1, topic="Topic"), card(2, deck="World::Asia"), card(3, topic="World::Asia"))
    with pytest.raises(UnknownTopics, match=r"There is no topic 'World::Asia'\. .* have missing ones created"):
        store(rows, editor=SYSTEM)
    assert not Topic.objects.filter(name="World::Asia").exists()
    report = store(rows, create_topics=True, editor=SYSTEM)
    assert report.new_topics == ["World::Asia"]
    assert [card.topic.name for card in MemoCard.objects.order_by("pk")] == ["Topic", "World::Asia", "World::Asia"]
    assert ("topic", Topic.objects.get(name="World::Asia").pk) in outbox()
    assert store(rows, editor=SYSTEM).unchanged == 3
    # The caller's topic goes before the rows' own.
    assert store(rows, topic="Topic", editor=SYSTEM).new == 2


def test_a_row_without_a_topic(tmp_path: Path, topic: Topic) -> None:
    with pytest.raises(TopicMissing, match=r"a.jsonl, line 2: This row names no topic"):
        store(jsonl(tmp_path, card(1, topic="Topic"), card(2)), editor=SYSTEM)
    with pytest.raises(UnknownTopics):
        store(jsonl(tmp_path, card(1)), topic="Nowhere", editor=SYSTEM)
    assert store(jsonl(tmp_path, card(1)), topic="Nowhere", create_topics=True, editor=SYSTEM).new_topics == ["Nowhere"]


def test_a_deleted_topic_is_no_topic(tmp_path: Path) -> None:
    TopicFactory.create(name="Gone", deleted_at="2026-01-01T00:00Z")
    with pytest.raises(UnknownTopics):
        store(jsonl(tmp_path, card(1)), topic="Gone", editor=SYSTEM)
    store(jsonl(tmp_path, card(1)), topic="Gone", create_topics=True, editor=SYSTEM)
    assert Topic.objects.filter(name="Gone", deleted_at__isnull=True).count() == 1


def test_the_same_id_in_another_topic_is_another_card(tmp_path: Path, topic: Topic) -> None:
    MemoCardFactory.create(external_id="c1", front="elsewhere")
    assert store(jsonl(tmp_path, card(1)), topic="Topic", editor=SYSTEM).new == 1
    assert MemoCard.objects.filter(front="elsewhere").exists()


def test_questions(tmp_path: Path, topic: Topic) -> None:
    rows = jsonl(tmp_path, question(1, explanation="Because.", source="Exam"), question(2), kind=RowKind.QUESTION)
    assert store(rows, topic="Topic", editor=SYSTEM).new == 2
    first, second = Question.objects.order_by("pk")
    assert (first.stem, first.choices, first.answer, first.source) == ("Question 1?", ["Yes", "No"], 2, "Exam")
    assert (first.explanation, first.explanation_status, first.needs_review) == ("Because.", "ready", True)
    assert (second.explanation, second.explanation_status, second.source) == ("", "none", "")
    first.full_clean()
    assert outbox() == {key: value for key, value in truth().items() if key[0] != "topic"}
    question_services.approve(versions=versions_of(Question, [first.pk, second.pk]), editor=SYSTEM)
    question_services.update(
        key=second.pk, changes={"explanation": "A model said so.", "explanation_generator": "model"}, editor=SYSTEM
    )
    forget()
    report = store(jsonl(tmp_path, question(1), question(2), kind=RowKind.QUESTION), topic="Topic", editor=SYSTEM)
    assert report.unchanged == 2
    assert outbox() == {}
    report = store(
        jsonl(tmp_path, question(2, explanation="Ours.", answer="A"), kind=RowKind.QUESTION),
        topic="Topic",
        editor=SYSTEM,
    )
    assert (report.changed, report.unapproved) == (1, 1)
    second.refresh_from_db()
    assert (second.explanation, second.explanation_generator, second.answer) == ("Ours.", "", 1)
    assert (second.needs_review, second.reviewed_at) == (True, None)
    assert outbox() == {("question", second.pk): None, ("explanation", second.pk): None}


def test_a_new_explanation_replaces_a_failed_one(tmp_path: Path, topic: Topic) -> None:
    QuestionFactory.create(
        topic=topic, external_id="q1", explanation_status="failed", explanation_error="The model was away."
    )
    store(jsonl(tmp_path, question(1, explanation="Because."), kind=RowKind.QUESTION), topic="Topic", editor=SYSTEM)
    stored = Question.objects.get()
    assert (stored.explanation, stored.explanation_status, stored.explanation_error) == ("Because.", "ready", "")


def test_preview_says_what_store_will_do_and_changes_nothing(tmp_path: Path, topic: Topic) -> None:
    store(jsonl(tmp_path, card(1), card(2), card(3), card(4)), topic="Topic", editor=SYSTEM)
    services.approve(versions=versions_of(MemoCard, list(MemoCard.objects.values_list("pk", flat=True))), editor=SYSTEM)
    services.delete(keys=[MemoCard.objects.get(external_id="c4").pk], editor=SYSTEM)
    before = list(MemoCard.objects.order_by("pk").values())
    forget()
    rows = jsonl(tmp_path, card(5), card(1, back="better", tags=["x"]), card(2), card(4), card(2), card(6, back=""))
    seen = preview(rows, topic="Topic")
    assert list(MemoCard.objects.order_by("pk").values()) == before
    assert outbox() == {}
    new, changed = seen.differences
    assert (new.place, new.external_id, new.before) == ("line 1", "c5", None)
    assert new.after == {"front": "Front 5", "back": "Back 5", "tags": None, "source": None}
    assert changed.before == {"front": "Front 1", "back": "Back 1", "tags": [], "source": "a.jsonl"}
    assert changed.after == {"front": "Front 1", "back": "better", "tags": ["x"], "source": "a.jsonl"}
    assert len(preview(rows, topic="Topic", most=1).differences) == 1
    assert store(rows, topic="Topic", skip_bad=True, editor=SYSTEM) == seen.report
    assert preview(jsonl(tmp_path, card(9, topic="New"))).report.new_topics == ["New"]


def test_the_number_of_statements_does_not_grow_with_the_rows(tmp_path: Path, topic: Topic) -> None:
    def statements(count: int) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            store(jsonl(tmp_path, *(card(n) for n in range(count))), topic="Topic", editor=SYSTEM)
        return len(captured)

    statements(1)
    assert statements(10) == statements(2_000)


def test_two_imports_of_one_file_at_once(tmp_path: Path, topic: Topic, in_thread: Start) -> None:
    rows = [card(n) for n in range(500)]
    forward = read(write_jsonl(tmp_path / "f.jsonl", rows))
    backward = read(write_jsonl(tmp_path / "b.jsonl", rows[::-1]))
    for _ in range(3):
        together = threading.Barrier(2)

        def run(which: Reading, together: threading.Barrier = together) -> Any:
            together.wait()
            return store(which, topic="Topic", editor=SYSTEM)

        reports = [future.result() for future in [in_thread(run, forward), in_thread(run, backward)]]
        assert sum(report.new for report in reports) == MemoCard.objects.count() == 500
        assert all(report.new + report.unchanged == 500 for report in reports)
        MemoCard.objects.all().delete()


def test_an_editor_in_flight_is_waited_for(tmp_path: Path, topic: Topic, in_thread: Start) -> None:
    """A bulk update of the same cards, in the other order of the file: no deadlock, and the later one stands."""
    store(jsonl(tmp_path, *(card(n) for n in range(50))), topic="Topic", editor=SYSTEM)
    keys = list(MemoCard.objects.values_list("pk", flat=True))
    rows = jsonl(tmp_path, *(card(n, back="imported") for n in reversed(range(50))))
    with transaction.atomic():
        services.tag(keys=keys, add=["edited"], editor=SYSTEM)
        importing = in_thread(store, rows, topic="Topic", editor=SYSTEM)
        wait_until_somebody_waits()
    assert importing.result().changed == 50
    assert set(MemoCard.objects.values_list("back", flat=True)) == {"imported"}
    assert all(tags == ["edited"] for tags in MemoCard.objects.values_list("tags", flat=True))
    assert outbox() == {key: value for key, value in truth().items() if key[0] == "card"}


def test_rows_are_counted_while_they_are_read(tmp_path: Path, topic: Topic) -> None:
    counts: list[int] = []
    store(jsonl(tmp_path, *(card(n) for n in range(2_500))), topic="Topic", on_read=counts.append, editor=SYSTEM)
    assert counts == [1_000, 1_000, 500]


def test_a_file_that_changes_its_mind_is_read_anew(tmp_path: Path, topic: Topic) -> None:
    """After a deadlock the transaction starts over, and so does the file."""
    rows = jsonl(tmp_path, card(1), card(2))
    assert list(rows) == list(rows)
    assert not isinstance(rows, Iterator)
