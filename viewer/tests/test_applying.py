"""Applying pages: what ends up in the tables, whatever order and however often items come."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from viewer.models import Card, CardProgress, Explanation, Question, SyncState, Topic, UnknownItem
from viewer.sync import apply_kept_items
from viewer.tests.following import apply, feed_item, page

pytestmark = pytest.mark.django_db


def test_the_tests_run_on_a_file_in_wal_mode() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        assert cursor.fetchone() == ("wal",)


def test_every_kind_has_its_typed_table() -> None:
    step = apply(
        page(
            feed_item("topic", 1, 1, name="한국사"),
            feed_item("question", 2, 2, choices=["a", "b"]),
            feed_item("explanation", 2, 3, question_id=2),
            feed_item("card", 3, 4, question_id=2, tags=["x"]),
            feed_item("card_progress", 4, 5, card_id=3, learner_id=9),
        )
    )
    assert (step.upserted, step.deleted, step.kept) == (5, 0, 0)
    assert Topic.objects.get().name == "한국사"
    assert Question.objects.get().choices == ["a", "b"]
    assert Explanation.objects.get().question_id == 2
    card = Card.objects.get()
    assert (card.pk, card.question_id, card.tags, card.seq, card.schema_version) == (3, 2, ["x"], 4, 1)
    assert card.hash == f"{4:064x}"
    progress = CardProgress.objects.get()
    assert (progress.card_id, progress.learner_id) == (3, 9)
    assert progress.due_at == datetime(2026, 1, 6, 4, tzinfo=UTC)


def test_absent_values_are_read_as_null() -> None:
    apply(page(feed_item("card_progress", 1, 1, due_at=None, last_reviewed_at=None)))
    progress = CardProgress.objects.get()
    assert progress.due_at is None
    assert progress.last_reviewed_at is None


def test_page_and_cursor_move_together() -> None:
    apply(page(feed_item("topic", 1, 17), cursor="seventeen", has_more=True))
    state = SyncState.objects.get()
    assert (state.cursor, state.seq, state.head, state.at_head) == ("seventeen", 17, 17, False)


def test_a_page_delivered_twice_changes_nothing_the_second_time() -> None:
    first = page(feed_item("topic", 1, 1, name="first"), cursor="one", has_more=True)
    apply(first)
    apply(page(feed_item("topic", 1, 2, name="second"), cursor="two", has_more=True))
    step = apply(first)
    assert step.stale
    assert Topic.objects.get().name == "second"
    assert SyncState.objects.get().cursor == "two"


def test_a_tombstone_is_not_undone_by_the_page_before_it() -> None:
    first = page(feed_item("card", 1, 1), cursor="one", has_more=True)
    apply(first)
    apply(page(feed_item("card", 1, 2, deleted=True), cursor="two"))
    apply(first)
    assert not Card.objects.exists()


def test_an_item_at_a_lower_or_equal_seq_is_skipped() -> None:
    apply(page(feed_item("topic", 1, 5, name="five"), cursor="a"))
    apply(page(feed_item("topic", 1, 5, name="five again"), cursor="b"))
    apply(page(feed_item("topic", 1, 4, name="four"), cursor="c"))
    apply(page(feed_item("topic", 1, 3, deleted=True), cursor="d"))
    assert Topic.objects.get().name == "five"


def test_the_order_within_a_page_does_not_matter() -> None:
    apply(page(feed_item("topic", 1, 3, name="three"), feed_item("topic", 1, 2, name="two"), cursor="a"))
    assert Topic.objects.get().name == "three"
    apply(page(feed_item("topic", 1, 5, deleted=True), feed_item("topic", 1, 4), cursor="b"))
    assert not Topic.objects.exists()


def test_a_tombstone_deletes_the_row_and_one_for_an_unknown_row_is_fine() -> None:
    apply(page(feed_item("card", 1, 1), cursor="a"))
    step = apply(
        page(
            feed_item("card", 1, 2, deleted=True),
            feed_item("card", 99, 3, deleted=True),
            feed_item("from_the_future", 1, 4, deleted=True),
        )
    )
    assert step.deleted == 3
    assert not Card.objects.exists()
    assert not UnknownItem.objects.exists()


def test_a_deleted_row_may_come_back() -> None:
    apply(page(feed_item("card", 1, 1), cursor="a"))
    apply(page(feed_item("card", 1, 2, deleted=True), cursor="b"))
    apply(page(feed_item("card", 1, 3), cursor="c"))
    assert Card.objects.get().seq == 3


def test_a_child_may_come_before_its_parent() -> None:
    apply(page(feed_item("card_progress", 1, 1, card_id=5, topic_id=3), cursor="a"))
    apply(page(feed_item("card", 5, 2, topic_id=3), cursor="b"))
    apply(page(feed_item("topic", 3, 3), cursor="c"))
    assert (Topic.objects.count(), Card.objects.count(), CardProgress.objects.count()) == (1, 1, 1)


def test_an_unknown_kind_is_kept_and_does_not_stop_the_page() -> None:
    step = apply(page(feed_item("deck", 1, 1, payload={"name": "x"}), feed_item("topic", 1, 2)))
    assert (step.upserted, step.kept) == (1, 1)
    kept = UnknownItem.objects.get()
    assert (kept.kind, kept.source_id, kept.seq, kept.payload) == ("deck", 1, 1, '{"name": "x"}')
    assert kept.reason == "This version does not know the kind."


def test_a_newer_schema_version_is_kept_and_the_older_row_stays_readable() -> None:
    apply(page(feed_item("topic", 1, 1, name="old"), cursor="a"))
    apply(page(feed_item("topic", 1, 2, schema_version=2, payload={"title": "new"}), cursor="b"))
    assert UnknownItem.objects.get().schema_version == 2
    assert Topic.objects.get().name == "old"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"payload": {"name": "x"}}, "description is missing"),
        ({"name": 5}, "name is not a text"),
        ({"position": "first"}, "position is not a whole number"),
        ({"position": 2**63}, "position is not a whole number"),
        ({"name": "half a pair: \ud800"}, "name holds a character that cannot be stored"),
        ({"name": "nul: \0"}, "name holds a character that cannot be stored"),
    ],
)
def test_a_payload_that_breaks_its_promise_is_kept_and_not_fatal(changes: dict[str, Any], why: str) -> None:
    apply(page(feed_item("topic", 1, 1, **changes)))
    assert UnknownItem.objects.get().reason == f"The payload cannot be read: {why}."
    assert not Topic.objects.exists()


def test_what_was_kept_goes_when_a_readable_version_or_a_tombstone_comes() -> None:
    apply(page(feed_item("topic", 1, 1, schema_version=2), feed_item("topic", 2, 2, schema_version=2), cursor="a"))
    apply(page(feed_item("topic", 1, 3), feed_item("topic", 2, 4, deleted=True), cursor="b"))
    assert not UnknownItem.objects.exists()
    assert Topic.objects.get().pk == 1


def test_an_upgraded_viewer_applies_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from viewer import kinds

    apply(page(feed_item("topic", 1, 1, name="old"), feed_item("topic", 2, 2, name="other"), cursor="a"))
    apply(page(feed_item("topic", 1, 3, schema_version=2, name="new"), cursor="b"))
    assert apply_kept_items() == 0
    upgraded = kinds.HeldKind(Topic, 2, kinds.CATALOGUE["topic"].read)
    monkeypatch.setitem(kinds.CATALOGUE, "topic", upgraded)
    assert apply_kept_items() == 1
    assert Topic.objects.get(pk=1).name == "new"
    assert not UnknownItem.objects.exists()


def test_a_second_owned_kind_keeps_its_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    from viewer import kinds

    progress = kinds.CATALOGUE["card_progress"]
    monkeypatch.setitem(
        kinds.CATALOGUE, "card_history", kinds.HeldKind(CardProgress, 1, progress.read, owner="learner_id")
    )
    item = {**feed_item("card_progress", 5, 1, learner_id=7), "kind": "card_history"}
    apply(page(item, cursor="a"))
    assert CardProgress.objects.get(pk=5).learner_id == 7


def test_several_learners_in_one_feed_are_noticed() -> None:
    apply(page(feed_item("card_progress", 1, 1, learner_id=7), cursor="a"))
    assert not SyncState.objects.get().several_learners
    apply(page(feed_item("card_progress", 2, 2, learner_id=8), cursor="b"))
    assert SyncState.objects.get().several_learners


def test_a_page_of_a_thousand_takes_a_handful_of_statements(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    kinds = ("topic", "question", "explanation", "card", "card_progress")
    items = [feed_item(kinds[seq % 5], seq, seq, deleted=seq % 50 < 5) for seq in range(1, 1001)]
    whole = page(*items, has_more=True)
    # Per kind one upsert and one delete; the rest is the state, the owner, the savepoint, and the ratings whose
    # result may have come.
    with django_assert_max_num_queries(19):
        step = apply(whole)
    assert step.upserted + step.deleted == 1000
