"""Cards: what each service leaves in the tables and in the outbox, alone and at once with others."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, transaction

from kit.transactions import in_transaction
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.versions import versions_of
from memocards.errors import Conflict, Invalid, NotFound
from memocards.models import CardProgress, MemoCard
from publish.models import PublishOutbox
from publish.services import enqueue_card_publish
from tests.factories import CardProgressFactory, MemoCardFactory, QuestionFactory, TopicFactory, UserFactory
from tests.memocards.editors import reviewer
from tests.memocards.outbox import forget, outbox, owners, truth
from tests.memocards.waiting import wait_until_somebody_waits

LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)
Start = Callable[..., Future[Any]]

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_new_card_waits_for_review_and_is_not_shown() -> None:
    card = cards.create(topic_id=TopicFactory.create().pk, front="Front", back="Back", editor=SYSTEM)
    assert card.needs_review
    assert outbox() == {("card", card.pk): None}


def test_an_approved_card_is_shown() -> None:
    question, someone = QuestionFactory.create(), UserFactory.create()
    card = MemoCardFactory.create(
        topic=question.topic, question=question, tags=["강", 'q"'], needs_review=True, unapproved_at=LONG_AGO
    )
    assert cards.approve(versions=versions_of(MemoCard, [card.pk]), editor=reviewer(someone.pk)) == [card.pk]
    assert outbox() == {
        ("card", card.pk): {
            "topic_id": question.topic_id,
            "question_id": question.pk,
            "front": card.front,
            "back": card.back,
            "tags": ["강", 'q"'],
        }
    }
    card.refresh_from_db()
    assert (card.reviewed_by, card.unapproved_at) == (someone, None)
    assert card.reviewed_at is not None


def test_a_card_sent_back_is_withdrawn_and_remembers_when() -> None:
    card = MemoCardFactory.create(reviewed_by=UserFactory.create(), reviewed_at=LONG_AGO)
    cards.unapprove(keys=[card.pk], editor=SYSTEM)
    card.refresh_from_db()
    assert (card.needs_review, card.reviewed_by, card.reviewed_at) == (True, None, None)
    assert card.unapproved_at is not None
    assert outbox() == {("card", card.pk): None}


def test_deleting_and_restoring_a_card_leaves_its_progress_alone() -> None:
    progress = CardProgressFactory.create()
    before = CardProgress.objects.values().get()
    cards.delete(keys=[progress.card_id], editor=SYSTEM)
    assert outbox() == {("card", progress.card_id): None}
    cards.restore(keys=[progress.card_id], editor=SYSTEM)
    assert outbox() == {("card", progress.card_id): truth()["card", progress.card_id]}
    assert CardProgress.objects.values().get() == before


def test_an_edit_of_a_waiting_card_stays_out_of_sight() -> None:
    card = MemoCardFactory.create(needs_review=True)
    cards.update(key=card.pk, changes={"front": "New"}, editor=SYSTEM)
    assert outbox() == {("card", card.pk): None}


def test_an_edit_of_nothing_is_no_error() -> None:
    card = MemoCardFactory.create()
    cards.update(key=card.pk, changes={}, editor=SYSTEM)
    assert outbox() == {("card", card.pk): truth()["card", card.pk]}


def test_a_moved_card_takes_every_learners_progress_along() -> None:
    card, topic = MemoCardFactory.create(), TopicFactory.create()
    rows, other = CardProgressFactory.create_batch(3, card=card), CardProgressFactory.create()
    cards.update(key=card.pk, changes={"topic_id": topic.pk}, editor=SYSTEM)
    assert set(CardProgress.objects.filter(topic=topic)) == set(rows)
    assert set(outbox()) == {("card", card.pk), *(("card_progress", row.pk) for row in rows)}
    assert outbox() == {key: truth()[key] for key in outbox()}
    assert {owners()["card_progress", row.pk] for row in rows} == {row.learner_id for row in rows}
    other.refresh_from_db()
    assert other.topic_id != topic.pk


def test_a_card_moved_to_where_it_is_touches_no_progress() -> None:
    progress = CardProgressFactory.create()
    cards.update(key=progress.card_id, changes={"topic_id": progress.topic_id}, editor=SYSTEM)
    assert set(outbox()) == {("card", progress.card_id)}


@pytest.mark.parametrize("learners", [5, 500])
def test_moving_a_card_costs_the_same_however_many_learners(learners: int, django_assert_num_queries: Any) -> None:
    card, topic = MemoCardFactory.create(), TopicFactory.create()
    users = type(UserFactory.build()).objects.bulk_create(UserFactory.build_batch(learners))
    CardProgress.objects.bulk_create(
        CardProgressFactory.build(card=card, learner=user, topic=card.topic) for user in users
    )
    with transaction.atomic(), django_assert_num_queries(8):
        cards.update(key=card.pk, changes={"topic_id": topic.pk}, editor=SYSTEM)
    assert PublishOutbox.objects.count() == 1 + learners


@pytest.mark.parametrize("size", [5, 500])
def test_bulk_services_cost_the_same_however_many_cards(size: int, django_assert_num_queries: Any) -> None:
    MemoCard.objects.bulk_create(MemoCardFactory.build_batch(size, topic=TopicFactory.create(), needs_review=True))
    keys = list(MemoCard.objects.values_list("pk", flat=True))
    versions = versions_of(MemoCard, keys)
    steps: list[tuple[Callable[[], list[int]], int]] = [
        (lambda: cards.approve(versions=versions, editor=SYSTEM), 3),
        (lambda: cards.unapprove(keys=keys, editor=SYSTEM), 3),
        (lambda: cards.delete(keys=keys, editor=SYSTEM), 3),
        (lambda: cards.restore(keys=keys, editor=SYSTEM), 5),
    ]
    for step, statements in steps:
        forget()
        with transaction.atomic(), django_assert_num_queries(statements):
            assert step() == keys
        assert PublishOutbox.objects.count() == size


def test_a_bulk_approval_publishes_what_it_changed_although_it_no_longer_matches() -> None:
    """The trap: a queryset of waiting cards matches nothing once they are approved."""
    waiting = MemoCardFactory.create_batch(10, needs_review=True)
    MemoCardFactory.create()
    assert len(cards.approve(versions=versions_of(MemoCard, {card.pk for card in waiting}), editor=SYSTEM)) == 10
    assert {key for _kind, key in outbox()} == {card.pk for card in waiting}
    assert None not in outbox().values()


def test_only_what_changes_is_touched() -> None:
    live, deleted = MemoCardFactory.create(), MemoCardFactory.create(deleted_at=LONG_AGO)
    assert cards.approve(versions=versions_of(MemoCard, [live.pk, deleted.pk]), editor=SYSTEM) == []
    assert cards.delete(keys=[deleted.pk], editor=SYSTEM) == []
    assert cards.restore(keys=[live.pk, 2**62], editor=SYSTEM) == []
    assert cards.restore(keys=[2**62], editor=SYSTEM) == []
    assert cards.restore(keys=[], editor=SYSTEM) == []
    assert outbox() == {}
    deleted.refresh_from_db()
    assert deleted.deleted_at == LONG_AGO


def test_one_card_in_a_deleted_topic_keeps_all_from_being_restored() -> None:
    fine = MemoCardFactory.create(deleted_at=LONG_AGO)
    stuck = MemoCardFactory.create(deleted_at=LONG_AGO, topic__deleted_at=LONG_AGO)
    with pytest.raises(Conflict, match="topic is deleted"):
        cards.restore(keys=[fine.pk, stuck.pk], editor=SYSTEM)
    assert not MemoCard.objects.filter(deleted_at=None).exists()
    assert outbox() == {}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"front": ""}, "front"),
        ({"back": "a\0b"}, "back"),
        ({"front": "x" * 20_001}, "front"),
        ({"tags": ["x" * 101]}, "tags"),
        ({"tags": None}, "tags"),
        ({"question_id": 2**62}, "question_id"),
        ({"topic_id": None}, "topic_id"),
        ({"external_id": None}, "external_id"),
    ],
    ids=str,
)
def test_a_refused_edit_names_the_field_and_leaves_nothing_half_done(changes: dict[str, Any], field: str) -> None:
    card = MemoCardFactory.create()
    with pytest.raises(Invalid) as refusal:
        cards.update(key=card.pk, changes={"external_id": "new", **changes}, editor=SYSTEM)
    assert set(refusal.value.fields) == {field}
    assert MemoCard.objects.get().external_id == ""
    assert outbox() == {}


def test_a_refused_creation_leaves_nothing() -> None:
    topic = TopicFactory.create()
    with pytest.raises(Invalid):
        cards.create(topic_id=topic.pk, front="Front", back="", editor=SYSTEM)
    with pytest.raises(NotFound, match="topic"):
        cards.create(topic_id=2**62, front="Front", back="Back", editor=SYSTEM)
    with pytest.raises(Conflict, match="deleted"):
        cards.create(topic_id=TopicFactory.create(deleted_at=LONG_AGO).pk, front="Front", back="Back", editor=SYSTEM)
    assert not MemoCard.objects.exists()
    assert outbox() == {}


def test_a_stale_instance_leaks_nothing() -> None:
    """Whoever holds an old copy of a row cannot publish it, nor write it back."""
    stale = MemoCardFactory.create()
    cards.update(key=stale.pk, changes={"front": "New"}, editor=SYSTEM)
    cards.delete(keys=[stale.pk], editor=SYSTEM)
    forget()
    with transaction.atomic():
        enqueue_card_publish(stale)
    assert outbox() == {("card", stale.pk): None}


# Two at once


def test_two_editors_do_not_overwrite_each_others_fields(in_thread: Start) -> None:
    card = MemoCardFactory.create()
    with transaction.atomic():
        cards.update(key=card.pk, changes={"front": "New"}, editor=SYSTEM)
        other = in_thread(cards.update, key=card.pk, changes={"back": "New"}, editor=SYSTEM)
        wait_until_somebody_waits()
    other.result()
    assert outbox()["card", card.pk] == {**(truth()["card", card.pk] or {}), "front": "New", "back": "New"}


def test_an_edit_that_waited_for_a_deletion_is_refused(in_thread: Start) -> None:
    card = MemoCardFactory.create()
    with transaction.atomic():
        cards.delete(keys=[card.pk], editor=SYSTEM)
        edited = in_thread(cards.update, key=card.pk, changes={"front": "New"}, editor=SYSTEM)
        wait_until_somebody_waits()
    with pytest.raises(Conflict, match="Restore it"):
        edited.result()
    assert outbox() == {("card", card.pk): None}


def test_of_two_who_approve_the_same_cards_each_card_is_approved_once(in_thread: Start) -> None:
    first, second = [card.pk for card in MemoCardFactory.create_batch(2, needs_review=True)]
    with transaction.atomic():
        assert cards.approve(versions=versions_of(MemoCard, [first]), editor=SYSTEM) == [first]
        versions = versions_of(MemoCard, [second, first])
        other = in_thread(cards.approve, versions=versions, editor=SYSTEM)
        wait_until_somebody_waits()
    assert other.result() == [second]


def test_a_card_restored_while_its_topic_is_deleted_is_refused(in_thread: Start) -> None:
    from memocards.content import topics

    card = MemoCardFactory.create(deleted_at=LONG_AGO)
    with transaction.atomic():
        topics.delete_topic(topic_id=card.topic_id, editor=SYSTEM)
        restored = in_thread(cards.restore, keys=[card.pk], editor=SYSTEM)
        wait_until_somebody_waits()
    with pytest.raises(Conflict, match="topic is deleted"):
        restored.result()
    assert MemoCard.objects.get().deleted_at == LONG_AGO


def test_of_two_in_a_deadlock_one_starts_again_and_both_succeed(in_thread: Start) -> None:
    first, second = MemoCardFactory.create_batch(2)
    both_hold_one = threading.Barrier(2, timeout=20)
    attempts: list[str] = []

    @in_transaction
    def edit(name: str, *keys: int) -> None:
        attempts.append(name)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL deadlock_timeout = '20ms'")
        for place, key in enumerate(keys):
            cards.update(key=key, changes={"front" if name == "a" else "back": name}, editor=SYSTEM)
            if place == 0 and attempts.count(name) == 1:
                both_hold_one.wait()

    forth = in_thread(edit, "a", first.pk, second.pk)
    back = in_thread(edit, "b", second.pk, first.pk)
    forth.result()
    back.result()
    assert sorted(attempts) in (["a", "a", "b"], ["a", "b", "b"])
    assert set(MemoCard.objects.values_list("front", "back")) == {("a", "b")}
    assert PublishOutbox.objects.count() == 4
    assert outbox() == {key: truth()[key] for key in outbox()}


def test_within_a_transaction_an_error_undoes_all_of_it() -> None:
    """A service called inside another transaction adds no savepoint: there is no half to be kept."""
    card = MemoCardFactory.create()

    def edit_twice() -> None:
        with transaction.atomic():
            cards.update(key=card.pk, changes={"front": "New"}, editor=SYSTEM)
            try:
                cards.update(key=card.pk, changes={"back": ""}, editor=SYSTEM)
            except Invalid:
                return

    edit_twice()
    assert MemoCard.objects.get().front == card.front
    assert outbox() == {}
