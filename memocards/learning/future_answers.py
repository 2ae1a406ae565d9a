"""Answers from the future: the hub took them while its own clock was fast, and they outlast every later answer.

The client's clock tells more of them than the hub's did: where what it claimed is in the past, that is when the answer
was given. The others were given at the latest now, and before what came after them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count
from django.utils import timezone

from kit.transactions import in_transaction
from memocards.learning.client_clock import TICK
from memocards.learning.learners import lock_learner
from memocards.learning.rescheduling import fold_rows, schedulers_of
from memocards.models import CardProgress, Review
from publish.services import enqueue_card_progress_publish


@dataclass(frozen=True)
class Brought:
    """How many of a learner's answers were brought back into the past, and how many cards' progress changed by it."""

    answers: int
    progress: int


def answers_from_the_future() -> dict[int, int]:
    """Learner → number of answers that are later than now, where there are any."""
    future = Review.objects.filter(reviewed_at__gt=timezone.now()).order_by("learner_id")
    return dict(future.values_list("learner_id").annotate(answers=Count("pk")))


@in_transaction
def bring_back(*, learner_id: int) -> Brought:
    """Set a learner's answers that are later than now to when they can have been given, in their order; fold the cards
    again and publish what changes. The learner's lock holds off the learner's ratings meanwhile.

    Where the claimed time does not stand, the answer counts as clamped.
    """
    learner = lock_learner(learner_id)
    now = timezone.now()
    answers = list(Review.objects.filter(learner_id=learner_id, reviewed_at__gt=now).order_by("reviewed_at", "id"))
    _date_back(answers, now)
    Review.objects.bulk_update(answers, ["reviewed_at", "received_at", "clamped"], batch_size=500)
    touched = CardProgress.objects.filter(learner_id=learner_id, card_id__in={answer.card_id for answer in answers})
    rows = list(touched.order_by("pk").select_for_update(no_key=True))
    changed = fold_rows(learner_id, rows, schedulers_of(learner, {row.topic_id for row in rows}))
    enqueue_card_progress_publish(*changed)
    return Brought(answers=len(answers), progress=len(changed))


def _date_back(answers: Sequence[Review], now: datetime) -> None:
    """`answers`: in the order in which they were given."""
    latest = now
    for answer in reversed(answers):
        claimed = answer.claimed_at
        answer.reviewed_at = latest if claimed is None else min(claimed, latest)
        answer.clamped = claimed is not None and answer.reviewed_at != claimed
        answer.received_at = min(answer.received_at, now)
        latest = answer.reviewed_at - TICK
