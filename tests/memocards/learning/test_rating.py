"""Rating: what an answer stores and publishes, what it refuses, and that progress is always the fold of the answers."""

import uuid
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import hypothesis
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from kit.scheduling import Answer, Outcome, Progress, Settings, StudyClock, fold, scheduler_for
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.versions import versions_of
from memocards.errors import CardDeleted, Invalid, NotFound, ReviewIdReused, WaitsForReview
from memocards.learning import rating
from memocards.learning.rating import CardState, Rated
from memocards.models import CardProgress, LearnerSettings, MemoCard, Review, Topic
from tests.factories import (
    LearnerSettingsFactory,
    MemoCardFactory,
    ReviewFactory,
    TopicFactory,
    UserFactory,
)
from tests.memocards.outbox import forget, outbox, owners, progress_payload, truth
from tests.memocards.waiting import wait_until_somebody_waits

AGAIN, HARD, GOOD, EASY = Outcome
Start = Callable[..., Future[Any]]

pytestmark = pytest.mark.django_db(transaction=True)


def days_ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


def rate(learner: User, card: MemoCard, outcome: Any = GOOD, **more: Any) -> Rated:
    return rating.rate_card(
        learner_id=learner.pk, card_id=card.pk, outcome=outcome, **{"review_id": uuid.uuid4(), **more}
    )


def progress_of(learner: User, card: MemoCard) -> CardProgress:
    return CardProgress.objects.get(learner=learner, card=card)


@pytest.fixture
def card() -> MemoCard:
    return MemoCardFactory.create()


# One answer


@pytest.mark.parametrize(("outcome", "stage"), [(AGAIN, 0), (HARD, 0), (GOOD, 0), (EASY, 5)])
def test_a_first_answer_makes_progress_and_publishes_it_to_its_learner_alone(
    learner: User, card: MemoCard, outcome: Outcome, stage: int
) -> None:
    rated = rate(learner, card, outcome, duration_ms=1500)
    row = progress_of(learner, card)
    assert (row.last_outcome, row.review_stage, row.review_count, row.lapse_count) == (outcome, stage, 1, 0)
    assert (row.due_at is None) == (outcome is EASY)
    assert row.topic_id == card.topic_id
    key = ("card_progress", row.pk)
    assert outbox() == {key: truth()[key]}
    assert owners() == {key: learner.pk}
    review = Review.objects.get()
    assert (review.stage_before, review.due_before) == (None, None)
    assert (review.stage_after, review.due_after, review.duration_ms) == (stage, row.due_at, 1500)
    assert (rated.repeated, rated.review.clamped, rated.card_state) == (False, False, CardState.LIVE)


def test_due_good_climbs_and_again_falls_back(learner: User, card: MemoCard) -> None:
    for days, outcome, stage in ((40, GOOD, 0), (30, GOOD, 1), (20, EASY, 3), (1, AGAIN, 0)):
        assert rate(learner, card, outcome, reviewed_at=days_ago(days)).review.stage_after == stage
    row = progress_of(learner, card)
    assert (row.review_count, row.lapse_count) == (4, 1)


def test_an_early_answer_is_logged_but_moves_nothing(learner: User, card: MemoCard) -> None:
    rate(learner, card, reviewed_at=days_ago(10))
    before = rate(learner, card, reviewed_at=days_ago(8)).review
    early = rate(learner, card, EASY, reviewed_at=days_ago(7.9)).review
    assert (early.stage_after, early.due_after) == (before.stage_after, before.due_after)
    row = progress_of(learner, card)
    assert (row.review_count, row.last_outcome, row.last_reviewed_at) == (3, EASY, early.reviewed_at)


def test_an_unknown_card_is_not_found(learner: User) -> None:
    with pytest.raises(NotFound, match="card"):
        rating.rate_card(learner_id=learner.pk, card_id=2**62, review_id=uuid.uuid4(), outcome=GOOD)
    assert not Review.objects.exists()


def test_an_answer_and_what_it_publishes_come_and_go_together(learner: User, card: MemoCard) -> None:
    with transaction.atomic():
        rate(learner, card)
        assert outbox() != {}
        transaction.set_rollback(True)
    assert not Review.objects.exists()
    assert not CardProgress.objects.exists()
    assert outbox() == {}


# The same review_id again


def test_the_same_answer_again_is_stored_once(learner: User, card: MemoCard) -> None:
    body = {"review_id": uuid.uuid4(), "reviewed_at": days_ago(3), "duration_ms": 7}
    first = rate(learner, card, HARD, **body)
    rate(learner, card, AGAIN)
    before, reviews = progress_of(learner, card), list(Review.objects.values())
    forget()
    again = rate(learner, card, HARD, **body)
    assert again.repeated
    assert again.review == first.review
    assert (again.review.stage_after, again.review.due_after) == (first.review.stage_after, first.review.due_after)
    assert list(Review.objects.values()) == reviews
    assert progress_of(learner, card).updated_at == before.updated_at
    assert outbox() == {}


def test_client_now_is_no_part_of_the_body(learner: User, card: MemoCard) -> None:
    body = {"review_id": uuid.uuid4(), "reviewed_at": days_ago(3)}
    first = rate(learner, card, **body, client_now=timezone.now())
    again = rate(learner, card, **body, client_now=timezone.now() + timedelta(hours=5))
    assert again.repeated
    assert again.review.reviewed_at == first.review.reviewed_at


@pytest.mark.parametrize(
    "change",
    [{"outcome": EASY}, {"reviewed_at": days_ago(2)}, {"reviewed_at": None}, {"duration_ms": 8}],
    ids=["outcome", "another time", "no time", "duration"],
)
def test_another_answer_under_a_used_id_is_refused(learner: User, card: MemoCard, change: dict[str, Any]) -> None:
    body = {"review_id": uuid.uuid4(), "outcome": GOOD, "reviewed_at": days_ago(3), "duration_ms": 7}
    rate(learner, card, **body)
    with pytest.raises(ReviewIdReused):
        rate(learner, card, **(body | change))
    with pytest.raises(ReviewIdReused):
        rate(learner, MemoCardFactory.create(), **body)
    assert Review.objects.count() == 1


def test_another_learners_id_is_refused_without_a_word_about_it(learner: User, card: MemoCard) -> None:
    body = {"review_id": uuid.uuid4(), "reviewed_at": days_ago(3)}
    rate(learner, card, **body)
    other = UserFactory.create()
    with pytest.raises(ReviewIdReused) as mine:
        rate(other, card, **body)
    with pytest.raises(ReviewIdReused) as wrong:
        rate(other, MemoCardFactory.create(), EASY, review_id=body["review_id"])
    assert str(mine.value) == str(wrong.value)
    assert not CardProgress.objects.filter(learner=other).exists()


def test_an_undone_answer_sent_again_stays_undone(learner: User, card: MemoCard) -> None:
    key = uuid.uuid4()
    rate(learner, card, review_id=key)
    rating.undo_review(learner_id=learner.pk, card_id=card.pk)
    assert rate(learner, card, review_id=key).repeated
    assert Review.objects.get().undone_at is not None
    assert not CardProgress.objects.exists()


def test_the_stored_answer_is_returned_even_after_the_card_is_gone(learner: User, card: MemoCard) -> None:
    key = uuid.uuid4()
    rate(learner, card, review_id=key)
    cards.unapprove(keys=[card.pk], editor=SYSTEM)
    assert rate(learner, card, review_id=key).card_state is CardState.WAITING
    cards.delete(keys=[card.pk], editor=SYSTEM)
    assert rate(learner, card, review_id=key).card_state is CardState.DELETED


# Clocks


def test_a_wrong_clock_is_corrected_by_what_it_says_now(learner: User, card: MemoCard) -> None:
    wrong = timedelta(days=400, hours=3)
    at = days_ago(2)
    rated = rate(learner, card, reviewed_at=at + wrong, client_now=timezone.now() + wrong)
    assert abs(rated.review.reviewed_at - at) < timedelta(seconds=5)
    assert rated.review.claimed_at == at + wrong
    assert not rated.review.clamped


def test_a_claim_from_the_future_counts_as_now(learner: User, card: MemoCard) -> None:
    before = timezone.now()
    rated = rate(learner, card, reviewed_at=days_ago(-30), review_id=(key := uuid.uuid4()))
    assert before <= rated.review.reviewed_at <= timezone.now()
    assert rated.review.clamped
    review = Review.objects.get()
    assert rate(learner, card, reviewed_at=review.claimed_at, review_id=key).review.clamped


def test_a_claim_of_this_very_moment_is_not_called_clamped(learner: User, card: MemoCard) -> None:
    now = timezone.now()
    assert not rate(learner, card, reviewed_at=now, client_now=now).review.clamped


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("reviewed_at", {"reviewed_at": datetime(1970, 1, 1, tzinfo=UTC)}),
        ("reviewed_at", {"reviewed_at": datetime(9999, 12, 31, 23, tzinfo=UTC)}),
        ("client_now", {"reviewed_at": days_ago(1), "client_now": datetime(1970, 1, 1, tzinfo=UTC)}),
        ("reviewed_at", {"reviewed_at": datetime(2001, 1, 1, tzinfo=UTC), "client_now": days_ago(-9000)}),
    ],
    ids=["before 2000", "after 2999", "now before 2000", "before 2000 once corrected"],
)
def test_a_clock_that_cannot_be_is_refused_by_name(
    learner: User, card: MemoCard, name: str, claim: dict[str, datetime]
) -> None:
    with pytest.raises(Invalid) as refusal:
        rate(learner, card, **claim)
    assert set(refusal.value.fields) == {name}
    assert not Review.objects.exists()


# Late answers


def test_an_answer_given_offline_takes_its_place_among_the_others(learner: User, card: MemoCard) -> None:
    rate(learner, card, GOOD, reviewed_at=days_ago(20))
    rate(learner, card, GOOD, reviewed_at=days_ago(10))
    assert progress_of(learner, card).review_stage == 1
    rate(learner, card, AGAIN, reviewed_at=days_ago(15))
    row = progress_of(learner, card)
    assert (row.review_stage, row.lapse_count, row.review_count) == (1, 1, 3)
    rate(learner, card, GOOD, reviewed_at=days_ago(30))
    row = progress_of(learner, card)
    assert row.review_count == 4
    assert_is_the_fold(row)
    assert outbox() == {("card_progress", row.pk): truth()["card_progress", row.pk]}


def test_what_was_answered_is_never_rewritten(learner: User, card: MemoCard) -> None:
    rate(learner, card, GOOD, reviewed_at=days_ago(10))
    before: dict[str, Any] = dict(Review.objects.values().get())
    rate(learner, card, EASY, reviewed_at=days_ago(20))
    rating.undo_review(learner_id=learner.pk, card_id=card.pk)
    after: dict[str, Any] = dict(Review.objects.values().get(pk=before["id"]))
    assert after.pop("undone_at") is not None
    assert after == {name: value for name, value in before.items() if name != "undone_at"}


def test_an_answer_counts_by_the_settings_of_now(learner: User, card: MemoCard) -> None:
    """A change of scheduler is a fold of everything under the new one, at the next answer."""
    for days in (40, 30, 20):
        rate(learner, card, reviewed_at=days_ago(days))
    Topic.objects.update(scheduler="fsrs")
    rate(learner, card)
    row = progress_of(learner, card)
    assert row.fold_key.startswith("fsrs/")
    assert row.scheduler_state["stability"] > 3
    assert_is_the_fold(row)


# Cards that are gone


def test_a_deleted_card_is_gone(learner: User, card: MemoCard) -> None:
    cards.delete(keys=[card.pk], editor=SYSTEM)
    with pytest.raises(CardDeleted):
        rate(learner, card)
    assert not Review.objects.exists()


def test_a_card_that_was_never_approved_cannot_have_been_rated(learner: User) -> None:
    card = MemoCardFactory.create(needs_review=True)
    for moment in (None, days_ago(5)):
        with pytest.raises(WaitsForReview):
            rate(learner, card, reviewed_at=moment)


@pytest.mark.parametrize(
    ("take_back", "state", "refusal"),
    [
        (cards.delete, CardState.DELETED, CardDeleted),
        (cards.unapprove, CardState.WAITING, WaitsForReview),
    ],
)
def test_an_answer_given_before_the_card_was_taken_back_counts(
    learner: User,
    card: MemoCard,
    take_back: Callable[..., list[int]],
    state: CardState,
    refusal: type[Exception],
) -> None:
    take_back(keys=[card.pk], editor=SYSTEM)
    rated = rate(learner, card, reviewed_at=timezone.now() - timedelta(hours=1))
    assert rated.card_state is state
    row = progress_of(learner, card)
    assert outbox()["card_progress", row.pk] is not None
    with pytest.raises(refusal):
        rate(learner, card)
    assert progress_of(learner, card).review_count == 1


def test_a_card_approved_again_goes_on_where_it_stood(learner: User, card: MemoCard) -> None:
    rate(learner, card, reviewed_at=days_ago(10))
    cards.unapprove(keys=[card.pk], editor=SYSTEM)
    cards.approve(versions=versions_of(MemoCard, [card.pk]), editor=SYSTEM)
    assert rate(learner, card).review.stage_after == 1


# Undo


def test_undoing_the_only_answer_makes_the_card_unseen_again(learner: User, card: MemoCard) -> None:
    rate(learner, card)
    row = progress_of(learner, card)
    forget()
    undone = rating.undo_review(learner_id=learner.pk, card_id=card.pk)
    assert undone.undone_at is not None
    assert not CardProgress.objects.exists()
    assert outbox() == {("card_progress", row.pk): None}
    assert owners() == {("card_progress", row.pk): learner.pk}
    assert Review.objects.count() == 1


def test_a_card_rated_after_that_is_new_again(learner: User, card: MemoCard) -> None:
    rate(learner, card)
    rating.undo_review(learner_id=learner.pk, card_id=card.pk)
    assert rate(learner, card, EASY).review.stage_after == 5
    assert progress_of(learner, card).review_count == 1


def test_undo_takes_back_the_last_answer_and_then_the_one_before(learner: User, card: MemoCard) -> None:
    first = rate(learner, card, reviewed_at=days_ago(10)).review
    last = rate(learner, card, reviewed_at=days_ago(5)).review
    late = rate(learner, card, AGAIN, reviewed_at=days_ago(7)).review
    for review in (last, late, first):
        assert rating.undo_review(learner_id=learner.pk, card_id=card.pk) == review
    with pytest.raises(NotFound, match="review to undo"):
        rating.undo_review(learner_id=learner.pk, card_id=card.pk)


def test_an_answer_is_undone_by_its_id_and_undoing_it_twice_changes_nothing(learner: User, card: MemoCard) -> None:
    lapse = rate(learner, card, AGAIN, reviewed_at=days_ago(10)).review
    rate(learner, card, EASY, reviewed_at=days_ago(9.9))
    undone = rating.undo_review(learner_id=learner.pk, card_id=card.pk, review_id=lapse.pk)
    row = progress_of(learner, card)
    assert (row.review_count, row.due_at) == (1, None)
    forget()
    again = rating.undo_review(learner_id=learner.pk, card_id=card.pk, review_id=lapse.pk)
    assert again.undone_at == undone.undone_at
    assert outbox() == {}


def test_nobody_undoes_anothers_answer(learner: User, card: MemoCard) -> None:
    review = rate(learner, card).review
    for key in (None, review.pk):
        with pytest.raises(NotFound):
            rating.undo_review(learner_id=UserFactory.create().pk, card_id=card.pk, review_id=key)
    with pytest.raises(NotFound):
        rating.undo_review(learner_id=learner.pk, card_id=MemoCardFactory.create().pk, review_id=review.pk)
    assert progress_of(learner, card).review_count == 1


def test_an_answer_to_a_card_that_is_gone_can_still_be_undone(learner: User, card: MemoCard) -> None:
    rate(learner, card)
    cards.delete(keys=[card.pk], editor=SYSTEM)
    rating.undo_review(learner_id=learner.pk, card_id=card.pk)
    assert not CardProgress.objects.exists()


# Cost


@pytest.mark.parametrize("history", [1, 400])
def test_an_answer_costs_the_same_however_long_the_history(
    learner: User, card: MemoCard, history: int, django_assert_num_queries: Any
) -> None:
    LearnerSettingsFactory.create(learner=learner)
    Review.objects.bulk_create(
        ReviewFactory.build(learner=learner, card=card, reviewed_at=days_ago(10 + number)) for number in range(history)
    )
    rate(learner, card, reviewed_at=days_ago(9))
    with transaction.atomic(), django_assert_num_queries(8):
        rate(learner, card, reviewed_at=days_ago(8))
    with transaction.atomic(), django_assert_num_queries(9):
        rate(learner, card, reviewed_at=days_ago(9.5))
    with transaction.atomic(), django_assert_num_queries(9):
        rating.undo_review(learner_id=learner.pk, card_id=card.pk)


# Two at once


def test_of_two_devices_that_rate_at_once_the_second_comes_early(
    learner: User, card: MemoCard, in_thread: Start
) -> None:
    rate(learner, card, reviewed_at=days_ago(10))
    with transaction.atomic():
        assert rate(learner, card).review.stage_after == 1
        other = in_thread(rate, learner, card)
        wait_until_somebody_waits()
    assert other.result().review.stage_after == 1
    row = progress_of(learner, card)
    assert (row.review_stage, row.review_count) == (1, 3)
    assert outbox() == {("card_progress", row.pk): truth()["card_progress", row.pk]}


def test_the_first_ever_answers_of_a_learner_may_come_at_once(learner: User, card: MemoCard, in_thread: Start) -> None:
    other_card = MemoCardFactory.create()
    with transaction.atomic():
        rate(learner, card)
        other = in_thread(rate, learner, other_card)
        wait_until_somebody_waits()
    other.result()
    assert LearnerSettings.objects.count() == 1
    assert CardProgress.objects.count() == 2


def test_of_two_first_answers_to_a_card_at_once_neither_is_lost(
    learner: User, card: MemoCard, in_thread: Start
) -> None:
    """There is no progress row yet to wait for: only the learner's lock keeps the two apart."""
    LearnerSettingsFactory.create(learner=learner)
    with transaction.atomic():
        rate(learner, card)
        other = in_thread(rate, learner, card, AGAIN)
        wait_until_somebody_waits()
    other.result()
    row = progress_of(learner, card)
    assert (row.review_count, row.lapse_count) == (2, 1)
    assert_is_the_fold(row)


def test_the_same_answer_sent_twice_at_once_is_stored_once(learner: User, card: MemoCard, in_thread: Start) -> None:
    key = uuid.uuid4()
    with transaction.atomic():
        rate(learner, card, review_id=key)
        other = in_thread(rate, learner, card, review_id=key)
        wait_until_somebody_waits()
    assert other.result().repeated
    assert progress_of(learner, card).review_count == 1


def test_two_learners_who_use_one_id_at_once_do_not_both_get_it(
    learner: User, card: MemoCard, in_thread: Start
) -> None:
    key = uuid.uuid4()
    with transaction.atomic():
        rate(learner, card, review_id=key)
        other = in_thread(rate, UserFactory.create(), card, review_id=key)
        wait_until_somebody_waits()
    with pytest.raises(ReviewIdReused):
        other.result()
    assert Review.objects.get().learner == learner
    assert CardProgress.objects.get().learner == learner


def test_a_card_deleted_while_it_is_rated_is_gone_for_who_comes_second(
    learner: User, card: MemoCard, in_thread: Start
) -> None:
    with transaction.atomic():
        cards.delete(keys=[card.pk], editor=SYSTEM)
        rated = in_thread(rate, learner, card)
        wait_until_somebody_waits()
    with pytest.raises(CardDeleted):
        rated.result()


def test_a_card_rated_while_it_is_moved_ends_up_under_the_new_topic(
    learner: User, card: MemoCard, in_thread: Start
) -> None:
    rate(learner, card, reviewed_at=days_ago(10))
    topic = TopicFactory.create()
    with transaction.atomic():
        cards.update(key=card.pk, changes={"topic_id": topic.pk}, editor=SYSTEM)
        rated = in_thread(rate, learner, card)
        wait_until_somebody_waits()
    rated.result()
    row = progress_of(learner, card)
    assert (row.topic_id, row.review_count) == (topic.pk, 2)
    assert outbox()["card_progress", row.pk] == truth()["card_progress", row.pk]


def test_learners_do_not_wait_for_each_other(learner: User, card: MemoCard, in_thread: Start) -> None:
    other = UserFactory.create()
    with transaction.atomic():
        rate(learner, card)
        in_thread(rate, other, card).result(timeout=20)
    assert CardProgress.objects.count() == 2


# The oracle


def assert_is_the_fold(row: CardProgress) -> None:
    learner, topic = LearnerSettings.objects.get(learner=row.learner_id), row.card.topic
    scheduler = scheduler_for(
        topic.scheduler,
        Settings(
            clock=StudyClock(
                learner.time_zone or settings.STUDY_TIME_ZONE,
                settings.DAY_ROLLOVER_HOUR if learner.rollover_hour is None else learner.rollover_hour,
            ),
            ladder_days=settings.LADDER_DAYS,
            desired_retention=learner.desired_retention,
            exam_date=topic.exam_date,
        ),
    )
    reviews = Review.objects.filter(learner=row.learner_id, card=row.card_id, undone_at=None)
    folded = fold(
        [Answer(review.pk, Outcome(review.outcome), review.reviewed_at) for review in reviews],
        scheduler,
        card_id=row.card_id,
    )
    stored = Progress(
        last_outcome=Outcome(row.last_outcome),
        last_reviewed_at=row.last_reviewed_at,
        due_at=row.due_at,
        review_stage=row.review_stage,
        review_count=row.review_count,
        lapse_count=row.lapse_count,
        scheduler_state=row.scheduler_state,
    )
    assert stored == folded
    assert row.fold_key == scheduler.fold_key


RATE = st.tuples(st.just("rate"), st.sampled_from(Outcome), st.integers(0, 60 * 24 * 4))
UNDO = st.tuples(st.just("undo"), st.none() | st.integers(0, 20))
SET = st.tuples(
    st.just("set"),
    st.one_of(
        st.tuples(st.just("time_zone"), st.sampled_from(["", "Asia/Seoul", "America/New_York"])),
        st.tuples(st.just("rollover_hour"), st.sampled_from([None, 0, 12])),
        st.tuples(st.just("desired_retention"), st.sampled_from([0.8, 0.95])),
        st.tuples(st.just("scheduler"), st.sampled_from(["ladder", "fsrs"])),
        st.tuples(st.just("exam_date"), st.sampled_from([None, date(2026, 1, 1), date(2040, 1, 1)])),
    ),
)


@hypothesis.settings(derandomize=True, deadline=None, max_examples=50, database=None)
@given(history=st.lists(st.one_of(RATE, RATE, RATE, UNDO, SET), min_size=1, max_size=14))
def test_after_any_history_progress_is_the_fold_of_the_answers_and_is_published(history: list[Any]) -> None:
    forget()
    learner, card = UserFactory.create(), MemoCardFactory.create()
    LearnerSettingsFactory.create(learner=learner)
    review_ids: list[UUID] = []
    for step, *what in history:
        if step == "set":
            [(name, value)] = what
            if name in {"scheduler", "exam_date"}:
                Topic.objects.filter(pk=card.topic_id).update(**{name: value})
            else:
                LearnerSettings.objects.filter(learner=learner).update(**{name: value})
            continue
        if step == "rate":
            outcome, quarters_of_an_hour = what
            moment = timezone.now() - timedelta(minutes=15 * quarters_of_an_hour)
            review_ids.append(rate(learner, card, outcome, reviewed_at=moment).review.pk)
        else:
            [place] = what
            key = None if place is None or not review_ids else review_ids[place % len(review_ids)]
            counted = Review.objects.filter(learner=learner, undone_at=None)
            if not (counted if key is None else counted.filter(pk=key)).exists():
                continue  # nothing to undo, so nothing is folded anew
            rating.undo_review(learner_id=learner.pk, card_id=card.pk, review_id=key)
        check_oracle(learner, card)


def check_oracle(learner: User, card: MemoCard) -> None:
    """What is stored is the fold under the settings of now, and it alone is what the outbox shows of this learner."""
    rows = {row.pk: row for row in CardProgress.objects.filter(learner=learner, card=card)}
    assert bool(rows) == Review.objects.filter(learner=learner, card=card, undone_at=None).exists()
    for row in rows.values():
        assert_is_the_fold(row)
    shown = {key: payload for key, payload in outbox().items() if payload is not None}
    assert shown == {("card_progress", key): progress_payload(row) for key, row in rows.items()}
    assert set(owners().values()) == {learner.pk}
