"""What a learner may study: today's queue, the cards never seen, and one card with what each answer would do.

Every query starts from an index: its cost depends on the learner's own rows and on the cards, and not on how many other
learners there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from django.db.models import Case, Count, Exists, F, OuterRef, Q, QuerySet, Value, When, Window
from django.db.models.functions import RowNumber
from django.utils.translation import gettext as _

from kit.scheduling import Outcome, Scheduler, fold
from memocards.errors import CardDeleted, NotFound, WaitsForReview
from memocards.learning.learners import study_clock
from memocards.learning.progress import answers_by_card, as_progress, scheduler_of
from memocards.models import CardProgress, LearnerSettings, MemoCard, OutcomeName, Review
from memocards.published import CARD


class StudyState(StrEnum):
    """Where a learner stands with a card: never seen, due after a lapse, due, due later, or a sentinel."""

    NEW = "new"
    LAPSED = "lapsed"
    DUE = "due"
    LATER = "later"
    KNOWN = "known"


@dataclass(frozen=True)
class StudyCard:
    """A card and where the learner stands with it. `progress` is None for a new card."""

    card: MemoCard
    progress: CardProgress | None
    state: StudyState


@dataclass(frozen=True)
class Queue:
    """`cards`, in the order in which to study them. `new_left`: how many new cards may still be begun on `day`."""

    day: date
    cards: list[StudyCard]
    new_left: int


@dataclass(frozen=True)
class Next:
    """When a card is due after an answer given now, and in how many study days; None: it is a sentinel then."""

    due_at: datetime | None
    days: int | None


@dataclass(frozen=True)
class StudyCardDetail:
    """One card, and what each outcome would lead to."""

    shown: StudyCard
    next: Mapping[Outcome, Next]


def todays_queue(learner: LearnerSettings, *, now: datetime, limit: int) -> Queue:
    """At most `limit` cards to study now: lapsed ones, then those due, then new ones up to what is left of the day.

    Of the cards of one question at most one is in it, and none if another of them was answered on this study day: they
    would give each other away. Those due come in the order in which they fell due; new ones in that of their topics.
    """
    clock = study_clock(learner)
    day = clock.study_day(now)
    start, end = clock.start_of(day), clock.start_of(day + timedelta(days=1))
    answered = _answered_siblings(learner.learner_id, start, end)
    cards = _due(learner.learner_id, answered, now, limit)
    new_left = max(0, learner.new_per_day - new_cards_between(learner.learner_id, start, end))
    room = min(new_left, limit - len(cards))
    if room:
        new = _new(learner.learner_id, answered, now).order_by("topic__position", "topic_id", "pk")[:room]
        cards += [StudyCard(card, None, StudyState.NEW) for card in new]
    return Queue(day=day, cards=cards, new_left=new_left)


def unseen_cards(learner_id: int, *, after_id: int, limit: int, topic_id: int | None = None) -> list[MemoCard]:
    """Live cards that the learner never answered, in order of id, above `after_id`."""
    cards = _unseen(learner_id).filter(pk__gt=after_id)
    if topic_id is not None:
        cards = cards.filter(topic_id=topic_id)
    return list(cards.order_by("pk")[:limit])


def study_card(learner: LearnerSettings, card_id: int, *, now: datetime) -> StudyCardDetail:
    """One card. Raises NotFound, CardDeleted, WaitsForReview, as rating it would."""
    card = MemoCard.objects.select_related("topic").filter(pk=card_id).first()
    if card is None:
        raise NotFound(_("card"), card_id)
    if card.deleted_at is not None:
        raise CardDeleted(card.deleted_at)
    if card.needs_review:
        raise WaitsForReview
    row = CardProgress.objects.filter(learner_id=learner.learner_id, card_id=card_id).first()
    return StudyCardDetail(
        shown=StudyCard(card, row, study_state(row, now)),
        next=_next(row, scheduler_of(card.topic, learner), card_id, now),
    )


def study_state(row: CardProgress | None, now: datetime) -> StudyState:
    if row is None:
        return StudyState.NEW
    if row.due_at is None:
        return StudyState.KNOWN
    if row.due_at > now:
        return StudyState.LATER
    return StudyState.LAPSED if row.last_outcome == OutcomeName.AGAIN else StudyState.DUE


def new_cards_between(learner_id: int, start: datetime, end: datetime) -> int:
    """How many cards the learner answered for the first time from `start` until before `end`."""
    answers = Review.objects.filter(learner_id=learner_id, undone_at__isnull=True)
    before = answers.filter(card_id=OuterRef("card_id"), reviewed_at__lt=start)
    new = answers.filter(~Exists(before), reviewed_at__gte=start, reviewed_at__lt=end)
    return int(new.aggregate(cards=Count("card_id", distinct=True))["cards"])


def _live() -> QuerySet[MemoCard]:
    return MemoCard.objects.filter(CARD.live)


def _unseen(learner_id: int) -> QuerySet[MemoCard]:
    return _live().filter(~Exists(CardProgress.objects.filter(learner_id=learner_id, card_id=OuterRef("pk"))))


def _answered_siblings(learner_id: int, start: datetime, end: datetime) -> Exists:
    """Of a card: whether another card of its question was answered in this time."""
    return Exists(
        Review.objects.filter(
            ~Q(card_id=OuterRef("pk")),
            learner_id=learner_id,
            undone_at__isnull=True,
            reviewed_at__gte=start,
            reviewed_at__lt=end,
            card__question_id=OuterRef("question_id"),
        )
    )


def _due(learner_id: int, answered: Exists, now: datetime, limit: int) -> list[StudyCard]:
    """Two statements: the choice sorts narrow rows, and only what was chosen is read with its texts."""
    order: list[Case | F] = [
        Case(When(progress__last_outcome=OutcomeName.AGAIN, then=Value(0)), default=Value(1)),
        F("progress__due_at"),
        F("pk"),
    ]
    # A card without a question is a sibling of none: its own id keeps it apart.
    siblings: list[Case | F] = [F("question_id"), Case(When(question_id__isnull=True, then=F("pk")))]
    chosen = (
        _live()
        .filter(~answered, progress__learner_id=learner_id, progress__due_at__lte=now)
        .annotate(place=Window(RowNumber(), partition_by=siblings, order_by=order))
        .filter(place=1)
        .order_by(*order)
        .values_list("pk", flat=True)[:limit]
    )
    keys = list(chosen)
    rows = CardProgress.objects.select_related("card").filter(learner_id=learner_id, card_id__in=keys)
    by_card = {row.card_id: row for row in rows} if keys else {}
    progress_rows = [by_card[key] for key in keys if key in by_card]
    return [StudyCard(row.card, row, study_state(row, now)) for row in progress_rows]


def _new(learner_id: int, answered: Exists, now: datetime) -> QuerySet[MemoCard]:
    """Unseen cards of which no sibling comes today: of each question the lowest id, unless one is due or answered."""
    siblings = _live().filter(question_id=OuterRef("question_id"))
    due = siblings.filter(progress__learner_id=learner_id, progress__due_at__lte=now)
    seen = CardProgress.objects.filter(learner_id=learner_id, card_id=OuterRef("pk"))
    first = siblings.filter(~Exists(seen), pk__lt=OuterRef("pk"))
    return _unseen(learner_id).filter(~answered, ~Exists(due), ~Exists(first))


def _next(row: CardProgress | None, scheduler: Scheduler, card_id: int, now: datetime) -> dict[Outcome, Next]:
    """As a rating would find it: what was stored under other settings is folded again."""
    progress = None if row is None else as_progress(row)
    if row is not None and row.fold_key != scheduler.fold_key:
        answers = dict(answers_by_card(row.learner_id, [card_id])).get(card_id, [])
        progress = fold(answers, scheduler, card_id=card_id)
    today = scheduler.clock.study_day(now)
    return {
        outcome: Next(due_at, None if due_at is None else (scheduler.clock.study_day(due_at) - today).days)
        for outcome, due_at in scheduler.preview(progress, now, card_id=card_id).items()
    }
