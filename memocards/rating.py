"""Rating: a learner's answers, the progress that follows from them, and taking an answer back.

A progress row is always the fold of the reviews that are not undone. An answer in order takes one step from the stored
row, where it was made under the same settings; anything else folds again. The learner's settings row is locked
first, so two devices of one learner take turns.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from memocards.errors import CardDeleted, Invalid, NotFound, ReviewIdReused, WaitsForReview
from memocards.models import CardProgress, LearnerSettings, MemoCard, Review, Topic
from memocards.scheduling import (
    Answer,
    Outcome,
    Progress,
    Scheduler,
    Settings,
    StudyClock,
    fold,
    scheduler_for,
)
from memocards.writing import share_rows
from publish.services import enqueue_card_progress_publish, enqueue_tombstone_publish
from publish.transactions import in_transaction

# Before this nobody can have reviewed a card: a clock that says so is broken.
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


class CardState(StrEnum):
    """What became of the card that was rated."""

    LIVE = "live"
    WAITING = "waiting"
    DELETED = "deleted"


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

    `reviewed_at`: when the learner answered, by the clock that said `client_now` when this was sent; None: now. The
    same `review_id` with the same body again returns the stored answer and changes nothing.

    Raises NotFound, Invalid, ReviewIdReused; CardDeleted and WaitsForReview unless the answer was given before.
    """
    learner = lock_learner(learner_id)
    stored = Review.objects.select_related("card").filter(pk=review_id).first()
    if stored is not None:
        return _repeated(stored, (learner_id, card_id, str(outcome), reviewed_at, duration_ms))
    now = timezone.now()
    moment = _corrected(reviewed_at, client_now, now)
    card = _shared_card(card_id)
    card_state = _state_at(card, moment)
    progress = _locked_progress(learner_id, card_id)
    scheduler = scheduler_of(card.topic, learner)
    answer = Answer(id=review_id, outcome=outcome, reviewed_at=moment)
    if progress is None:
        before, in_order = None, True
    else:
        before = as_progress(progress)
        in_order = progress.fold_key == scheduler.fold_key and moment > progress.last_reviewed_at
    after = (
        scheduler.step(before, answer, card_id=card_id)
        if in_order
        else fold([*_answers(learner_id, card_id), answer], scheduler, card_id=card_id)
    )
    assert after is not None  # noqa: S101  (there is one answer at the least)
    review = Review.objects.create(
        id=review_id,
        learner_id=learner_id,
        card=card,
        outcome=outcome,
        reviewed_at=moment,
        claimed_at=reviewed_at,
        duration_ms=duration_ms,
        received_at=now,
        stage_before=None if before is None else before.review_stage,
        due_before=None if before is None else before.due_at,
        stage_after=after.review_stage,
        due_after=after.due_at,
    )
    _store(progress, after, learner_id=learner_id, card=card, fold_key=scheduler.fold_key)
    return Rated(review=review, repeated=False, card_state=card_state)


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
        raise NotFound("review to undo of card", card_id)
    if review.undone_at is None:
        card = _shared_card(card_id)
        progress = _locked_progress(learner_id, card_id)
        review.undone_at = timezone.now()
        review.save(update_fields=["undone_at"])
        scheduler = scheduler_of(card.topic, learner)
        after = fold(_answers(learner_id, card_id), scheduler, card_id=card_id)
        if after is not None:
            _store(progress, after, learner_id=learner_id, card=card, fold_key=scheduler.fold_key)
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


def _shared_card(card_id: int) -> MemoCard:
    for card in share_rows(MemoCard, [card_id]):
        return card
    raise NotFound("card", card_id)


def _locked_progress(learner_id: int, card_id: int) -> CardProgress | None:
    rows = CardProgress.objects.select_for_update(no_key=True).order_by("pk")
    return rows.filter(learner_id=learner_id, card_id=card_id).first()


def _answers(learner_id: int, card_id: int) -> list[Answer]:
    rows = Review.objects.filter(learner_id=learner_id, card_id=card_id, undone_at__isnull=True)
    return [
        Answer(id=key, outcome=Outcome(outcome), reviewed_at=at)
        for key, outcome, at in rows.order_by("reviewed_at", "id").values_list("id", "outcome", "reviewed_at")
    ]


def _store(row: CardProgress | None, after: Progress, *, learner_id: int, card: MemoCard, fold_key: str) -> None:
    values = {
        "topic_id": card.topic_id,
        "last_outcome": after.last_outcome,
        "last_reviewed_at": after.last_reviewed_at,
        "due_at": after.due_at,
        "review_stage": after.review_stage,
        "review_count": after.review_count,
        "lapse_count": after.lapse_count,
        "scheduler_state": dict(after.scheduler_state),
        "fold_key": fold_key,
    }
    if row is None:
        row = CardProgress.objects.create(learner_id=learner_id, card_id=card.pk, **values)
    else:
        for name, value in values.items():
            setattr(row, name, value)
        row.save(update_fields=[*values, "updated_at"])
    enqueue_card_progress_publish(row)


def _corrected(claimed: datetime | None, client_now: datetime | None, now: datetime) -> datetime:
    """When the answer was given by the hub's clock, at the latest now."""
    if claimed is None:
        return now
    for name, moment in (("reviewed_at", claimed), ("client_now", client_now)):
        if moment is not None and moment < _EARLIEST:
            raise Invalid({name: ["This is before the year 2000. Set the clock of the device."]})
    moment = claimed if client_now is None else claimed + (now - client_now)
    if moment < _EARLIEST:
        raise Invalid({"reviewed_at": ["By client_now this is before the year 2000. Set the clock of the device."]})
    return min(moment, now)


def _state_at(card: MemoCard, moment: datetime) -> CardState:
    """What became of the card. Raises CardDeleted or WaitsForReview, unless it could be rated at that moment."""
    if card.deleted_at is not None:
        if moment >= card.deleted_at:
            raise CardDeleted(card.deleted_at)
        return CardState.DELETED
    if card.needs_review:
        if card.unapproved_at is None or moment >= card.unapproved_at:
            raise WaitsForReview
        return CardState.WAITING
    return CardState.LIVE


def _present_state(card: MemoCard) -> CardState:
    if card.deleted_at is not None:
        return CardState.DELETED
    return CardState.WAITING if card.needs_review else CardState.LIVE


def _repeated(stored: Review, body: tuple[object, ...]) -> Rated:
    """The stored answer again, if the body is the same. Another's is refused in words that show nothing of it."""
    if body != (stored.learner_id, stored.card_id, stored.outcome, stored.claimed_at, stored.duration_ms):
        raise ReviewIdReused
    return Rated(review=stored, repeated=True, card_state=_present_state(stored.card))
