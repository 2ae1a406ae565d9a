"""A learner's statistics by study day, counted by PostgreSQL from that learner's rows alone.

The days' beginnings come from the StudyClock and go to PostgreSQL as one sorted array, in which width_bucket() finds
each row's day. So there is one definition of a study day, daylight saving included: `AT TIME ZONE` less the rollover
goes wrong where clocks go back over it, and PostgreSQL's time zones may be of another year than Python's.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.db.models import Count, DateTimeField, F, Func, IntegerField, Q, Value

from kit.scheduling import StudyClock
from memocards.learning.learners import study_clock
from memocards.learning.queue import new_cards_between
from memocards.models import LearnerSettings, MemoCard, OutcomeName, Review
from memocards.published import CARD

HEATMAP_DAYS: Final = 365
FORECAST_DAYS: Final = 30
RETENTION_DAYS: Final = 30


@dataclass(frozen=True)
class Today:
    """The present study day. `new`: cards answered for the first time; `correct`: answers that were not `again`."""

    day: date
    answered: int
    new: int
    correct: int


@dataclass(frozen=True)
class Retention:
    """Answers to cards that were due when they were answered: neither early nor new. `correct`: not `again`."""

    answered: int
    correct: int

    @property
    def share(self) -> float | None:
        """0 to 1; None without answers."""
        return self.correct / self.answered if self.answered else None


@dataclass(frozen=True)
class DayCount:
    day: date
    count: int


@dataclass(frozen=True)
class Statistics:
    """`streak`: study days in a row with an answer, up to today, or up to yesterday while today has none.
    `heatmap`: answers on each of the last 365 study days that has any. `forecast`: cards due on each of 30 study days
    from today on, which takes all that is overdue. `load_per_day`: the mean of the forecast, in cards a day.
    """

    today: Today
    streak: int
    heatmap: list[DayCount]
    retention_30_days: Retention
    retention_all: Retention
    forecast: list[DayCount]
    load_per_day: float


@dataclass(frozen=True)
class _Answers:
    """What was answered on one study day, or before the first of them."""

    answered: int = 0
    correct: int = 0
    due_answered: int = 0
    due_correct: int = 0


class _Days:
    """Consecutive study days, `first` being number 1 as width_bucket() counts; 0 is all before."""

    def __init__(self, clock: StudyClock, first: date, count: int) -> None:
        self.dates = [first + timedelta(days=number) for number in range(count)]
        self.starts = [clock.start_of(day) for day in self.dates]
        self.end = clock.start_of(first + timedelta(days=count))

    def numbers(self) -> list[int]:
        """Of the days that took place: a date that a time zone left out has no time in it."""
        ends = [*self.starts[1:], self.end]
        return [number for number, (start, end) in enumerate(zip(self.starts, ends, strict=True), 1) if start < end]

    def number_of(self, column: str) -> Func:
        starts = Value(self.starts, output_field=ArrayField(DateTimeField()))
        return Func(F(column), starts, function="width_bucket", output_field=IntegerField())


def statistics_of(learner: LearnerSettings, *, now: datetime) -> Statistics:
    """All statistics, in three statements, and one more for each further year of the streak."""
    clock = study_clock(learner)
    today = clock.study_day(now)
    days = _Days(clock, today - timedelta(days=HEATMAP_DAYS - 1), HEATMAP_DAYS)
    answers = _answers_by_day(learner.learner_id, days)
    by_date = [answers.get(number, _Answers()) for number in range(1, HEATMAP_DAYS + 1)]
    forecast = _forecast(learner.learner_id, clock, today)
    return Statistics(
        today=Today(
            day=today,
            answered=by_date[-1].answered,
            new=new_cards_between(learner.learner_id, days.starts[-1], days.end),
            correct=by_date[-1].correct,
        ),
        streak=_streak(learner.learner_id, clock, days, answers),
        heatmap=[
            DayCount(day, count.answered) for day, count in zip(days.dates, by_date, strict=True) if count.answered
        ],
        retention_30_days=_retention(by_date[-RETENTION_DAYS:]),
        retention_all=_retention(list(answers.values())),
        forecast=forecast,
        load_per_day=sum(entry.count for entry in forecast) / FORECAST_DAYS,
    )


def _answers_by_day(learner_id: int, days: _Days) -> dict[int, _Answers]:
    """Number of the day → its answers, where there are any; 0: all before the first day."""
    correct = ~Q(outcome=OutcomeName.AGAIN)
    # As it stood when the answer came. A new card and a sentinel had no due time.
    was_due = Q(due_before__lte=F("reviewed_at"))
    rows = (
        Review.objects.filter(learner_id=learner_id, undone_at__isnull=True, reviewed_at__lt=days.end)
        .order_by()
        .values_list(days.number_of("reviewed_at"))
        .annotate(
            answered=Count("pk"),
            correct=Count("pk", filter=correct),
            due_answered=Count("pk", filter=was_due),
            due_correct=Count("pk", filter=was_due & correct),
        )
    )
    return {number: _Answers(*counts) for number, *counts in rows}


def _retention(days: Sequence[_Answers]) -> Retention:
    return Retention(
        answered=sum(day.due_answered for day in days),
        correct=sum(day.due_correct for day in days),
    )


def _forecast(learner_id: int, clock: StudyClock, today: date) -> list[DayCount]:
    # Without a beginning of its own today is number 0, and takes what is overdue.
    days = _Days(clock, today + timedelta(days=1), FORECAST_DAYS - 1)
    counts = dict(
        MemoCard.objects.filter(CARD.live, progress__learner_id=learner_id, progress__due_at__lt=days.end)
        .order_by()
        .values_list(days.number_of("progress__due_at"))
        .annotate(cards=Count("pk"))
    )
    return [DayCount(day, counts.get(number, 0)) for number, day in enumerate([today, *days.dates])]


def _streak(learner_id: int, clock: StudyClock, days: _Days, answered: Collection[int]) -> int:
    """Walk back from the last of the days, which is today and not over yet, until one without an answer."""
    streak, today = 0, days.dates[-1]
    while True:
        for number in reversed(days.numbers()):
            if number in answered:
                streak += 1
            elif days.dates[number - 1] != today:
                return streak
        days = _Days(clock, days.dates[0] - timedelta(days=HEATMAP_DAYS), HEATMAP_DAYS)
        answered = _answered_days(learner_id, days)


def _answered_days(learner_id: int, days: _Days) -> set[int]:
    rows = Review.objects.filter(
        learner_id=learner_id, undone_at__isnull=True, reviewed_at__gte=days.starts[0], reviewed_at__lt=days.end
    )
    return set(rows.order_by().values_list(days.number_of("reviewed_at"), flat=True).distinct())
