"""Topics: create, edit, delete, restore. Each function is one transaction that locks, writes, notes in the history who
did what, and enqueues."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from django.db import IntegrityError
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from kit.transactions import in_transaction
from memocards.content import history
from memocards.content.editors import Editor
from memocards.errors import Conflict, NotFound, TopicHasContent
from memocards.models import MemoCard, Question, Topic
from memocards.states import LIVE
from memocards.writing import lock_keys, lock_row, refusal, save_valid, share_rows
from publish.keys import among
from publish.services import enqueue_card_publish, enqueue_question_publish, enqueue_topic_publish

M = TypeVar("M", Question, MemoCard)


@in_transaction
def create_topic(*, editor: Editor, imported_from: str = "", **fields: Any) -> Topic:
    """A new topic, which may have come with a file. Raises Invalid; Conflict where a live topic has the name."""
    topic = Topic()
    save_valid(topic, fields)
    if imported_from:
        history.log_event(Topic, [topic.pk], history.ADDED_BY_IMPORT, editor=editor, file=imported_from)
    else:
        history.log_addition(topic, editor=editor)
    enqueue_topic_publish(topic)
    return topic


@in_transaction
def update_topic(*, topic_id: int, changes: Mapping[str, Any], editor: Editor) -> Topic:
    """Change some fields. Raises NotFound, Invalid, Conflict."""
    topic = lock_row(Topic, topic_id)
    if topic.deleted_at:
        raise Conflict(_("This topic is deleted. Restore it first."))
    edited = [column for column, value in changes.items() if getattr(topic, column) != value]
    save_valid(topic, changes)
    history.log_edit(topic, edited, editor=editor)
    enqueue_topic_publish(topic)
    return topic


@in_transaction
def delete_topic(*, topic_id: int, editor: Editor, cascade: bool = False) -> bool:
    """Delete a topic softly. Returns False where that was done before. Raises NotFound; TopicHasContent unless
    `cascade`.

    A cascade gives topic, questions and cards one and the same `deleted_at`, by which restore_topic() knows them.
    """
    topic = lock_row(Topic, topic_id)
    if topic.deleted_at:
        return False
    questions = lock_keys(Question, LIVE & Q(topic_id=topic_id))
    cards = lock_keys(MemoCard, LIVE & Q(topic_id=topic_id))
    if (questions or cards) and not cascade:
        raise TopicHasContent(questions=len(questions), cards=len(cards))
    topic.deleted_at = timezone.now()
    _write_deleted_at(topic, questions, cards)
    event = history.DELETED_WITH_CONTENT if cascade else history.DELETED
    history.log_event(Topic, [topic_id], event, editor=editor)
    return True


@in_transaction
def restore_topic(*, topic_id: int, editor: Editor) -> bool:
    """Bring back a topic with all that was deleted with it, and nothing else. Returns False where it is not deleted.

    Raises NotFound, Conflict.
    """
    topic = lock_row(Topic, topic_id)
    if topic.deleted_at is None:
        return False
    if Topic.objects.filter(LIVE, name=topic.name).exists():
        raise Conflict(_("There is a topic of this name already. Rename that one first."))
    questions = lock_keys(Question, Q(topic_id=topic_id, deleted_at=topic.deleted_at))
    cards = lock_keys(MemoCard, Q(topic_id=topic_id, deleted_at=topic.deleted_at))
    topic.deleted_at = None
    _write_deleted_at(topic, questions, cards)
    history.log_event(Topic, [topic_id], history.RESTORED, editor=editor)
    return True


def lock_with_topic(model: type[M], key: int, changes: Mapping[str, Any]) -> M:
    """A question or card as it is before these changes, locked until the transaction ends. The topic that they put it
    under comes first, as the lock order has it. Raises NotFound; Conflict for the topic."""
    if changes.get("topic_id") is not None:
        require_open_topics([changes["topic_id"]])
    return lock_row(model, key)


def require_open_topics(topic_ids: Collection[int]) -> list[Topic]:
    """These topics, which are, and until the end of the transaction stay, undeleted. Raises NotFound, Conflict."""
    topics = {topic.pk: topic for topic in share_rows(Topic, topic_ids)}
    for key in topic_ids:
        if key not in topics:
            raise NotFound(_("topic"), key)
        if topics[key].deleted_at:
            raise Conflict(_("This topic is deleted. Restore it, or choose another."))
    return [topics[key] for key in topic_ids]


def _write_deleted_at(topic: Topic, questions: list[int], cards: list[int]) -> None:
    now = timezone.now()
    try:
        topic.save(update_fields=["deleted_at", "updated_at"])
    except IntegrityError as error:
        # Restored, while another topic was just given the name.
        raise refusal(Topic, error) from error
    Question.objects.filter(among(questions)).update(deleted_at=topic.deleted_at, updated_at=now)
    MemoCard.objects.filter(among(cards)).update(deleted_at=topic.deleted_at, updated_at=now)
    enqueue_topic_publish(topic)
    enqueue_question_publish(*questions)
    enqueue_card_publish(*cards)
