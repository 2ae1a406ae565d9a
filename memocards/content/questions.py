"""Questions and their explanations: create, edit, approve, delete, restore. Each function is one transaction."""

from collections.abc import Collection, Mapping
from typing import Any

from django.db import IntegrityError
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from kit.transactions import in_transaction
from memocards.content.approval import IN_THE_PILE, NEVER_SENT_BACK, UNAPPROVED, approved, loses_approval, sent_back
from memocards.content.topics import lock_with_topic, require_open_topics
from memocards.content.versions import lock_as_read
from memocards.errors import Conflict, Invalid
from memocards.explaining import requesting
from memocards.models import ExplanationStatus, Question
from memocards.writing import change_rows, refusal, save_valid, update_rows
from publish.services import enqueue_question_publish


@in_transaction
def create_question(*, topic_id: int, explain: bool = True, **fields: Any) -> Question:
    """A new question. Raises NotFound for the topic, Invalid, Conflict.

    Where an endpoint is set, an explanation is asked for, unless one is given, or `explain` is false: for whoever
    brings an explanation right after, or questions by the thousand.
    """
    require_open_topics([topic_id])
    question = Question(topic_id=topic_id)
    if explain and requesting.endpoint_is_set() and not fields.get("explanation"):
        fields = {"explanation_status": ExplanationStatus.PENDING, **fields}
    save_valid(question, fields)
    if question.explanation_status == ExplanationStatus.PENDING:
        requesting.defer([question.pk])
    enqueue_question_publish(question)
    return question


@in_transaction
def update_question(*, question_id: int, changes: Mapping[str, Any], may_approve: bool = True) -> Question:
    """Change some fields. Raises NotFound, Invalid, Conflict.

    A question that was sent back to its author waits for a reviewer again. So does an approved one of which learners
    would see something else, its explanation included, unless whoever changes it may approve it.
    """
    question = lock_with_topic(Question, question_id, changes)
    if question.deleted_at:
        raise Conflict(_("This question is deleted. Restore it first."))
    content = requesting.content_of(question)
    if changes and question.sent_back_at:
        changes = {**changes, **IN_THE_PILE}
    elif not may_approve and loses_approval(question, changes):
        changes = {**changes, **UNAPPROVED}
    save_valid(question, changes)
    if requesting.is_under_way(question) and requesting.content_of(question) != content:
        # The answer to come would explain what no longer stands there.
        requesting.ask_for([question_id])
        question.refresh_from_db()
    enqueue_question_publish(question)
    return question


def set_explanation(*, question_id: int, body: str, generator: str = "", may_approve: bool = True) -> Question:
    """Store an explanation as ready, and publish it. It wins over one that is under way.

    Raises NotFound, Invalid, Conflict. `generator` names the program that wrote it; empty for a person. `may_approve`
    as in update_question().
    """
    if not body.strip():
        raise Invalid({"explanation": [_("An explanation may not be blank. To withdraw it, delete it.")]})
    return update_question(
        question_id=question_id,
        changes={
            "explanation": body,
            "explanation_status": ExplanationStatus.READY,
            "explanation_generator": generator,
            "explanation_error": "",
        },
        may_approve=may_approve,
    )


def clear_explanation(*, question_id: int, may_approve: bool = True) -> Question:
    """Withdraw an explanation, or the request for one: a tombstone follows where it was published.

    Raises NotFound, Conflict. `may_approve` as in update_question().
    """
    return update_question(
        question_id=question_id,
        changes={
            "explanation": "",
            "explanation_status": ExplanationStatus.NONE,
            "explanation_generator": "",
            "explanation_error": "",
        },
        may_approve=may_approve,
    )


@in_transaction
def approve_questions(*, versions: Mapping[int, str], reviewer_id: int | None) -> list[int]:
    """Let these questions be seen as they were read: primary key → the version that the reviewer had before them.

    Returns the primary keys that changed; a constant number of statements. Raises ChangedSince where one that waits is
    another by now, whoever changed it; then none is approved.
    """
    waiting = lock_as_read(Question, versions, Q(needs_review=True, deleted_at__isnull=True))
    update_rows(Question, waiting, approved(reviewer_id))
    enqueue_question_publish(*waiting)
    return waiting


def unapprove_questions(*, question_ids: Collection[int]) -> list[int]:
    """Send these questions back to review. Returns the primary keys that changed."""
    return _change(
        question_ids,
        Q(needs_review=False),
        UNAPPROVED,
    )


def send_back_questions(*, question_ids: Collection[int], reason: str, reviewer_id: int | None) -> list[int]:
    """Return these questions to their authors, who read the reason; learners no longer see them. Raises Invalid.

    They leave the reviewers' pile until they are edited. Returns the primary keys that changed.
    """
    return _change(question_ids, Q(deleted_at__isnull=True), sent_back(reason, reviewer_id))


def take_back_questions(*, question_ids: Collection[int]) -> list[int]:
    """Undo a sending back: these questions wait for a reviewer again. Returns the primary keys that changed."""
    return _change(question_ids, Q(sent_back_at__isnull=False), NEVER_SENT_BACK)


@in_transaction
def move_questions(*, question_ids: Collection[int], topic_id: int, may_approve: bool = True) -> list[int]:
    """Put these questions under another topic; their cards stay. A constant number of statements.

    Those that are approved wait for a reviewer again, unless whoever moves them may approve them. Returns the primary
    keys that changed. Raises NotFound; Conflict where the topic is deleted, or has a question of the same external id.
    """
    require_open_topics([topic_id])
    changes = {"topic_id": topic_id, **({} if may_approve else UNAPPROVED)}
    try:
        return _change(question_ids, Q(deleted_at__isnull=True) & ~Q(topic_id=topic_id), changes)
    except IntegrityError as error:
        raise refusal(Question, error) from error


def delete_questions(*, question_ids: Collection[int]) -> list[int]:
    """Delete softly. Returns the primary keys that changed."""
    return _change(question_ids, Q(deleted_at__isnull=True), {"deleted_at": timezone.now()})


@in_transaction
def restore_questions(*, question_ids: Collection[int]) -> list[int]:
    """Undelete. Returns the primary keys that changed. Raises Conflict where a topic is deleted."""
    rows = Question.objects.filter(pk__in=question_ids).order_by()
    topics = list(rows.values_list("topic_id", flat=True).distinct())
    require_open_topics(topics)
    # One that was moved meanwhile stays deleted: its new topic was not looked at.
    return _change(question_ids, Q(deleted_at__isnull=False, topic_id__in=topics), {"deleted_at": None})


@in_transaction
def _change(question_ids: Collection[int], where: Q, changes: Mapping[str, Any]) -> list[int]:
    changed = change_rows(Question, question_ids, where, changes)
    enqueue_question_publish(*changed)
    return changed
