"""Memo cards: create, edit, approve, delete, restore. Each function is one transaction.

Deleting or un-approving a card leaves its progress alone: readers join it away, and re-approval restores it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import IntegrityError
from django.db.models import Case, DateTimeField, F, Func, Q, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _

from kit.transactions import in_transaction
from memocards.content.approval import IN_THE_PILE, NEVER_SENT_BACK, UNAPPROVED, approved, loses_approval, sent_back
from memocards.content.topics import lock_with_topic, require_open_topics
from memocards.content.versions import lock_as_read
from memocards.errors import Conflict, Invalid
from memocards.models import CardProgress, MemoCard
from memocards.writing import change_rows, lock_keys, refusal, save_valid, update_rows
from publish.keys import among
from publish.services import enqueue_card_progress_publish, enqueue_card_publish

TAG_LIMIT = 100


@in_transaction
def create_card(*, topic_id: int, **fields: Any) -> MemoCard:
    """A new card, which waits for review unless told otherwise. Raises NotFound for the topic, Invalid, Conflict."""
    require_open_topics([topic_id])
    card = MemoCard(topic_id=topic_id)
    save_valid(card, fields)
    enqueue_card_publish(card)
    return card


@in_transaction
def update_card(*, card_id: int, changes: Mapping[str, Any], may_approve: bool = True) -> MemoCard:
    """Change some fields; with a new topic its progress rows move along. Raises NotFound, Invalid, Conflict.

    A card that was sent back to its author waits for a reviewer again. So does an approved one of which learners would
    see something else, unless whoever changes it may approve it.
    """
    card = lock_with_topic(MemoCard, card_id, changes)
    if card.deleted_at:
        raise Conflict(_("This card is deleted. Restore it first."))
    moves = changes.get("topic_id", card.topic_id) != card.topic_id
    if changes and card.sent_back_at:
        changes = {**changes, **IN_THE_PILE}
    elif not may_approve and loses_approval(card, changes):
        changes = {**changes, **UNAPPROVED, "unapproved_at": timezone.now()}
    save_valid(card, changes)
    enqueue_card_publish(card)
    if moves:
        _move_progress([card.pk], card.topic_id)
    return card


@in_transaction
def approve_cards(*, versions: Mapping[int, str], reviewer_id: int | None) -> list[int]:
    """Let these cards be seen as they were read: primary key → the version that the reviewer had before them.

    Returns the primary keys that changed; a constant number of statements. Raises ChangedSince where one that waits is
    another by now, whoever changed it; then none is approved.
    """
    waiting = lock_as_read(MemoCard, versions, Q(needs_review=True, deleted_at__isnull=True))
    update_rows(MemoCard, waiting, {**approved(reviewer_id), "unapproved_at": None})
    enqueue_card_publish(*waiting)
    return waiting


def unapprove_cards(*, card_ids: Collection[int]) -> list[int]:
    """Send these cards back to review. Returns the primary keys that changed."""
    return _change(
        card_ids,
        Q(needs_review=False),
        {**UNAPPROVED, "unapproved_at": timezone.now()},
    )


def send_back_cards(*, card_ids: Collection[int], reason: str, reviewer_id: int | None) -> list[int]:
    """Return these cards to their authors, who read the reason; learners no longer see them. Raises Invalid.

    They leave the reviewers' pile until they are edited. Returns the primary keys that changed.
    """
    return _change(
        card_ids,
        Q(deleted_at__isnull=True),
        {**sent_back(reason, reviewer_id), "unapproved_at": _when_last_seen()},
    )


def take_back_cards(*, card_ids: Collection[int]) -> list[int]:
    """Undo a sending back: these cards wait for a reviewer again. Returns the primary keys that changed."""
    return _change(card_ids, Q(sent_back_at__isnull=False), NEVER_SENT_BACK)


@in_transaction
def move_cards(*, card_ids: Collection[int], topic_id: int, may_approve: bool = True) -> list[int]:
    """Put these cards under another topic, their progress rows too; a constant number of statements.

    Those that are approved wait for a reviewer again, unless whoever moves them may approve them. Returns the primary
    keys that changed. Raises NotFound; Conflict where the topic is deleted, or has a card of the same external id.
    """
    require_open_topics([topic_id])
    elsewhere = Q(deleted_at__isnull=True) & ~Q(topic_id=topic_id)
    try:
        changed = _change(card_ids, elsewhere, {"topic_id": topic_id, **_reviewed(may_approve)})
    except IntegrityError as error:
        raise refusal(MemoCard, error) from error
    if changed:
        _move_progress(changed, topic_id)
    return changed


def tag_cards(
    *, card_ids: Collection[int], add: Sequence[str] = (), remove: Sequence[str] = (), may_approve: bool = True
) -> list[int]:
    """Add tags to these cards, behind those they have, and take tags away; a constant number of statements.

    Those that are approved and change wait for a reviewer again, unless whoever tags them may approve them. Returns the
    primary keys that changed. Raises Invalid.
    """
    for tag in add:
        if not tag.strip() or len(tag) > TAG_LIMIT or "\0" in tag:
            raise Invalid({"tags": [_("A tag has 1 to 100 characters.")]})
    tags = MemoCard._meta.get_field("tags")
    kept = _Without(F("tags"), Value(list(remove), output_field=tags), output_field=tags)
    new = _Without(Value(list(dict.fromkeys(add)), output_field=tags), F("tags"), output_field=tags)
    where = Q(tags__overlap=list(remove)) if remove else Q(pk__in=[])
    if add:
        where |= ~Q(tags__contains=list(add))
    changes = {"tags": Func(kept, new, function="array_cat"), **_reviewed(may_approve)}
    try:
        return _change(card_ids, Q(deleted_at__isnull=True) & where, changes)
    except IntegrityError as error:
        raise refusal(MemoCard, error) from error


def delete_cards(*, card_ids: Collection[int]) -> list[int]:
    """Delete softly. Returns the primary keys that changed."""
    return _change(card_ids, Q(deleted_at__isnull=True), {"deleted_at": timezone.now()})


@in_transaction
def restore_cards(*, card_ids: Collection[int]) -> list[int]:
    """Undelete. Returns the primary keys that changed. Raises Conflict where a topic is deleted."""
    rows = MemoCard.objects.filter(among(card_ids)).order_by()
    topics = list(rows.values_list("topic_id", flat=True).distinct())
    require_open_topics(topics)
    # One that was moved meanwhile stays deleted: its new topic was not looked at.
    return _change(card_ids, Q(deleted_at__isnull=False, topic_id__in=topics), {"deleted_at": None})


class _Without(Func):
    """(texts, others) → those of the texts that are not among the others, in their order."""

    template = "ARRAY(SELECT text FROM unnest(%(expressions)s) ORDER BY place)"
    arg_joiner = ") WITH ORDINALITY AS given(text, place) WHERE text <> ALL ("
    arity = 2


@in_transaction
def _change(card_ids: Collection[int], where: Q, changes: Mapping[str, Any]) -> list[int]:
    changed = change_rows(MemoCard, card_ids, where, changes)
    enqueue_card_publish(*changed)
    return changed


def _reviewed(may_approve: bool) -> dict[str, Any]:
    """What a change by such a person writes besides, where learners would see something else of every row."""
    return {} if may_approve else {**UNAPPROVED, "unapproved_at": _when_last_seen()}


def _when_last_seen() -> Case:
    """Now for a card that learners see; for others the time stays at which they ceased to."""
    seen = When(needs_review=False, then=Value(timezone.now(), output_field=DateTimeField()))
    return Case(seen, default=F("unapproved_at"))


def _move_progress(card_ids: Collection[int], topic_id: int) -> None:
    rows = lock_keys(CardProgress, among(card_ids, "card"))
    CardProgress.objects.filter(among(rows)).update(topic_id=topic_id, updated_at=timezone.now())
    enqueue_card_progress_publish(*rows)
