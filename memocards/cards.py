"""Memo cards: create, edit, approve, delete, restore. Each function is one transaction.

Deleting or un-approving a card leaves its progress alone: readers join it away, and re-approval restores it.
"""

from collections.abc import Collection, Mapping
from typing import Any

from django.db.models import Q
from django.utils import timezone

from memocards.errors import Conflict
from memocards.models import CardProgress, MemoCard
from memocards.topics import require_open_topics
from memocards.writing import change_rows, lock_keys, lock_row, save_valid
from publish.services import enqueue_card_progress_publish, enqueue_card_publish
from publish.transactions import in_transaction


@in_transaction
def create_card(*, topic_id: int, **fields: Any) -> MemoCard:
    """A new card, which waits for review unless told otherwise. Raises NotFound for the topic, Invalid, Conflict."""
    require_open_topics([topic_id])
    card = MemoCard(topic_id=topic_id)
    save_valid(card, fields)
    enqueue_card_publish(card)
    return card


@in_transaction
def update_card(*, card_id: int, changes: Mapping[str, Any]) -> MemoCard:
    """Change some fields; with a new topic its progress rows move along. Raises NotFound, Invalid, Conflict."""
    if "topic_id" in changes:
        require_open_topics([changes["topic_id"]])
    card = lock_row(MemoCard, card_id)
    if card.deleted_at:
        raise Conflict("This card is deleted. Restore it first.")
    moves = changes.get("topic_id", card.topic_id) != card.topic_id
    save_valid(card, changes)
    enqueue_card_publish(card)
    if moves:
        _move_progress([card.pk], card.topic_id)
    return card


def approve_cards(*, card_ids: Collection[int], reviewer_id: int | None) -> list[int]:
    """Let these cards be seen. Returns the primary keys that changed; a constant number of statements."""
    return _change(
        card_ids,
        Q(needs_review=True, deleted_at__isnull=True),
        {
            "needs_review": False,
            "reviewed_by_id": reviewer_id,
            "reviewed_at": timezone.now(),
            "unapproved_at": None,
        },
    )


def unapprove_cards(*, card_ids: Collection[int]) -> list[int]:
    """Send these cards back to review. Returns the primary keys that changed."""
    return _change(
        card_ids,
        Q(needs_review=False),
        {"needs_review": True, "reviewed_by_id": None, "reviewed_at": None, "unapproved_at": timezone.now()},
    )


def delete_cards(*, card_ids: Collection[int]) -> list[int]:
    """Delete softly. Returns the primary keys that changed."""
    return _change(card_ids, Q(deleted_at__isnull=True), {"deleted_at": timezone.now()})


@in_transaction
def restore_cards(*, card_ids: Collection[int]) -> list[int]:
    """Undelete. Returns the primary keys that changed. Raises Conflict where a topic is deleted."""
    topics = MemoCard.objects.filter(pk__in=card_ids).order_by().values_list("topic_id", flat=True).distinct()
    require_open_topics(list(topics))
    return _change(card_ids, Q(deleted_at__isnull=False), {"deleted_at": None})


@in_transaction
def _change(card_ids: Collection[int], where: Q, changes: Mapping[str, Any]) -> list[int]:
    changed = change_rows(MemoCard, card_ids, where, changes)
    enqueue_card_publish(*changed)
    return changed


def _move_progress(card_ids: Collection[int], topic_id: int) -> None:
    rows = lock_keys(CardProgress, Q(card_id__in=card_ids))
    CardProgress.objects.filter(pk__in=rows).update(topic_id=topic_id, updated_at=timezone.now())
    enqueue_card_progress_publish(*rows)
