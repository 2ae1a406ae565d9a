"""Ratings made here: recorded first, then handed to the hub, now or whenever it is back.

They are the owner's, and are sent only where the hub has said that the present token is the owner's, too.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from viewer.feed_client import FeedClient
from viewer.hub_responses import Accepted, HubAway, Refused, TokenRefused
from viewer.models import Card, Outcome, Owner, Rating, SyncState
from viewer.owner import confirmed_owner, current_owner
from viewer.results import of_owner, progress_seq
from viewer.state import current_state, is_resting, locked_state, record_answer, record_failure

LONGEST_DURATION_MS = 60 * 60 * 1000
# How many accepted ratings are offered to the hub again in one request.
BATCH = 500


class Recorded(Enum):
    NEW = "new"
    # The same form again: a double tap, or the browser's "send again".
    REPEATED = "repeated"
    # Another rating of this card is still on its way; counting this one too would count one answer twice.
    CARD_IS_HELD = "held"
    CARD_IS_GONE = "gone"
    # The hub has erased the learner, and with the token went the right to rate.
    LEARNER_IS_ERASED = "erased"


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
        # Two taps at once take turns here.
        state = locked_state()
        if state.failure == SyncState.Failure.ERASED:
            return Recorded.LEARNER_IS_ERASED
        if Rating.objects.filter(pk=review_id).exists():
            return Recorded.REPEATED
        if not Card.objects.filter(pk=card_id).exists():
            return Recorded.CARD_IS_GONE
        if Rating.objects.filter(card_id=card_id, holds_card=True).exists():
            return Recorded.CARD_IS_HELD
        owner = current_owner()
        Rating.objects.create(
            id=review_id,
            hub=owner.hub if owner else None,
            learner_id=owner.learner_id if owner else None,
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
        # Asked anew for each: another process may give the database to somebody else meanwhile.
        owner = confirmed_owner()
        if owner is None:
            break
        waiting = Rating.objects.filter(of_owner(owner), state=Rating.State.WAITING).exclude(pk__in=seen)
        rating = waiting.order_by("hub_failures", "reviewed_at", "id").first()
        if rating is None:
            break
        seen.add(rating.pk)
        try:
            answer = client.send_rating(rating)
        except HubAway as error:
            if error.answered:
                Rating.objects.filter(pk=rating.pk).update(hub_failures=F("hub_failures") + 1)
            raise
        sent = waiting.filter(pk=rating.pk)
        if isinstance(answer, Accepted):
            accepted += sent.update(state=Rating.State.ACCEPTED, accepted_at=timezone.now())
        else:
            refused += _refuse(sent, answer)
    return Sent(accepted=accepted, refused=refused)


def send_accepted_again(client: FeedClient) -> Sent:
    """Offer what the hub had accepted before it told another history; what it still has, it counts once.

    Raises HubAway or TokenRefused; what was not answered is offered again later.
    """
    accepted = refused = 0
    while owner := confirmed_owner():
        offered = Rating.objects.filter(of_owner(owner), offer_again=True)
        batch = list(offered.order_by("reviewed_at", "id")[:BATCH])
        if not batch:
            break
        answers = client.send_ratings(batch)
        refusals = {key: answer for key, answer in answers.items() if isinstance(answer, Refused)}
        with transaction.atomic():
            accepted += offered.filter(pk__in=answers.keys() - refusals.keys()).update(offer_again=False)
            for key, refusal in refusals.items():
                refused += _refuse(offered.filter(pk=key), refusal)
    return Sent(accepted=accepted, refused=refused)


def ratings_of_others(owner: Owner | None) -> QuerySet[Rating]:
    """What the hub has not accepted and is not the owner's: made before the database was given to another token."""
    if owner is None:
        return Rating.objects.none()
    return Rating.objects.filter(~of_owner(owner), state__in=[Rating.State.WAITING, Rating.State.REFUSED])


def _refuse(ratings: QuerySet[Rating], refusal: Refused) -> int:
    # The card goes back into its queue: nothing happened to it.
    return ratings.update(state=Rating.State.REFUSED, problem=refusal.problem, holds_card=False, offer_again=False)


def try_at_once(*, seconds: float) -> None:
    """Offer the hub what waits, without keeping the learner waiting. What fails, `sync` sends later."""
    if is_resting(current_state()):
        return
    try:
        with FeedClient(timeout=seconds, patience=seconds) as client:
            sent = send_waiting(client, until=timezone.now() + timedelta(seconds=seconds))
        if sent.accepted or sent.refused:
            record_answer()
    except (HubAway, TokenRefused) as error:
        record_failure(error)


def send_again(review_id: UUID) -> bool:
    """Let a refused rating wait once more. False if it is not refused, or its card is being rated anew."""
    with transaction.atomic():
        owner = current_owner()
        refused = Rating.objects.filter(pk=review_id, state=Rating.State.REFUSED)
        rating = refused.filter(of_owner(owner)).first() if owner else None
        if rating is None or Rating.objects.filter(card_id=rating.card_id, holds_card=True).exists():
            return False
        return refused.update(state=Rating.State.WAITING, problem="", holds_card=True) == 1


def dismiss(review_id: UUID) -> bool:
    """Forget a rating that the hub refused, or that waits for another token."""
    refused = Rating.objects.filter(pk=review_id, state=Rating.State.REFUSED)
    return (refused.delete()[0] or ratings_of_others(current_owner()).filter(pk=review_id).delete()[0]) == 1
