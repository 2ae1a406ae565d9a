"""Erasing a learner: reviews and progress are deleted, and every viewer is told to forget them."""

from dataclasses import dataclass

from kit.transactions import in_transaction
from memocards.learning.learners import lock_learner
from memocards.models import CardProgress, Review
from publish.models import PublishedItem, Subscriber
from publish.services import enqueue_tombstone_publish
from publish.subscribers import revoke_tokens_of_erased

_KIND = "card_progress"


@dataclass(frozen=True)
class Erased:
    """How much was, or would be, erased. `tombstones`: 0 while publishing is switched off."""

    reviews: int
    progress: int
    subscribers: int
    tombstones: int = 0


def count_of(learner_id: int) -> Erased:
    """What there is to erase."""
    return Erased(
        reviews=Review.objects.filter(learner_id=learner_id).count(),
        progress=CardProgress.objects.filter(learner_id=learner_id).count(),
        subscribers=Subscriber.objects.filter(learner_id=learner_id, revoked_at__isnull=True).count(),
    )


@in_transaction
def erase_learner(*, learner_id: int) -> Erased:
    """Delete a learner's reviews and progress, publish the tombstones, and revoke the tokens bound to the learner: from
    then on they open nothing, and tell the learner's own viewers to forget.

    The account and its study settings stay; nothing holds on to them any more. The learner's lock makes a rating on its
    way come before this, and be erased too, or after it.
    """
    lock_learner(learner_id)
    progress = CardProgress.objects.filter(learner_id=learner_id)
    # With rows that are published although their source has gone: nothing of the learner may be left in the feed.
    published = PublishedItem.objects.filter(kind=_KIND, learner_id=learner_id, deleted=False)
    keys = {*progress.values_list("pk", flat=True), *published.values_list("source_id", flat=True)}
    tombstones = enqueue_tombstone_publish(_KIND, keys)
    deleted_progress, _ = progress.delete()
    deleted_reviews, _ = Review.objects.filter(learner_id=learner_id).delete()
    revoked = revoke_tokens_of_erased(learner_id)
    return Erased(reviews=deleted_reviews, progress=deleted_progress, subscribers=revoked, tombstones=tombstones)
