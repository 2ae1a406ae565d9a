"""Ratings made here: recorded first, then handed to the hub, now or whenever it is back."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from viewer.feed_client import Accepted, FeedClient, HubAway, TokenRefused
from viewer.models import Card, Outcome, Rating, SyncState
from viewer.sync import current_state, progress_seq, record_answer, record_failure

LONGEST_DURATION_MS = 60 * 60 * 1000


class Recorded(Enum):
    NEW = "new"
    # The same form again: a double tap, or the browser's "send again".
    REPEATED = "repeated"
    # Another rating of this card is still on its way; counting this one too would count one answer twice.
    CARD_IS_HELD = "held"
    CARD_IS_GONE = "gone"


@dataclass(frozen=True)
class Sent:
    accepted: int = 0
    refused: int = 0


def record_rating(
    *, review_id: UUID, card_id: int, outcome: Outcome, reviewed_at: datetime, duration_ms: int | None
) -> Recorded:
    """Keep a rating, waiting for the hub. `duration_ms` outside 0 … one hour says nothing and is dropped."""
    if duration_ms is not None and not 0 <= duration_ms <= LONGEST_DURATION_MS:
        duration_ms = None
    with transaction.atomic():
        # PostgreSQL: two taps at once take turns here. SQLite's transactions do so by themselves.
        current_state()
        SyncState.objects.select_for_update(no_key=True).get(pk=1)
        if Rating.objects.filter(pk=review_id).exists():
            return Recorded.REPEATED
        if not Card.objects.filter(pk=card_id).exists():
            return Recorded.CARD_IS_GONE
        if Rating.objects.filter(card_id=card_id, holds_card=True).exists():
            return Recorded.CARD_IS_HELD
        Rating.objects.create(
            id=review_id,
            card_id=card_id,
            outcome=outcome,
            reviewed_at=reviewed_at,
            duration_ms=duration_ms,
            after_seq=progress_seq(card_id),
        )
    return Recorded.NEW


def send_waiting(client: FeedClient, *, until: datetime | None = None) -> Sent:
    """Send what waits, oldest first, and stop at the first failure; past `until` no further one is begun.

    Raises HubAway or TokenRefused; everything not yet accepted goes on waiting under its own review_id.
    """
    accepted = refused = 0
    seen: set[UUID] = set()
    while until is None or timezone.now() < until:
        rating = (
            Rating.objects.filter(state=Rating.State.WAITING)
            .exclude(pk__in=seen)
            .order_by("hub_failures", "reviewed_at", "id")
            .first()
        )
        if rating is None:
            break
        seen.add(rating.pk)
        try:
            answer = client.send_rating(rating)
        except HubAway as error:
            if error.answered:
                Rating.objects.filter(pk=rating.pk).update(hub_failures=F("hub_failures") + 1)
            raise
        waiting = Rating.objects.filter(pk=rating.pk, state=Rating.State.WAITING)
        if isinstance(answer, Accepted):
            accepted += waiting.update(state=Rating.State.ACCEPTED, accepted_at=timezone.now())
        else:
            # The card goes back into its queue: nothing happened to it.
            refused += waiting.update(state=Rating.State.REFUSED, problem=answer.problem, holds_card=False)
    return Sent(accepted=accepted, refused=refused)


def try_at_once(*, seconds: float) -> None:
    """Offer the hub what waits, without keeping the learner waiting. What fails, `sync` sends later."""
    now = timezone.now()
    rest_until = current_state().rest_until
    if rest_until and rest_until > now:
        return
    try:
        with FeedClient(timeout=seconds) as client:
            sent = send_waiting(client, until=now + timedelta(seconds=seconds))
        if sent.accepted or sent.refused:
            record_answer()
    except (HubAway, TokenRefused) as error:
        record_failure(error)


def send_again(review_id: UUID) -> bool:
    """Let a refused rating wait once more. False if it is not refused, or its card is being rated anew."""
    with transaction.atomic():
        refused = Rating.objects.filter(pk=review_id, state=Rating.State.REFUSED)
        rating = refused.first()
        if rating is None or Rating.objects.filter(card_id=rating.card_id, holds_card=True).exists():
            return False
        return refused.update(state=Rating.State.WAITING, problem="", holds_card=True) == 1


def dismiss(review_id: UUID) -> bool:
    """Forget a rating that the hub refused."""
    return Rating.objects.filter(pk=review_id, state=Rating.State.REFUSED).delete()[0] == 1
