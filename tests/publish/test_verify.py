import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from kit.transactions import in_transaction
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.questions import questions
from memocards.models import CardProgress, MemoCard, Question
from publish.kinds import CATALOGUE
from publish.models import PublishedItem, PublishOutbox
from publish.relay import Batch
from publish.services import enqueue_card_publish, enqueue_topic_publish
from publish.verify import Drift, Problem, compare, one_snapshot, repair
from tests.factories import CardProgressFactory, MemoCardFactory, PublishedItemFactory, QuestionFactory

pytestmark = pytest.mark.django_db(transaction=True)

Drain = Callable[[], Batch]


def drift(*, page_rows: int = 2) -> set[tuple[str, int, Problem]]:
    with one_snapshot():
        entries = [
            entry for kind in CATALOGUE.values() for page in compare(kind, page_rows=page_rows) for entry in page.drift
        ]
    assert len(entries) == len(set(entries))
    return {(entry.kind, entry.source_id, entry.problem) for entry in entries}


def verify(*options: str) -> tuple[int, dict[str, Any]]:
    out = StringIO()
    try:
        call_command("verify_publish", "--json", *options, stdout=out, stderr=StringIO())
    except SystemExit as end:
        return int(end.code or 0), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


@pytest.fixture
def published(drain: Drain) -> list[MemoCard]:
    """Five cards, a question with its explanation and a learner's progress: all published as they are."""
    cards = MemoCardFactory.create_batch(5)
    question = QuestionFactory.create(topic=cards[0].topic, explanation="Why.", explanation_status="ready")
    progress = CardProgressFactory.create(card=cards[0])

    @in_transaction
    def enqueue() -> None:
        from publish import services

        enqueue_topic_publish(*{card.topic_id for card in cards})
        enqueue_card_publish(*cards)
        services.enqueue_question_publish(question)
        services.enqueue_card_progress_publish(progress)

    enqueue()
    drain()
    assert drift() == set()
    return cards


@pytest.mark.parametrize("page_rows", [1, 2, 5, 1000])
def test_what_was_written_past_the_services_is_found_and_repaired(
    published: list[MemoCard], drain: Drain, page_rows: int
) -> None:
    """Row 14: queryset.update, raw SQL, hard delete, bulk_create, and a published row without a source."""
    stale, waiting, gone, lost, kept = published
    MemoCard.objects.filter(pk=stale.pk).update(back="changed")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE memocards_memocard SET needs_review = true WHERE id = %s", [waiting.pk])
        cursor.execute("DELETE FROM memocards_memocard WHERE id = %s", [gone.pk])
        cursor.execute("DELETE FROM publish_item WHERE kind = 'card' AND source_id = %s", [lost.pk])
    [new] = MemoCard.objects.bulk_create([MemoCard(topic=kept.topic, front="f", back="b", needs_review=False)])
    PublishedItemFactory.create(kind="topic", source_id=10**12, seq=10**6, outbox_id=0)
    expected = {
        ("card", stale.pk, Problem.STALE),
        ("card", waiting.pk, Problem.SHOULD_BE_TOMBSTONE),
        ("card", gone.pk, Problem.WITHOUT_SOURCE),
        ("card", lost.pk, Problem.MISSING),
        ("card", new.pk, Problem.MISSING),
        ("topic", 10**12, Problem.WITHOUT_SOURCE),
    }
    assert drift(page_rows=page_rows) == expected
    assert repair([Drift(*entry) for entry in expected]) == len(expected)
    assert drift(page_rows=page_rows) == set()
    drain()
    assert drift(page_rows=page_rows) == set()


def test_every_column_of_a_payload_counts(published: list[MemoCard]) -> None:
    Question.objects.update(explanation="Because.")
    CardProgress.objects.update(review_stage=4)
    assert {(kind, problem) for kind, _id, problem in drift()} == {
        ("explanation", Problem.STALE),
        ("card_progress", Problem.STALE),
    }


def test_a_raised_schema_version_is_drift_until_the_backfill(
    published: list[MemoCard], drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(CATALOGUE["topic"]), "schema_version", 2)
    assert {problem for _kind, _id, problem in drift()} == {Problem.STALE}
    call_command("backfill_publish", "--kind", "topic", stdout=StringIO(), stderr=StringIO())
    drain()
    assert drift() == set()


def test_a_wrong_owner_is_drift(published: list[MemoCard]) -> None:
    PublishedItem.objects.filter(kind="card_progress").update(learner_id=None)
    assert [problem for _kind, _id, problem in drift()] == [Problem.STALE]


def test_what_is_on_its_way_is_pending_and_not_drift(published: list[MemoCard]) -> None:
    cards.update(key=published[0].pk, changes={"back": "changed"}, editor=SYSTEM)
    cards.delete(keys=[published[1].pk], editor=SYSTEM)
    code, result = verify()
    assert code == 0
    assert result["kinds"]["card"] == {"compared": 5, "pending": 2}
    assert result["drift"] == []


def test_a_pending_row_that_was_overtaken_past_the_services_is_drift(published: list[MemoCard]) -> None:
    cards.update(key=published[0].pk, changes={"back": "changed"}, editor=SYSTEM)
    MemoCard.objects.filter(pk=published[0].pk).update(back="changed again")
    assert drift() == {("card", published[0].pk, Problem.STALE)}


def test_a_tombstone_and_nothing_published_are_the_same(published: list[MemoCard], drain: Drain) -> None:
    cards.delete(keys=[published[0].pk], editor=SYSTEM)
    drain()
    PublishedItem.objects.filter(kind="card", deleted=True).delete()
    assert drift() == set()


def test_the_command_says_what_drifted_and_repairs_it(published: list[MemoCard], drain: Drain) -> None:
    MemoCard.objects.filter(pk=published[0].pk).update(back="changed")
    code, result = verify()
    assert (code, result["drift"]) == (1, [{"kind": "card", "source_id": published[0].pk, "problem": "stale"}])
    assert not PublishOutbox.objects.exists()
    assert verify("--kind", "topic")[0] == 0
    code, result = verify("--repair")
    assert (code, result["enqueued"]) == (0, 1)
    drain()
    assert verify()[0] == 0


def test_verifying_while_publishing_is_off_may_look_but_not_repair(published: list[MemoCard], settings: Any) -> None:
    settings.PUBLISH_ENABLED = False
    assert verify()[0] == 0
    with pytest.raises(CommandError, match="PUBLISH_ENABLED"):
        verify("--repair")


def test_all_pages_are_of_one_snapshot(published: list[MemoCard], in_thread: Callable[..., Any]) -> None:
    """A write in the middle of a comparison is not seen by half of it."""
    entries: list[Drift] = []
    with one_snapshot():
        for number, page in enumerate(compare(CATALOGUE["card"], page_rows=1)):
            if number == 0:
                ids = [card.pk for card in published]
                in_thread(MemoCard.objects.filter(pk__in=ids).update, back="changed").result()
            entries += page.drift
    assert entries == []
    assert len(drift()) == len(published)


def test_comparing_writes_nothing(published: list[MemoCard]) -> None:
    with pytest.raises(Exception, match="read-only"), one_snapshot():
        MemoCard.objects.update(back="changed")


def test_an_explanation_is_compared_apart_from_its_question(published: list[MemoCard], drain: Drain) -> None:
    question = Question.objects.get()
    questions.clear_explanation(key=question.pk, editor=SYSTEM)
    drain()
    Question.objects.update(explanation="Why.", explanation_status="ready")
    assert drift() == {("explanation", question.pk, Problem.MISSING)}
