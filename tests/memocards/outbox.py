"""What the outbox says, and what it ought to say by the source tables: the two sides of every comparison."""

from datetime import UTC, datetime
from typing import Any

from memocards.models import CardProgress, MemoCard, Question, Topic
from publish.models import PublishOutbox

Key = tuple[str, int]
Payload = dict[str, Any]


def outbox() -> dict[Key, Payload | None]:
    """The newest outbox row of every key: its payload, or None for a tombstone."""
    return {(row.kind, row.source_id): None if row.deleted else row.payload for row in _rows()}


def owners() -> dict[Key, int | None]:
    """Whose eyes alone may see it, by the newest outbox row of every key."""
    return {(row.kind, row.source_id): row.learner_id for row in _rows()}


def forget() -> None:
    """Empty the outbox, so that a test sees only what comes after."""
    PublishOutbox.objects.all().delete()


def truth() -> dict[Key, Payload | None]:
    """What should be published for every source row: its payload, or None where viewers should not see it."""
    keys: dict[Key, Payload | None] = {}
    for topic in Topic.objects.all():
        keys["topic", topic.pk] = _if(
            topic.deleted_at is None,
            {"name": topic.name, "description": topic.description, "position": topic.position},
        )
    for question in Question.objects.all():
        live = question.deleted_at is None and not question.needs_review
        keys["question", question.pk] = _if(
            live,
            {
                "topic_id": question.topic_id,
                "stem": question.stem,
                "choices": question.choices,
                "answer": question.answer,
                "source": question.source,
            },
        )
        keys["explanation", question.pk] = _if(
            live and question.explanation_status == "ready",
            {"question_id": question.pk, "body": question.explanation},
        )
    for card in MemoCard.objects.all():
        keys["card", card.pk] = _if(
            card.deleted_at is None and not card.needs_review,
            {
                "topic_id": card.topic_id,
                "question_id": card.question_id,
                "front": card.front,
                "back": card.back,
                "tags": card.tags,
            },
        )
    for row in CardProgress.objects.all():
        keys["card_progress", row.pk] = progress_payload(row)
    return keys


def progress_payload(row: CardProgress) -> Payload:
    return {
        "card_id": row.card_id,
        "topic_id": row.topic_id,
        "last_outcome": row.last_outcome,
        "last_reviewed_at": _text(row.last_reviewed_at),
        "due_at": None if row.due_at is None else _text(row.due_at),
        "review_stage": row.review_stage,
    }


def _rows() -> list[PublishOutbox]:
    return list(PublishOutbox.objects.order_by("id"))


def _if(live: bool, payload: Payload) -> Payload | None:
    return payload if live else None


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
