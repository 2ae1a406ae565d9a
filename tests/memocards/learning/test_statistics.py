"""Statistics by study day, against the same counted by hand from random histories."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kit.scheduling import StudyClock
from memocards.learning.statistics import Statistics, statistics_of
from memocards.models import CardProgress, LearnerSettings, MemoCard, Review
from tests.factories import (
    CardProgressFactory,
    MemoCardFactory,
    ReviewFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2031, 5, 7, 12, tzinfo=UTC)
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)


def of(learner: User, now: datetime = NOW, zone: str = "UTC", rollover: int = 4) -> Statistics:
    return statistics_of(LearnerSettings(learner=learner, time_zone=zone, rollover_hour=rollover), now=now)


def answer(learner: User, at: datetime, **fields: Any) -> Review:
    return ReviewFactory.create(learner=learner, reviewed_at=at, **fields)


def test_a_learner_without_any_answer(learner: User) -> None:
    now_read = of(learner)
    assert (
        now_read.today.day,
        now_read.today.answered,
        now_read.today.new,
        now_read.today.correct,
    ) == (NOW.date(), 0, 0, 0)
    assert (now_read.streak, now_read.heatmap, now_read.load_per_day) == (0, [], 0.0)
    assert now_read.retention_all.share is None
    assert [entry.count for entry in now_read.forecast] == [0] * 30


def test_today_counts_answers_cards_begun_and_what_was_known(learner: User) -> None:
    old, begun = MemoCardFactory.create(), MemoCardFactory.create()
    answer(learner, NOW - DAY, card=old)
    answer(learner, NOW, card=old, outcome="again")
    answer(learner, NOW - timedelta(hours=1), card=begun)
    answer(learner, NOW, card=begun, outcome="hard")
    answer(learner, NOW, undone_at=NOW)
    answer(UserFactory.create(), NOW)
    today = of(learner).today
    assert (today.answered, today.new, today.correct) == (3, 1, 2)


@pytest.mark.parametrize(
    ("days_ago", "streak"),
    [
        ([], 0),
        ([0], 1),
        ([1], 1),
        ([2], 0),
        ([0, 1, 2], 3),
        ([1, 2, 4], 2),
        ([0, 2], 1),
        (range(364), 364),
        (range(365), 365),
        (range(366), 366),
        ([*range(1, 800), *range(801, 810)], 799),
    ],
)
def test_a_streak_goes_back_from_today_or_from_yesterday(learner: User, days_ago: list[int], streak: int) -> None:
    card = MemoCardFactory.create()
    Review.objects.bulk_create(
        Review(learner=learner, card=card, outcome="again", reviewed_at=NOW - ago * DAY, stage_after=0)
        for ago in days_ago
    )
    assert of(learner).streak == streak


def test_a_date_that_the_learners_zone_left_out_breaks_no_streak(learner: User) -> None:
    """Samoa had no 30 December 2011."""
    for day in (27, 28, 29, 31):
        answer(learner, StudyClock("Pacific/Apia", 0).start_of(date(2011, 12, day)))
    now = StudyClock("Pacific/Apia", 0).start_of(date(2012, 1, 1)) - TICK
    assert of(learner, now, "Pacific/Apia", 0).streak == 4


@pytest.mark.parametrize(
    ("zone", "rollover", "start"),
    [
        ("UTC", 4, datetime(2031, 5, 7, 4, tzinfo=UTC)),
        ("Asia/Seoul", 4, datetime(2031, 5, 6, 19, tzinfo=UTC)),
        # In the night the clocks went forward over the rollover: the day begins with the jump.
        ("Europe/Berlin", 2, datetime(2031, 3, 30, 1, tzinfo=UTC)),
        # They went back: the hour of the rollover came twice, and counts the first time.
        ("Europe/Berlin", 2, datetime(2031, 10, 26, 0, tzinfo=UTC)),
        ("America/Havana", 0, datetime(2031, 11, 2, 4, tzinfo=UTC)),
        # They went back over the rollover, to the evening before.
        ("America/St_Johns", 0, datetime(2010, 11, 7, 2, 30, tzinfo=UTC)),
        # By half an hour only, from two o'clock to half past one: two o'clock comes after that.
        ("Australia/Lord_Howe", 2, datetime(2031, 4, 5, 15, 30, tzinfo=UTC)),
    ],
)
def test_a_day_begins_where_the_study_clock_says(learner: User, zone: str, rollover: int, start: datetime) -> None:
    before, first = answer(learner, start - TICK), answer(learner, start)
    later = answer(learner, start + timedelta(hours=2))
    clock = StudyClock(zone, rollover)
    then_read = of(learner, start + timedelta(hours=3), zone, rollover)
    assert then_read.today.answered == 2
    counted = Counter(clock.study_day(review.reviewed_at) for review in (before, first, later))
    assert {entry.day: entry.count for entry in then_read.heatmap} == counted


def test_retention_counts_answers_to_cards_that_were_due(learner: User) -> None:
    due = {"due_before": NOW - 40 * DAY, "stage_before": 1}
    answer(learner, NOW, **due)
    answer(learner, NOW, **due, outcome="again")
    answer(learner, NOW - 29 * DAY, **due)
    answer(learner, NOW - 30 * DAY, **due, outcome="hard")
    answer(learner, NOW - 5 * DAY, due_before=NOW, stage_before=1)  # early
    answer(learner, NOW, due_before=None, stage_before=5)  # a sentinel
    answer(learner, NOW)  # new
    answer(learner, NOW, **due, undone_at=NOW)
    now_read = of(learner)
    assert (now_read.retention_30_days.answered, now_read.retention_30_days.correct) == (3, 2)
    assert (now_read.retention_all.answered, now_read.retention_all.correct) == (4, 3)
    assert now_read.retention_all.share == 0.75


def test_the_forecast_counts_live_cards_and_puts_what_is_overdue_on_today(learner: User) -> None:
    for due_at in (NOW - 90 * DAY, NOW, NOW + timedelta(hours=15), NOW + DAY, NOW + 29 * DAY, NOW + 30 * DAY):
        CardProgressFactory.create(learner=learner, due_at=due_at)
    CardProgressFactory.create(learner=learner, due_at=NOW.replace(hour=4) + 30 * DAY)
    CardProgressFactory.create(learner=learner, due_at=None)
    CardProgressFactory.create(learner=learner, due_at=NOW, card__needs_review=True)
    CardProgressFactory.create(learner=learner, due_at=NOW, card__deleted_at=NOW)
    CardProgressFactory.create(due_at=NOW)
    now_read = of(learner)
    assert [entry.count for entry in now_read.forecast] == [3, 1, *[0] * 27, 1]
    assert [entry.day for entry in now_read.forecast] == [NOW.date() + n * DAY for n in range(30)]
    assert now_read.load_per_day == pytest.approx(5 / 30)


# Counted twice

ZONES = [
    "UTC",
    "Asia/Seoul",
    "Asia/Kolkata",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Pacific/Apia",
]


@dataclass(frozen=True)
class Entry:
    """An answer: so many study days ago, so long from the day's beginning; what was due, from the answer."""

    days_ago: int
    shift: timedelta
    outcome: str
    card: int
    undone: bool
    due: timedelta | None


shifts = st.one_of(
    st.sampled_from([-TICK, timedelta(0), TICK, timedelta(hours=1), timedelta(hours=1) - TICK]),
    st.timedeltas(timedelta(hours=-3), timedelta(hours=25)),
)
entries = st.builds(
    Entry,
    days_ago=st.one_of(st.integers(0, 6), st.integers(0, 6), st.integers(0, 33), st.integers(360, 370)),
    shift=shifts,
    outcome=st.sampled_from(["again", "hard", "good", "easy"]),
    card=st.integers(0, 4),
    undone=st.sampled_from([False, False, False, True]),
    due=st.one_of(st.none(), st.sampled_from([-DAY, timedelta(0), TICK, DAY])),
)
moments = st.one_of(
    st.sampled_from(
        [
            datetime(2031, 3, 30, 6, tzinfo=UTC),
            datetime(2031, 10, 26, 6, tzinfo=UTC),
            datetime(2031, 11, 2, 7, tzinfo=UTC),
            datetime(2010, 11, 7, 3, 15, tzinfo=UTC),
            datetime(2012, 1, 1, 12, tzinfo=UTC),
        ]
    ),
    st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC)),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(entries, max_size=25),
    due=st.lists(st.tuples(st.integers(-40, 40), shifts, st.booleans()), max_size=12),
    zone=st.sampled_from(ZONES),
    rollover=st.integers(0, 23),
    now=moments,
)
@example(
    history=[Entry(days, timedelta(0), "good", 0, False, None) for days in (0, 1, 2, 3)],
    due=[],
    zone="America/St_Johns",
    rollover=0,
    now=datetime(2010, 11, 7, 3, 15, tzinfo=UTC),
)
def test_statistics_are_what_counting_by_hand_gives(
    history: list[Entry], due: list[tuple[int, timedelta, bool]], zone: str, rollover: int, now: datetime
) -> None:
    clock = StudyClock(zone, rollover)
    today = clock.study_day(now)
    with transaction.atomic():
        learner = UserFactory.create()
        topic = MemoCardFactory.create().topic
        cards = MemoCard.objects.bulk_create(
            MemoCard(topic=topic, front="f", back="b", needs_review=number >= 20) for number in range(40)
        )
        reviews = []
        for entry in history:
            at = min(clock.start_of(today - entry.days_ago * DAY) + entry.shift, now)
            reviews.append(
                Review(
                    learner=learner,
                    card=cards[entry.card],
                    outcome=entry.outcome,
                    reviewed_at=at,
                    undone_at=now if entry.undone else None,
                    due_before=None if entry.due is None else at + entry.due,
                    stage_after=0,
                )
            )
        Review.objects.bulk_create(reviews)
        rows = [
            CardProgress(
                learner=learner,
                card=cards[number if live else 20 + number],
                topic=topic,
                last_outcome="good",
                last_reviewed_at=now,
                due_at=clock.start_of(today + days * DAY) + shift,
            )
            for number, (days, shift, live) in enumerate(due)
        ]
        CardProgress.objects.bulk_create(rows)
        computed = of(learner, now, zone, rollover)
        live = [row.due_at for row, (_days, _shift, is_live) in zip(rows, due, strict=True) if is_live]
        check(computed, [review for review in reviews if not review.undone_at], live, clock, now)
        transaction.set_rollback(True)


def check(
    computed: Statistics, reviews: list[Review], due: list[datetime | None], clock: StudyClock, now: datetime
) -> None:
    today = clock.study_day(now)
    by_day: dict[date, list[Review]] = {}
    for review in reviews:
        by_day.setdefault(clock.study_day(review.reviewed_at), []).append(review)

    answered = by_day.get(today, [])
    first_day: dict[int, date] = {}
    for review in reviews:
        day = clock.study_day(review.reviewed_at)
        first_day[review.card_id] = min(day, first_day.get(review.card_id, day))
    assert computed.today.day == today
    assert computed.today.answered == len(answered)
    assert computed.today.new == sum(day == today for day in first_day.values())
    assert computed.today.correct == sum(review.outcome != "again" for review in answered)

    last_year = {day for day in by_day if 0 <= (today - day).days < 365}
    assert [(entry.day, entry.count) for entry in computed.heatmap] == [
        (day, len(by_day[day])) for day in sorted(last_year)
    ]

    streak, day = 0, today if today in by_day else today - DAY
    while day in by_day or clock.start_of(day) == clock.start_of(day + DAY):
        streak += day in by_day
        day -= DAY
    assert computed.streak == streak

    for retention, days in ((computed.retention_30_days, 30), (computed.retention_all, 10**6)):
        counted = [
            review
            for review in reviews
            if review.due_before is not None
            and review.due_before <= review.reviewed_at
            and (today - clock.study_day(review.reviewed_at)).days < days
        ]
        assert retention.answered == len(counted)
        assert retention.correct == sum(review.outcome != "again" for review in counted)

    fall_due = Counter(max(clock.study_day(moment), today) for moment in due if moment is not None)
    expected = [fall_due[today + number * DAY] for number in range(30)]
    assert [entry.count for entry in computed.forecast] == expected
    assert all(later.day - sooner.day == DAY for sooner, later in pairwise(computed.forecast))
    assert computed.load_per_day == pytest.approx(sum(expected) / 30)


def test_three_statements_however_much_was_answered(
    learner: User, django_assert_num_queries: Callable[[int], Any]
) -> None:
    for ago in range(40):
        answer(learner, NOW - ago * DAY)
    with django_assert_num_queries(3):
        assert of(learner).streak == 40
