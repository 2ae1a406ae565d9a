"""Topics: what each service leaves in the tables and, in the same transaction, in the outbox."""

from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction

from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.errors import Conflict, Invalid, NotFound, TopicHasContent
from memocards.models import MemoCard, Question, Topic
from publish.models import PublishOutbox
from tests.factories import MemoCardFactory, QuestionFactory, TopicFactory
from tests.memocards.outbox import forget, outbox, truth
from tests.memocards.waiting import wait_until_somebody_waits

LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)
Start = Callable[..., Future[Any]]

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_new_topic_is_published() -> None:
    topic = topics.create_topic(name="Rivers", description="Long ones", position=3, editor=SYSTEM)
    assert outbox() == {("topic", topic.pk): {"name": "Rivers", "description": "Long ones", "position": 3}}


def test_a_topic_and_its_outbox_row_come_and_go_together() -> None:
    with transaction.atomic():
        topics.create_topic(name="Rivers", editor=SYSTEM)
        assert PublishOutbox.objects.count() == 1
        transaction.set_rollback(True)
    assert not Topic.objects.exists()
    assert not PublishOutbox.objects.exists()


def test_an_edit_publishes_the_new_state_and_leaves_other_fields_alone() -> None:
    topic = TopicFactory.create(description="Kept")
    topics.update_topic(topic_id=topic.pk, changes={"name": "Lakes"}, editor=SYSTEM)
    assert outbox() == {("topic", topic.pk): {"name": "Lakes", "description": "Kept", "position": 0}}


def test_what_a_topic_does_not_publish_is_still_stored() -> None:
    topic = TopicFactory.create()
    topics.update_topic(topic_id=topic.pk, changes={"scheduler": "fsrs"}, editor=SYSTEM)
    topic.refresh_from_db()
    assert topic.scheduler == "fsrs"
    assert outbox() == truth()


def test_a_topic_without_content_is_deleted_and_restored() -> None:
    topic = TopicFactory.create()
    topics.delete_topic(topic_id=topic.pk, editor=SYSTEM)
    assert outbox() == {("topic", topic.pk): None}
    topics.restore_topic(topic_id=topic.pk, editor=SYSTEM)
    assert outbox() == truth()
    assert outbox()["topic", topic.pk] is not None


def test_deleting_or_restoring_twice_touches_nothing() -> None:
    topic = TopicFactory.create()
    topics.restore_topic(topic_id=topic.pk, editor=SYSTEM)
    topics.delete_topic(topic_id=topic.pk, editor=SYSTEM)
    before = Topic.objects.get().deleted_at
    forget()
    topics.delete_topic(topic_id=topic.pk, editor=SYSTEM)
    assert Topic.objects.get().deleted_at == before
    assert outbox() == {}


def test_a_topic_with_content_is_not_deleted_without_cascade() -> None:
    topic = TopicFactory.create()
    QuestionFactory.create_batch(2, topic=topic)
    MemoCardFactory.create_batch(3, topic=topic)
    with pytest.raises(TopicHasContent, match="2 questions and 3 cards"):
        topics.delete_topic(topic_id=topic.pk, editor=SYSTEM)
    assert Topic.objects.get().deleted_at is None
    assert outbox() == {}


def test_deleted_content_does_not_hold_a_topic_back() -> None:
    topic = TopicFactory.create()
    MemoCardFactory.create(topic=topic, deleted_at=LONG_AGO)
    topics.delete_topic(topic_id=topic.pk, editor=SYSTEM)
    assert MemoCard.objects.get().deleted_at == LONG_AGO


def test_a_cascade_deletes_everything_at_one_moment() -> None:
    topic, other = TopicFactory.create(), MemoCardFactory.create()
    question = QuestionFactory.create(topic=topic, explanation="Because.", explanation_status="ready")
    card, waiting = MemoCardFactory.create(topic=topic), MemoCardFactory.create(topic=topic, needs_review=True)
    assert topics.delete_topic(topic_id=topic.pk, cascade=True, editor=SYSTEM)
    topic.refresh_from_db()
    assert {row.deleted_at for row in Question.objects.all()} == {topic.deleted_at}
    assert {row.deleted_at for row in MemoCard.objects.exclude(pk=other.pk)} == {topic.deleted_at}
    assert outbox() == {
        ("topic", topic.pk): None,
        ("question", question.pk): None,
        ("explanation", question.pk): None,
        ("card", card.pk): None,
        ("card", waiting.pk): None,
    }


def test_restoring_brings_back_what_went_with_the_topic_and_nothing_else() -> None:
    topic = TopicFactory.create()
    question, card, gone = (
        QuestionFactory.create(topic=topic),
        MemoCardFactory.create(topic=topic),
        MemoCardFactory.create(topic=topic),
    )
    cards.delete(keys=[gone.pk], editor=SYSTEM)
    QuestionFactory.create(topic=topic, deleted_at=LONG_AGO)
    topics.delete_topic(topic_id=topic.pk, cascade=True, editor=SYSTEM)
    forget()
    topics.restore_topic(topic_id=topic.pk, editor=SYSTEM)
    assert list(MemoCard.objects.filter(deleted_at=None)) == [card]
    assert list(Question.objects.filter(deleted_at=None)) == [question]
    assert dict(outbox().keys()) == {
        "topic": topic.pk,
        "question": question.pk,
        "explanation": question.pk,
        "card": card.pk,
    }
    assert outbox() == {key: truth()[key] for key in outbox()}


def test_a_topic_is_not_restored_beside_another_of_its_name() -> None:
    topic = TopicFactory.create(name="Rivers")
    topics.delete_topic(topic_id=topic.pk, editor=SYSTEM)
    topics.create_topic(name="Rivers", editor=SYSTEM)
    forget()
    with pytest.raises(Conflict, match="Rename"):
        topics.restore_topic(topic_id=topic.pk, editor=SYSTEM)
    assert outbox() == {}


@pytest.mark.parametrize("service", [topics.delete_topic, topics.restore_topic])
def test_an_unknown_topic_is_not_found(service: Callable[..., bool]) -> None:
    with pytest.raises(NotFound, match=r"There is no topic 2147483647\."):
        service(topic_id=2**31 - 1, editor=SYSTEM)


def test_a_refused_edit_leaves_nothing_half_done() -> None:
    taken, topic = TopicFactory.create(), TopicFactory.create(description="Old")
    with pytest.raises(Conflict):
        topics.update_topic(topic_id=topic.pk, changes={"description": "New", "name": taken.name}, editor=SYSTEM)
    with pytest.raises(Invalid) as refusal:
        topics.update_topic(topic_id=topic.pk, changes={"description": "New", "position": -1}, editor=SYSTEM)
    assert set(refusal.value.fields) == {"position"}
    assert Topic.objects.get(pk=topic.pk).description == "Old"
    assert outbox() == {}


@pytest.mark.parametrize("size", [5, 500])
def test_a_cascade_costs_the_same_however_much_content(size: int, django_assert_num_queries: Any) -> None:
    topic = TopicFactory.create()
    Question.objects.bulk_create(QuestionFactory.build_batch(size, topic=topic))
    MemoCard.objects.bulk_create(MemoCardFactory.build_batch(size, topic=topic))
    with transaction.atomic(), django_assert_num_queries(10):
        topics.delete_topic(topic_id=topic.pk, cascade=True, editor=SYSTEM)
    assert PublishOutbox.objects.count() == 1 + 3 * size
    with transaction.atomic(), django_assert_num_queries(11):
        topics.restore_topic(topic_id=topic.pk, editor=SYSTEM)
    assert PublishOutbox.objects.count() == 2 * (1 + 3 * size)
    assert outbox() == truth()


# Two at once


def test_two_editors_do_not_overwrite_each_others_fields(in_thread: Start) -> None:
    topic = TopicFactory.create(name="Old", description="Old")
    with transaction.atomic():
        topics.update_topic(topic_id=topic.pk, changes={"name": "New"}, editor=SYSTEM)
        other = in_thread(topics.update_topic, topic_id=topic.pk, changes={"description": "New"}, editor=SYSTEM)
        wait_until_somebody_waits()
    other.result()
    assert outbox()["topic", topic.pk] == {"name": "New", "description": "New", "position": 0}
    assert outbox() == truth()


def test_a_card_made_while_its_topic_is_deleted_is_refused(in_thread: Start) -> None:
    topic = TopicFactory.create()
    with transaction.atomic():
        topics.delete_topic(topic_id=topic.pk, cascade=True, editor=SYSTEM)
        creation = in_thread(cards.create, topic_id=topic.pk, front="Front", back="Back", editor=SYSTEM)
        wait_until_somebody_waits()
    with pytest.raises(Conflict, match="deleted"):
        creation.result()
    assert not MemoCard.objects.exists()


def test_a_topic_deleted_while_a_card_is_made_takes_the_card_along(in_thread: Start) -> None:
    topic = TopicFactory.create()
    with transaction.atomic():
        card = cards.create(topic_id=topic.pk, front="Front", back="Back", needs_review=False, editor=SYSTEM)
        deleted = in_thread(topics.delete_topic, topic_id=topic.pk, cascade=True, editor=SYSTEM)
        wait_until_somebody_waits()
    assert deleted.result()
    topic.refresh_from_db()
    assert MemoCard.objects.get().deleted_at == topic.deleted_at
    assert outbox()["card", card.pk] is None


def test_a_topic_deleted_while_a_card_is_moved_into_it_takes_the_card_along(in_thread: Start) -> None:
    card, topic = MemoCardFactory.create(), TopicFactory.create()
    with transaction.atomic():
        cards.update(key=card.pk, changes={"topic_id": topic.pk}, editor=SYSTEM)
        deleted = in_thread(topics.delete_topic, topic_id=topic.pk, cascade=True, editor=SYSTEM)
        wait_until_somebody_waits()
    deleted.result()
    assert MemoCard.objects.get().deleted_at is not None
    assert outbox()["card", card.pk] is None


def test_a_topic_deleted_while_its_card_moves_out_lets_the_card_go(in_thread: Start) -> None:
    card, refuge = MemoCardFactory.create(), TopicFactory.create()
    with transaction.atomic():
        cards.update(key=card.pk, changes={"topic_id": refuge.pk}, editor=SYSTEM)
        deleted = in_thread(topics.delete_topic, topic_id=card.topic_id, cascade=True, editor=SYSTEM)
        wait_until_somebody_waits()
    deleted.result()
    assert MemoCard.objects.get().deleted_at is None
    assert outbox() == {key: truth()[key] for key in outbox()}


def test_a_topic_without_cascade_is_kept_for_a_card_being_made(in_thread: Start) -> None:
    topic = TopicFactory.create()
    with transaction.atomic():
        cards.create(topic_id=topic.pk, front="Front", back="Back", editor=SYSTEM)
        deleted = in_thread(topics.delete_topic, topic_id=topic.pk, editor=SYSTEM)
        wait_until_somebody_waits()
    with pytest.raises(TopicHasContent, match="1 cards"):
        deleted.result()


def test_of_two_topics_of_one_name_made_at_once_one_is_refused(in_thread: Start) -> None:
    with transaction.atomic():
        topics.create_topic(name="Rivers", editor=SYSTEM)
        other = in_thread(topics.create_topic, name="Rivers", editor=SYSTEM)
        wait_until_somebody_waits()
    with pytest.raises(Conflict, match="already"):
        other.result()
    assert outbox() == truth()


def test_a_topic_restored_while_its_name_is_taken_is_refused(in_thread: Start) -> None:
    topic = TopicFactory.create(name="Rivers", deleted_at=LONG_AGO)
    with transaction.atomic():
        topics.create_topic(name="Rivers", editor=SYSTEM)
        restored = in_thread(topics.restore_topic, topic_id=topic.pk, editor=SYSTEM)
        wait_until_somebody_waits()
    with pytest.raises(Conflict, match="already"):
        restored.result()
    assert Topic.objects.get(pk=topic.pk).deleted_at == LONG_AGO
