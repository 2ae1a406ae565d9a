"""Answers that the hub took while its own clock was fast: found, brought back, and folded and published again."""

from datetime import datetime, timedelta
from io import StringIO
from itertools import pairwise
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db.models import F
from django.utils import timezone

from kit.scheduling import Outcome
from memocards.learning import rating
from memocards.learning.rescheduling import reschedule_page
from memocards.models import CardProgress, MemoCard, Review
from tests.factories import MemoCardFactory, UserFactory
from tests.memocards.outbox import forget, outbox, truth

pytestmark = pytest.mark.django_db(transaction=True)
AHEAD = timedelta(days=400)


def rate(learner: User, card: MemoCard, reviewed_at: datetime | None) -> Review:
    return rating.rate_card(
        learner_id=learner.pk, card_id=card.pk, review_id=uuid4(), outcome=Outcome.GOOD, reviewed_at=reviewed_at
    ).review


def taken_by_a_fast_clock(learner: User) -> None:
    """As if the hub's clock had been ahead when it took the learner's last answer to each card."""
    for card_id in CardProgress.objects.filter(learner=learner).values_list("card_id", flat=True):
        last = Review.objects.filter(learner=learner, card_id=card_id).latest("reviewed_at")
        Review.objects.filter(pk=last.pk).update(
            reviewed_at=F("reviewed_at") + AHEAD, received_at=F("received_at") + AHEAD
        )
    CardProgress.objects.filter(learner=learner).update(fold_key="")
    reschedule_page(learner_id=learner.pk)


def run(*flags: str) -> str:
    call_command("answers_from_the_future", *flags, stdout=(out := StringIO()))
    return out.getvalue()


def test_what_the_client_said_is_restored_with_the_progress_that_follows(learner: User) -> None:
    cards = MemoCardFactory.create_batch(3)
    for card in cards:
        for days in (9, 4):
            rate(learner, card, timezone.now() - timedelta(days=days))
    reviews = dict(Review.objects.values_list("pk", "reviewed_at"))
    progress = list(CardProgress.objects.order_by("pk").values("last_reviewed_at", "due_at", "review_stage"))
    taken_by_a_fast_clock(learner)
    assert CardProgress.objects.filter(due_at__gt=timezone.now() + AHEAD / 2).count() == 3
    assert run() == f"{learner}: 3 answers are later than now.\nWith --bring-back they are mended.\n"

    forget()
    assert run("--bring-back") == f"{learner}: 3 answers brought back, 3 cards changed.\n"
    assert dict(Review.objects.values_list("pk", "reviewed_at")) == reviews
    assert list(CardProgress.objects.order_by("pk").values("last_reviewed_at", "due_at", "review_stage")) == progress
    assert outbox() == {key: payload for key, payload in truth().items() if key[0] == "card_progress"}
    assert run() == run("--bring-back") == "No answer is later than now.\n"


def test_answers_without_a_time_become_now_and_keep_their_order(learner: User) -> None:
    cards = MemoCardFactory.create_batch(4)
    claimed = timezone.now() - timedelta(hours=1)
    reviews = [rate(learner, card, at) for card, at in zip(cards, (None, claimed, None, None), strict=True)]
    Review.objects.filter(pk=reviews[1].pk).update(reviewed_at=reviews[1].received_at)
    for number, review in enumerate(reviews):
        at = timezone.now() + AHEAD + number * timedelta(seconds=1)
        Review.objects.filter(pk=review.pk).update(reviewed_at=at, received_at=at)
    CardProgress.objects.update(fold_key="")
    reschedule_page(learner_id=learner.pk)
    run("--bring-back")
    times = [Review.objects.get(pk=review.pk).reviewed_at for review in reviews]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[1] == claimed
    assert times[-1] <= timezone.now()


def test_an_answer_given_later_counts_again(learner: User) -> None:
    card = MemoCardFactory.create()
    rate(learner, card, timezone.now() - timedelta(days=40))
    taken_by_a_fast_clock(learner)
    run("--bring-back")
    rate(learner, card, None)
    row = CardProgress.objects.get()
    assert row.due_at is not None
    assert (row.review_count, row.review_stage) == (2, 1)
    assert row.due_at < timezone.now() + timedelta(days=10)


def test_nothing_else_is_touched(learner: User) -> None:
    other, card = UserFactory.create(), MemoCardFactory.create()
    for who in (learner, other):
        rate(who, card, timezone.now() - timedelta(days=4))
    taken_by_a_fast_clock(learner)
    before = list(Review.objects.filter(learner=other).values())
    forget()
    run("--bring-back")
    assert list(Review.objects.filter(learner=other).values()) == before
    assert {key for _kind, key in outbox()} == {CardProgress.objects.get(learner=learner).pk}
