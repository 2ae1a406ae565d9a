"""Questions and their explanations: create, edit, approve, delete, restore. Each function is one transaction."""

from collections.abc import Collection, Mapping
from typing import Any

from django.db.models import Q
from django.utils import timezone

from memocards.errors import Conflict, Invalid
from memocards.models import ExplanationStatus, Question
from memocards.topics import require_open_topics
from memocards.writing import change_rows, lock_row, save_valid
from publish.services import enqueue_question_publish
from publish.transactions import in_transaction


@in_transaction
def create_question(*, topic_id: int, **fields: Any) -> Question:
    """A new question. Raises NotFound for the topic, Invalid, Conflict."""
    require_open_topics([topic_id])
    question = Question(topic_id=topic_id)
    save_valid(question, fields)
    enqueue_question_publish(question)
    return question


@in_transaction
def update_question(*, question_id: int, changes: Mapping[str, Any]) -> Question:
    """Change some fields. Raises NotFound, Invalid, Conflict."""
    if "topic_id" in changes:
        require_open_topics([changes["topic_id"]])
    question = lock_row(Question, question_id)
    if question.deleted_at:
        raise Conflict("This question is deleted. Restore it first.")
    save_valid(question, changes)
    enqueue_question_publish(question)
    return question


def set_explanation(*, question_id: int, body: str, generator: str = "") -> Question:
    """Store an explanation as ready, and publish it. Raises NotFound, Invalid, Conflict.

    `generator` names the program that wrote it; empty for a person.
    """
    if not body.strip():
        raise Invalid({"explanation": ["An explanation may not be blank. To withdraw it, delete it."]})
    return update_question(
        question_id=question_id,
        changes={
            "explanation": body,
            "explanation_status": ExplanationStatus.READY,
            "explanation_generator": generator,
            "explanation_error": "",
        },
    )


def clear_explanation(*, question_id: int) -> Question:
    """Withdraw an explanation: a tombstone follows where it was published. Raises NotFound, Conflict."""
    return update_question(
        question_id=question_id,
        changes={
            "explanation": "",
            "explanation_status": ExplanationStatus.NONE,
            "explanation_generator": "",
        },
    )


def approve_questions(*, question_ids: Collection[int]) -> list[int]:
    """Let these questions be seen. Returns the primary keys that changed; a constant number of statements."""
    return _change(question_ids, Q(needs_review=True, deleted_at__isnull=True), {"needs_review": False})


def unapprove_questions(*, question_ids: Collection[int]) -> list[int]:
    """Send these questions back to review. Returns the primary keys that changed."""
    return _change(question_ids, Q(needs_review=False), {"needs_review": True})


def delete_questions(*, question_ids: Collection[int]) -> list[int]:
    """Delete softly. Returns the primary keys that changed."""
    return _change(question_ids, Q(deleted_at__isnull=True), {"deleted_at": timezone.now()})


@in_transaction
def restore_questions(*, question_ids: Collection[int]) -> list[int]:
    """Undelete. Returns the primary keys that changed. Raises Conflict where a topic is deleted."""
    topics = Question.objects.filter(pk__in=question_ids).order_by().values_list("topic_id", flat=True).distinct()
    require_open_topics(list(topics))
    return _change(question_ids, Q(deleted_at__isnull=False), {"deleted_at": None})


@in_transaction
def _change(question_ids: Collection[int], where: Q, changes: Mapping[str, Any]) -> list[int]:
    changed = change_rows(Question, question_ids, where, changes)
    enqueue_question_publish(*changed)
    return changed
