"""Rating: a learner's answers, the progress that follows from them, and taking an answer back.

A progress row is always the fold of the reviews that are not undone. An answer in order takes one step from the stored
row, where it was made under the same settings; anything else folds again. The learner's settings row is locked
first, so two devices of one learner take turns. One answer is a batch of one: the rules are written once.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from kit.scheduling import (
    Answer,
    Outcome,
    Progress,
    Scheduler,
    fold,
)
from kit.transactions import in_transaction
from memocards.errors import CardDeleted, DomainError, Invalid, NotFound, ReviewIdReused, WaitsForReview
from memocards.learning import client_clock
from memocards.learning.client_clock import Moment
from memocards.learning.learners import lock_learner
from memocards.learning.progress import (
    answers_by_card,
    as_progress,
    fill_row,
    lock_progress,
    scheduler_of,
    write_progress,
)
from memocards.models import CardProgress, LearnerSettings, MemoCard, Review, Topic
from memocards.writing import share_rows
from publish.services import enqueue_card_progress_publish, enqueue_tombstone_publish


class CardState(StrEnum):
    """What became of the card that was rated."""

    LIVE = "live"
    WAITING = "waiting"
    DELETED = "deleted"


@dataclass(frozen=True)
class SentAnswer:
    """An answer as the client sent it. `reviewed_at`: when the learner gave it, by the client's clock; None: now."""

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


Result: TypeAlias = Rated | DomainError


@dataclass(frozen=True)
class _Accepted:
    sent: SentAnswer
    moment: Moment
    card_state: CardState

    @property
    def answer(self) -> Answer:
        return Answer(id=self.sent.review_id, outcome=self.sent.outcome, reviewed_at=self.moment.at)


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
    sent = SentAnswer(card_id, review_id, outcome, reviewed_at, duration_ms)
    [result] = rate_cards(learner_id=learner_id, answers=[sent], client_now=client_now)
    if isinstance(result, DomainError):
        raise result
    return result


@in_transaction
def rate_cards(*, learner_id: int, answers: Sequence[SentAnswer], client_now: datetime | None = None) -> list[Result]:
    """Store answers by the rules of rate_card(), in a constant number of statements.

    Returns, in their order, for each the stored review, or the error for which it was refused, which stops none of the
    others. Those of one card count in the order in which they were given; those that come late to it have come
    together, and are stored with one before and after.

    Raises Invalid for `client_now`, and ReviewIdReused where someone else used an id at this very moment.
    """
    learner = lock_learner(learner_id)
    now = timezone.now()
    first: dict[UUID, SentAnswer] = {}
    for sent in answers:
        first.setdefault(sent.review_id, sent)
    near = client_clock.neighbours(_claims(first.values()), client_now, now)
    # In one statement with those that are sent again, since every answer pays for it.
    rows = Review.objects.filter(Q(pk__in=list(first)) | Q(near.out_of_step, learner_id=learner_id))
    stored = {row.pk: row for row in rows.select_related("card")}
    new = [sent for key, sent in first.items() if key not in stored]
    results: dict[UUID, Result] = {}
    if new:
        own = [row for row in stored.values() if row.learner_id == learner_id]
        if any(map(near.is_out_of_step, own)):
            own = list(Review.objects.filter(near.all, learner_id=learner_id).only("reviewed_at", "claimed_at"))
        moments = client_clock.moments(_claims(new), client_now, now, own)
        results = _store_answers(learner, new, moments, now)
    return [
        _repeated(stored[sent.review_id], learner_id, sent)
        if sent.review_id in stored
        else _result_within(results[sent.review_id], first[sent.review_id], sent)
        for sent in answers
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
        progress = lock_progress(learner_id, [card_id]).get(card_id)
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


def _shared_card(card_id: int) -> MemoCard:
    for card in share_rows(MemoCard, [card_id]):
        return card
    raise NotFound(_("card"), card_id)


def _claims(answers: Iterable[SentAnswer]) -> client_clock.Claims:
    return {sent.review_id: sent.reviewed_at for sent in answers}


def _store_answers(
    learner: LearnerSettings, new: Sequence[SentAnswer], moments: Mapping[UUID, Moment | Invalid], now: datetime
) -> dict[UUID, Result]:
    """Judge answers under ids that are not in use, and store those that may be. The result of each, by its id."""
    cards = {card.pk: card for card in share_rows(MemoCard, {sent.card_id for sent in new})}
    results: dict[UUID, Result] = {}
    accepted: list[_Accepted] = []
    for sent in new:
        try:
            accepted.append(_accept(sent, moments[sent.review_id], cards))
        except DomainError as refusal:
            results[sent.review_id] = refusal
    if accepted:
        reviews = _write_answers(learner, accepted, cards, now)
        for item in accepted:
            review = reviews[item.sent.review_id]
            results[review.pk] = Rated(review=review, repeated=False, card_state=item.card_state)
    return results


def _accept(sent: SentAnswer, moment: Moment | Invalid, cards: Mapping[int, MemoCard]) -> _Accepted:
    if isinstance(moment, Invalid):
        raise moment
    if sent.card_id not in cards:
        raise NotFound(_("card"), sent.card_id)
    return _Accepted(sent, moment, _state_at(cards[sent.card_id], moment.at))


def _write_answers(
    learner: LearnerSettings, accepted: Sequence[_Accepted], cards: Mapping[int, MemoCard], now: datetime
) -> dict[UUID, Review]:
    """Write reviews and progress, and enqueue the progress. Unsafe alone: learner and cards are locked."""
    by_card: dict[int, list[_Accepted]] = {}
    for item in sorted(accepted, key=lambda item: (item.moment.at, item.sent.review_id)):
        by_card.setdefault(item.sent.card_id, []).append(item)
    topics = Topic.objects.in_bulk({cards[card_id].topic_id for card_id in by_card})
    schedulers = {key: scheduler_of(topic, learner) for key, topic in topics.items()}
    rows = lock_progress(learner.learner_id, by_card)
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
            reviews[item.sent.review_id] = _review(learner.learner_id, item, step, now)
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
    card_id = items[0].sent.card_id
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
    sent, moment = item.sent, item.moment
    return Review(
        id=sent.review_id,
        learner_id=learner_id,
        card_id=sent.card_id,
        outcome=sent.outcome,
        reviewed_at=moment.at,
        claimed_at=sent.reviewed_at,
        duration_ms=sent.duration_ms,
        clamped=moment.clamped,
        received_at=now,
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


def _repeated(stored: Review, learner_id: int, sent: SentAnswer) -> Result:
    """The stored answer again, if the body is the same. Another's is refused in words that show nothing of it."""
    body = (learner_id, sent.card_id, str(sent.outcome), sent.reviewed_at, sent.duration_ms)
    if body != (stored.learner_id, stored.card_id, stored.outcome, stored.claimed_at, stored.duration_ms):
        return ReviewIdReused()
    return Rated(review=stored, repeated=True, card_state=_present_state(stored.card))


def _result_within(result: Result, first: SentAnswer, sent: SentAnswer) -> Result:
    """The result of an answer whose id `first` bears, maybe for the second time in one request."""
    if sent is first:
        return result
    if sent != first:
        return ReviewIdReused()
    return replace(result, repeated=True) if isinstance(result, Rated) else result
