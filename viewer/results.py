"""What becomes of ratings that the hub has accepted.

Each keeps its card out of the queues until its result came through the feed. Then it stays for a while: a hub that was
put back to a backup has lost what came since, and is offered it again.
"""

from datetime import timedelta

from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from viewer.models import CardProgress, Owner, Rating, UnknownItem

# A rating may change nothing that is published, and then the feed brings nothing. Once the hub has had this
# long to publish and the feed was read to its head, the card is free again.
RESULT_WITHIN = timedelta(seconds=60)
# A backup that is older has lost what is not here any more.
KEPT_FOR = timedelta(days=90)
_PROGRESS = "card_progress"


def release_cards(*, at_head: bool) -> None:
    """Put cards back into the queues: their ratings came back through the feed, or changed nothing.

    A result that this version cannot read is none: its card would be due as before, and rated twice. It is held until a
    version that can read it does.
    """
    unread = UnknownItem.objects.filter(kind=_PROGRESS)
    newer = CardProgress.objects.filter(
        ~Exists(unread.filter(source_id=OuterRef("pk"))), card_id=OuterRef("card_id"), seq__gt=OuterRef("after_seq")
    )
    settled = Q(Exists(newer))
    if at_head:
        perhaps_its_result = unread.filter(seq__gt=OuterRef("after_seq"))
        settled |= Q(~Exists(perhaps_its_result), accepted_at__lt=timezone.now() - RESULT_WITHIN)
    Rating.objects.filter(settled, holds_card=True, state=Rating.State.ACCEPTED).update(holds_card=False)


def progress_seq(card_id: int) -> int:
    """Where in the feed the progress held for a card stands; 0 without one."""
    row = CardProgress.objects.filter(card_id=card_id).order_by(F("seq").desc()).values_list("seq", flat=True)
    return row.first() or 0


def of_owner(owner: Owner) -> Q:
    """Ratings of the owner's learner, with whichever token they were made."""
    return Q(hub=owner.hub, learner_id=owner.learner_id)


def offer_again(owner: Owner) -> None:
    """The hub tells another history: what it had accepted may not be in it."""
    Rating.objects.filter(of_owner(owner), state=Rating.State.ACCEPTED).update(offer_again=True)


def forget_old() -> None:
    """Delete what was accepted long ago and holds no card."""
    old = Rating.objects.filter(state=Rating.State.ACCEPTED, accepted_at__lt=timezone.now() - KEPT_FOR)
    old.filter(holds_card=False, offer_again=False).delete()
