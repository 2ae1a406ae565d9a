"""Following the feed: one step fetches a page and applies it.

Rows, tombstones and the cursor change in one transaction, so whatever kills a step leaves either all of its page or
nothing. A page is applied only where the state still has the cursor and the generation that it was asked with: the same
page delivered twice, or two processes following at once, change nothing the second time.

Starting over (410) empties the cursor and opens a new generation. Rows of the old one stay readable until the new scan
has reached the head; what it did not bring goes with that last page, which was asked for after the scan began.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from viewer.applying import apply_items, kept_item, sweep
from viewer.feed_client import FeedClient
from viewer.hub_responses import Item, LearnerErased, Page, ResyncRequired
from viewer.identity import Identity
from viewer.kinds import CATALOGUE
from viewer.models import Rating, SyncState, UnknownItem
from viewer.owner import confirm, confirmed_owner, current_owner, require
from viewer.results import forget_old, of_owner, offer_again, release_cards
from viewer.state import begin_scan, current_state, locked_state


@dataclass(frozen=True)
class Step:
    """What one step did. `confirmed`: it only asked who the token is; `stale`: another process was faster."""

    upserted: int = 0
    deleted: int = 0
    kept: int = 0
    swept: int = 0
    seq: int = 0
    head: int = 0
    has_more: bool = False
    confirmed: bool = False
    started_over: bool = False
    stale: bool = False


def sync_once(client: FeedClient, *, wait: int = 0) -> Step:
    """Ask who the token is, where that is not known; else fetch the next page and apply it, or start over.

    Raises HubAway or TokenRefused (see `record_failure`), and OtherOwner.
    """
    try:
        if confirmed_owner() is None:
            confirm(client.ask_identity())
            return Step(has_more=True, confirmed=True)
        state = current_state()
        try:
            page = client.fetch_page(state.cursor, above=state.seq, wait=wait)
        except ResyncRequired:
            start_over(state)
            return Step(has_more=True, started_over=True)
    except LearnerErased as error:
        forget_learner(error.identity)
        raise
    return apply_page(page, generation=state.generation)


def start_over(seen: SyncState) -> None:
    """Go back to the empty cursor, keeping every row readable until the new scan has reached the head.

    The hub may have been put back to a backup, so it is also offered what it had accepted from here.
    """
    with transaction.atomic():
        state = locked_state()
        if not state.cursor or (state.cursor, state.generation) != (seen.cursor, seen.generation):
            return
        begin_scan(state)
        state.save()
        if owner := current_owner():
            offer_again(owner)


def apply_page(page: Page, *, generation: int) -> Step:
    """Apply one page and move the cursor, in one transaction. `generation`: that of the state when it was asked for.

    Raises OtherOwner.
    """
    with transaction.atomic():
        state = locked_state()
        require(current_owner(), page.identity)
        if (page.after, generation) != (state.cursor, state.generation):
            return Step(seq=state.seq, head=state.head, has_more=not state.at_head, stale=True)
        upserted, deleted, kept = apply_items(page.items, state.generation)
        _note_learners(state, page.items)
        swept = 0
        if state.scanning and not page.has_more:
            swept = sweep(state.generation)
            state.scanning = False
        _move_cursor(state, page)
        release_cards(at_head=state.at_head)
        if state.at_head:
            forget_old()
    return Step(
        upserted=upserted,
        deleted=deleted,
        kept=kept,
        swept=swept,
        seq=state.seq,
        head=state.head,
        has_more=page.has_more,
    )


def apply_kept_items() -> int:
    """Apply the kept items that this version understands, as after an upgrade. Returns their number."""
    with transaction.atomic():
        generation = locked_state().generation
        versions = {name: kind.schema_version for name, kind in CATALOGUE.items()}
        rows = UnknownItem.objects.filter(kind__in=versions, generation=generation).order_by("seq")
        known = [kept_item(row) for row in rows if versions[row.kind] == row.schema_version]
        return apply_items(known, generation)[0]


def forget_learner(identity: Identity) -> None:
    """Delete what is held of a learner whom the hub has erased: whatever is theirs alone, and every rating. Raises
    OtherOwner."""
    if current_owner() is None:
        return
    with transaction.atomic():
        confirm(identity)
        for kind in CATALOGUE.values():
            if kind.owner is not None:
                kind.model._default_manager.filter(**{kind.owner: identity.learner_id}).delete()
        UnknownItem.objects.filter(learner_id=identity.learner_id).delete()
        if owner := current_owner():
            Rating.objects.filter(of_owner(owner)).delete()


def _note_learners(state: SyncState, items: Iterable[Item]) -> None:
    for learner_id in {item.learner_id for item in items if item.learner_id is not None}:
        if state.learner_id is None:
            state.learner_id = learner_id
        elif state.learner_id != learner_id:
            state.several_learners = True


def _move_cursor(state: SyncState, page: Page) -> None:
    state.cursor = page.cursor
    state.head = page.head
    state.seq = max([state.seq, *(item.seq for item in page.items)])
    state.at_head = not page.has_more
    state.synced_at = timezone.now()
    silence = page.relay_silent_seconds
    state.published_at = None if silence is None else state.synced_at - timedelta(seconds=silence)
    state.failure = SyncState.Failure.NONE
    state.failure_sentence = ""
    state.rest_until = None
    state.save(
        update_fields=[
            "cursor",
            "scanning",
            "seq",
            "head",
            "at_head",
            "learner_id",
            "several_learners",
            "synced_at",
            "published_at",
            "failure",
            "failure_sentence",
            "rest_until",
        ]
    )
