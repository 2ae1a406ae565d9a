"""Rating: a learner's answers, the progress that follows from them, and taking an answer back.

A progress row is always the fold of the reviews that are not undone. An answer in order takes one step from the stored
row, where it was made under the same settings; anything else folds again. The learner's settings row is locked
first, so two devices of one learner take turns. One answer is a batch of one: the rules are written once.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Final, TypeAlias
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from kit.scheduling import (
    Answer,
    Outcome,
    Progress,
    Scheduler,
    Settings,
    StudyClock,
    fold,
    scheduler_for,
)
from kit.transactions import in_transaction
from memocards.errors import CardDeleted, DomainError, Invalid, NotFound, ReviewIdReused, WaitsForReview
from memocards.learning import client_clock
from memocards.learning.client_clock import TICK, Moment
from memocards.models import CardProgress, LearnerSettings, MemoCard, Review, Topic
from memocards.writing import share_rows
from publish.services import enqueue_card_progress_publish, enqueue_tombstone_publish

_FOLDED: Final = (
    "last_outcome",
    "last_reviewed_at",
    "due_at",
    "review_stage",
    "review_count",
    "lapse_count",
    "scheduler_state",
)


class CardState(StrEnum):
    """What became of the card that was rated."""

    LIVE = "live"
    WAITING = "waiting"
    DELETED = "deleted"


@dataclass(frozen=True)
class Given:
    """An answer as the client sent it. `reviewed_at`: when it was given, by the client's clock; None: now."""

    card_id: int
    review_id: UUID
    outcome: Outcome
    reviewed_at: datetime | None = None
    duration_ms: int | None = None


@dataclass(frozen=True)
class Rated:
    """A stored review. `repeated`: it had been stored before."""

    review: Review
    repeated: bool
    card_state: CardState

    @property
    def clamped(self) -> bool:
        """Whether the time that was claimed lay in the future, so that the time of receipt stands for it."""
        return self.review.claimed_at is not None and self.review.reviewed_at == self.review.received_at


Result: TypeAlias = Rated | DomainError


@dataclass(frozen=True)
class _Accepted:
    given: Given
    moment: Moment
    card_state: CardState

    @property
    def answer(self) -> Answer:
        return Answer(id=self.given.review_id, outcome=self.given.outcome, reviewed_at=self.moment.at)


@dataclass(frozen=True)
class _Step:
    before: Progress | None
    after: Progress


@in_transaction
def rate_card(
    *,
    learner_id: int,
    card_id: int,
    review_id: UUID,
    outcome: Outcome,
    reviewed_at: datetime | None = None,
    client_now: datetime | None = None,
    duration_ms: int | None = None,
) -> Rated:
    """Store one answer, and publish the progress that follows from it.

    `reviewed_at`: when the learner answered, by the clock that said `client_now` when this was sent; None: now.
    client_clock.py says what becomes of it. The same `review_id` with the same body again returns the stored answer and
    changes nothing.

    Raises NotFound, Invalid, ReviewIdReused; CardDeleted and WaitsForReview unless the answer was given before.
    """
    given = Given(card_id, review_id, outcome, reviewed_at, duration_ms)
    [result] = rate_cards(learner_id=learner_id, answers=[given], client_now=client_now)
    if isinstance(result, DomainError):
        raise result
    return result


@in_transaction
def rate_cards(*, learner_id: int, answers: Sequence[Given], client_now: datetime | None = None) -> list[Result]:
    """Store answers by the rules of rate_card(), in a constant number of statements.

    Returns, in their order, for each the stored review, or the error for which it was refused, which stops none of the
    others. Those of one card count in the order in which they were given; those that come late to it have come
    together, and are stored with one before and after.

    Raises Invalid for `client_now`, and ReviewIdReused where someone else used an id at this very moment.
    """
    learner = lock_learner(learner_id)
    now = timezone.now()
    first: dict[UUID, Given] = {}
    for given in answers:
        first.setdefault(given.review_id, given)
    near = client_clock.neighbours(_claims(first.values()), client_now, now)
    # In one statement with those that are sent again, since every answer pays for it.
    rows = Review.objects.filter(Q(pk__in=list(first)) | Q(near.out_of_step, learner_id=learner_id))
    stored = {row.pk: row for row in rows.select_related("card")}
    new = [given for key, given in first.items() if key not in stored]
    results: dict[UUID, Result] = {}
    if new:
        own = [row for row in stored.values() if row.learner_id == learner_id]
        if any(map(near.is_out_of_step, own)):
            own = list(Review.objects.filter(near.all, learner_id=learner_id).only("reviewed_at", "claimed_at"))
        moments = client_clock.moments(_claims(new), client_now, now, own)
        results = _store_answers(learner, new, moments, now)
    return [
        _repeated(stored[given.review_id], learner_id, given)
        if given.review_id in stored
        else _result_within(results[given.review_id], first[given.review_id], given)
        for given in answers
    ]


@in_transaction
def undo_review(*, learner_id: int, card_id: int, review_id: UUID | None = None) -> Review:
    """Take an answer back: that of `review_id`, or the learner's last to this card. Returns it, marked.

    Undoing it twice is no error. With the only answer the progress row goes too, and its tombstone is published: the
    card is unseen again. Raises NotFound.
    """
    learner = lock_learner(learner_id)
    answers = Review.objects.filter(learner_id=learner_id, card_id=card_id).order_by("-reviewed_at", "-id")
    if review_id is None:
        review = answers.filter(undone_at__isnull=True).first()
    else:
        review = answers.filter(pk=review_id).first()
    if review is None:
        raise NotFound(_("review to undo of card"), card_id)
    if review.undone_at is None:
        card = _shared_card(card_id)
        progress = _locked_progress(learner_id, [card_id]).get(card_id)
        review.undone_at = timezone.now()
        review.save(update_fields=["undone_at"])
        scheduler = scheduler_of(card.topic, learner)
        left = dict(answers_by_card(learner_id, [card_id])).get(card_id, [])
        after = fold(left, scheduler, card_id=card_id)
        if after is not None:
            row = progress or CardProgress(learner_id=learner_id, card_id=card_id)
            write_progress([fill_row(row, after, topic_id=card.topic_id, fold_key=scheduler.fold_key)])
            enqueue_card_progress_publish(row)
        elif progress is not None:
            enqueue_tombstone_publish("card_progress", [progress.pk])
            progress.delete()
    return review


def lock_learner(learner_id: int) -> LearnerSettings:
    """The learner's settings, locked until the transaction ends; made on first use."""
    locked = LearnerSettings.objects.select_for_update(no_key=True).order_by("pk")
    learner = locked.filter(learner_id=learner_id).first()
    if learner is None:
        LearnerSettings.objects.bulk_create([LearnerSettings(learner_id=learner_id)], ignore_conflicts=True)
        learner = locked.get(learner_id=learner_id)
    return learner


def study_clock(learner: LearnerSettings) -> StudyClock:
    """The learner's study days; the hub's settings stand in for what the learner has not set."""
    hour = learner.rollover_hour
    return StudyClock(
        time_zone=learner.time_zone or settings.STUDY_TIME_ZONE,
        rollover_hour=settings.DAY_ROLLOVER_HOUR if hour is None else hour,
    )


def scheduler_of(topic: Topic, learner: LearnerSettings) -> Scheduler:
    """The topic's scheduler under this learner's settings."""
    return scheduler_for(
        topic.scheduler,
        Settings(
            clock=study_clock(learner),
            ladder_days=settings.LADDER_DAYS,
            desired_retention=learner.desired_retention,
            exam_date=topic.exam_date,
        ),
    )


def as_progress(row: CardProgress) -> Progress:
    """A stored progress row as the schedulers read it."""
    return Progress(
        last_outcome=Outcome(row.last_outcome),
        last_reviewed_at=row.last_reviewed_at,
        due_at=row.due_at,
        review_stage=row.review_stage,
        review_count=row.review_count,
        lapse_count=row.lapse_count,
        scheduler_state=row.scheduler_state,
    )


def fill_row(row: CardProgress, after: Progress, *, topic_id: int, fold_key: str) -> CardProgress:
    """The row, now saying `after`. It is not written yet."""
    for name in _FOLDED:
        setattr(row, name, getattr(after, name))
    row.scheduler_state = dict(after.scheduler_state)
    row.topic_id = topic_id
    row.fold_key = fold_key
    return row


def write_progress(rows: Sequence[CardProgress]) -> None:
    """Insert those of these rows that are new, and update the others: one statement for each sort.

    Unsafe alone: the caller has locked the learner and the rows, and enqueues what it touched.
    """
    CardProgress.objects.bulk_create(
        rows,
        # An upsert for updates too: bulk_update writes a CASE for every value, and takes ten times as long.
        update_conflicts=True,
        unique_fields=["learner", "card"],
        update_fields=["topic", *_FOLDED, "fold_key", "updated_at"],
    )


def answers_by_card(learner_id: int, card_ids: Collection[int]) -> Iterator[tuple[int, list[Answer]]]:
    """The learner's answers that are not undone, oldest first, card by card in order of id; one card's are in memory at
    a time. Cards without answers are left out."""
    rows = Review.objects.filter(learner_id=learner_id, card_id__in=card_ids, undone_at__isnull=True)
    answers = rows.order_by("card_id", "reviewed_at", "id").values_list("card_id", "id", "outcome", "reviewed_at")
    for card_id, group in groupby(answers.iterator(), key=lambda row: row[0]):
        yield card_id, [Answer(id=key, outcome=Outcome(outcome), reviewed_at=at) for _card, key, outcome, at in group]


def _shared_card(card_id: int) -> MemoCard:
    for card in share_rows(MemoCard, [card_id]):
        return card
    raise NotFound(_("card"), card_id)


def _locked_progress(learner_id: int, card_ids: Collection[int]) -> dict[int, CardProgress]:
    """Card → the learner's progress with it, locked until the transaction ends."""
    rows = CardProgress.objects.select_for_update(no_key=True).order_by("pk")
    return {row.card_id: row for row in rows.filter(learner_id=learner_id, card_id__in=card_ids)}


def _claims(answers: Iterable[Given]) -> client_clock.Claims:
    return {given.review_id: given.reviewed_at for given in answers}


def _store_answers(
    learner: LearnerSettings, new: Sequence[Given], moments: Mapping[UUID, Moment | Invalid], now: datetime
) -> dict[UUID, Result]:
    """Judge answers under ids that are not in use, and store those that may be. The result of each, by its id."""
    cards = {card.pk: card for card in share_rows(MemoCard, {given.card_id for given in new})}
    results: dict[UUID, Result] = {}
    accepted: list[_Accepted] = []
    for given in new:
        try:
            accepted.append(_accept(given, moments[given.review_id], cards))
        except DomainError as refusal:
            results[given.review_id] = refusal
    if accepted:
        reviews = _write_answers(learner, accepted, cards, now)
        for item in accepted:
            review = reviews[item.given.review_id]
            results[review.pk] = Rated(review=review, repeated=False, card_state=item.card_state)
    return results


def _accept(given: Given, moment: Moment | Invalid, cards: Mapping[int, MemoCard]) -> _Accepted:
    if isinstance(moment, Invalid):
        raise moment
    if given.card_id not in cards:
        raise NotFound(_("card"), given.card_id)
    return _Accepted(given, moment, _state_at(cards[given.card_id], moment.at))


def _write_answers(
    learner: LearnerSettings, accepted: Sequence[_Accepted], cards: Mapping[int, MemoCard], now: datetime
) -> dict[UUID, Review]:
    """Write reviews and progress, and enqueue the progress. Unsafe alone: learner and cards are locked."""
    by_card: dict[int, list[_Accepted]] = {}
    for item in sorted(accepted, key=lambda item: (item.moment.at, item.given.review_id)):
        by_card.setdefault(item.given.card_id, []).append(item)
    topics = Topic.objects.in_bulk({cards[card_id].topic_id for card_id in by_card})
    schedulers = {key: scheduler_of(topic, learner) for key, topic in topics.items()}
    rows = _locked_progress(learner.learner_id, by_card)
    late = {
        card_id: _count_late(rows.get(card_id), items, schedulers[cards[card_id].topic_id])
        for card_id, items in by_card.items()
    }
    to_fold = [card_id for card_id, count in late.items() if count]
    earlier = dict(answers_by_card(learner.learner_id, to_fold)) if to_fold else {}
    reviews: dict[UUID, Review] = {}
    changed: list[CardProgress] = []
    for card_id, items in by_card.items():
        scheduler = schedulers[cards[card_id].topic_id]
        row = rows.get(card_id)
        steps = _steps(row, items, scheduler, late=late[card_id], earlier=earlier.get(card_id, []))
        for item, step in zip(items, steps, strict=True):
            reviews[item.given.review_id] = _review(learner.learner_id, item, step, now)
        row = row or CardProgress(learner_id=learner.learner_id, card_id=card_id)
        changed.append(
            fill_row(row, steps[-1].after, topic_id=cards[card_id].topic_id, fold_key=scheduler.fold_key),
        )
    _insert_reviews(reviews.values())
    write_progress(changed)
    enqueue_card_progress_publish(*changed)
    return reviews


def _count_late(row: CardProgress | None, items: Sequence[_Accepted], scheduler: Scheduler) -> int:
    """How many of a card's answers, oldest first, must be folded with those before them: no step leads there."""
    if row is None:
        return 0
    late = sum(item.moment.at <= row.last_reviewed_at for item in items)
    return late if row.fold_key == scheduler.fold_key else max(late, 1)


def _steps(
    row: CardProgress | None,
    items: Sequence[_Accepted],
    scheduler: Scheduler,
    *,
    late: int,
    earlier: Sequence[Answer],
) -> list[_Step]:
    """What each of a card's answers, oldest first, finds and leaves; the first `late` ones by one fold."""
    card_id = items[0].given.card_id
    progress = None if row is None else as_progress(row)
    steps: list[_Step] = []
    if late:
        folded = fold([*earlier, *(item.answer for item in items[:late])], scheduler, card_id=card_id)
        assert folded is not None  # noqa: S101  (there is one answer at the least)
        steps = [_Step(progress, folded)] * late
        progress = folded
    for item in items[late:]:
        step = _Step(progress, scheduler.step(progress, item.answer, card_id=card_id))
        steps.append(step)
        progress = step.after
    return steps


def _review(learner_id: int, item: _Accepted, step: _Step, now: datetime) -> Review:
    given, moment = item.given, item.moment
    received_at = now
    if moment.clamped:
        # By this Rated.clamped knows it again, so no other claim may be the same.
        received_at = moment.at
    elif given.reviewed_at is not None:
        received_at = max(now, moment.at + TICK)
    return Review(
        id=given.review_id,
        learner_id=learner_id,
        card_id=given.card_id,
        outcome=given.outcome,
        reviewed_at=moment.at,
        claimed_at=given.reviewed_at,
        duration_ms=given.duration_ms,
        received_at=received_at,
        stage_before=None if step.before is None else step.before.review_stage,
        due_before=None if step.before is None else step.before.due_at,
        stage_after=step.after.review_stage,
        due_after=step.after.due_at,
    )


def _insert_reviews(reviews: Collection[Review]) -> None:
    try:
        Review.objects.bulk_create(reviews)
    except IntegrityError as error:
        # 23505 unique_violation: another learner used the id since we looked. The next try is told which one.
        if getattr(error.__cause__, "sqlstate", None) == "23505":
            raise ReviewIdReused from error
        raise


def _state_at(card: MemoCard, moment: datetime) -> CardState:
    """What became of the card. Raises CardDeleted or WaitsForReview, unless it could be rated at that moment."""
    if card.deleted_at is not None and moment >= card.deleted_at:
        raise CardDeleted(card.deleted_at)
    if card.needs_review and (card.unapproved_at is None or moment >= card.unapproved_at):
        raise WaitsForReview
    return _present_state(card)


def _present_state(card: MemoCard) -> CardState:
    if card.deleted_at is not None:
        return CardState.DELETED
    return CardState.WAITING if card.needs_review else CardState.LIVE


def _repeated(stored: Review, learner_id: int, given: Given) -> Result:
    """The stored answer again, if the body is the same. Another's is refused in words that show nothing of it."""
    body = (learner_id, given.card_id, str(given.outcome), given.reviewed_at, given.duration_ms)
    if body != (stored.learner_id, stored.card_id, stored.outcome, stored.claimed_at, stored.duration_ms):
        return ReviewIdReused()
    return Rated(review=stored, repeated=True, card_state=_present_state(stored.card))


def _result_within(result: Result, first: Given, given: Given) -> Result:
    """The result of an answer whose id `first` bears, maybe for the second time in one request."""
    if given is first:
        return result
    if given != first:
        return ReviewIdReused()
    return replace(result, repeated=True) if isinstance(result, Rated) else result
