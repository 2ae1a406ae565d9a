"""Scheduling: every rule as an example, and what holds for any history of answers as a property."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import fsrs
import fsrs.card
import fsrs.scheduler
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.scheduling import (
    SCHEDULERS,
    Answer,
    Fsrs,
    Ladder,
    Outcome,
    Progress,
    Scheduler,
    Settings,
    StudyClock,
    fold,
    scheduler_for,
)
from kit.scheduling.fsrs import fuzzed

AGAIN, HARD, GOOD, EASY = Outcome
SEOUL = StudyClock("Asia/Seoul", 4)
SETTINGS = Settings(clock=SEOUL, ladder_days=(1, 3, 7, 14, 30), desired_retention=0.9, exam_date=None)
ZONES = ("Asia/Seoul", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia")
FIRST_DAY = date(2024, 2, 1)
CARD = 42

checked = hypothesis.settings(derandomize=True, deadline=None, max_examples=100, database=None)


def evening(day: date, clock: StudyClock = SEOUL) -> datetime:
    """15 hours into that study day."""
    return clock.start_of(day) + timedelta(hours=15)


def answers_on(history: Iterable[tuple[int, Outcome]], clock: StudyClock = SEOUL) -> list[Answer]:
    """Answers from (days after FIRST_DAY, outcome)."""
    return [
        Answer(UUID(int=number), outcome, evening(FIRST_DAY + timedelta(days=days), clock))
        for number, (days, outcome) in enumerate(history)
    ]


def folded(scheduler: Scheduler, history: Iterable[tuple[int, Outcome]]) -> Progress:
    progress = fold(answers_on(history, scheduler.clock), scheduler, card_id=CARD)
    assert progress is not None
    return progress


def stored(progress: Progress | None) -> Progress | None:
    """As it comes back from a database row: JSON and plain text."""
    if progress is None:
        return None
    return replace(
        progress,
        last_outcome=Outcome(progress.last_outcome.value),
        last_reviewed_at=datetime.fromisoformat(progress.last_reviewed_at.isoformat()),
        scheduler_state=json.loads(json.dumps(progress.scheduler_state)),
    )


clocks = st.builds(StudyClock, st.sampled_from(ZONES), st.integers(0, 23))
# Summer time begins and ends in these months; Samoa leaves out 30 December 2011.
instants = st.datetimes(datetime(2011, 9, 1), datetime(2012, 5, 1), timezones=st.just(UTC))
settings_of_any_kind = st.builds(
    Settings,
    clock=clocks,
    ladder_days=st.lists(st.integers(1, 60), min_size=1, max_size=6).map(tuple),
    desired_retention=st.sampled_from((0.7, 0.85, 0.9, 0.97)),
    exam_date=st.none() | st.dates(date(2011, 9, 1), date(2012, 6, 1)),
)
schedulers = st.builds(scheduler_for, st.sampled_from(sorted(SCHEDULERS)), settings_of_any_kind)


@st.composite
def histories(draw: st.DrawFn, *, max_size: int = 8) -> list[Answer]:
    """Answers in the order in which they count, some on one day, some at the same instant."""
    at = draw(instants)
    gaps = st.sampled_from((0, 0, 1, 60, 9 * 60, 24 * 60)) | st.integers(0, 40 * 24 * 60)
    answers = []
    for identity in draw(st.lists(st.uuids(), unique=True, max_size=max_size)):
        at += timedelta(minutes=draw(gaps))
        answers.append(Answer(identity, draw(st.sampled_from(Outcome)), at))
    return sorted(answers, key=lambda answer: (answer.reviewed_at, answer.id))


class TestStudyClock:
    @pytest.mark.parametrize("hour", range(24))
    @pytest.mark.parametrize(
        ("zone", "first"),
        [
            ("Asia/Seoul", date(2024, 2, 27)),
            ("America/New_York", date(2024, 3, 8)),
            ("America/New_York", date(2024, 11, 1)),
            ("Australia/Lord_Howe", date(2024, 4, 5)),  # clocks go back by half an hour
            ("Australia/Lord_Howe", date(2024, 10, 4)),
            ("Pacific/Apia", date(2012, 3, 30)),
            ("America/Sao_Paulo", date(2018, 2, 16)),  # back at midnight, to the day before
            ("America/Sao_Paulo", date(2018, 11, 2)),  # forward at midnight: the date begins at 1
            ("Antarctica/Troll", date(2024, 3, 29)),  # by two hours: jumps over a whole hour
            ("Antarctica/Troll", date(2024, 10, 25)),  # and shows one twice, with the rollover within
            ("America/St_Johns", date(2006, 10, 27)),  # back a minute after midnight, to the day before
            ("Asia/Kathmandu", date(1985, 12, 30)),  # by a quarter, for ever
        ],
    )
    def test_days_follow_one_another_without_gap_or_overlap(self, zone: str, first: date, hour: int) -> None:
        clock = StudyClock(zone, hour)
        for offset in range(5):
            day = first + timedelta(days=offset)
            start = clock.start_of(day)
            assert start.tzinfo is UTC
            assert clock.study_day(start) == day
            assert clock.study_day(start - timedelta(microseconds=1)) == day - timedelta(days=1)
            end = clock.start_of(day + timedelta(days=1))
            for quarters in range((end - start) // timedelta(minutes=15)):
                assert clock.study_day(start + quarters * timedelta(minutes=15)) == day

    @pytest.mark.parametrize(
        ("zone", "hour", "day", "start"),
        [
            ("Asia/Seoul", 4, date(2024, 1, 1), "2023-12-31T19:00"),
            ("America/New_York", 2, date(2024, 3, 10), "2024-03-10T07:00"),  # 2:00 is left out: at 3:00
            ("America/New_York", 1, date(2024, 11, 3), "2024-11-03T05:00"),  # 1:00 comes twice: the first
            ("Australia/Lord_Howe", 2, date(2024, 10, 6), "2024-10-05T15:30"),  # at 2:30
            ("Antarctica/Troll", 2, date(2024, 3, 31), "2024-03-31T01:00"),  # at 3:00, not at 4:00
            ("Pacific/Apia", 4, date(2011, 12, 29), "2011-12-29T14:00"),
            ("Pacific/Apia", 4, date(2011, 12, 30), "2011-12-30T10:00"),  # at the jump over that date
            ("Pacific/Apia", 4, date(2011, 12, 31), "2011-12-30T14:00"),
            ("Pacific/Apia", 0, date(2011, 12, 30), "2011-12-30T10:00"),  # empty
            ("Pacific/Apia", 0, date(2011, 12, 31), "2011-12-30T10:00"),
        ],
    )
    def test_a_day_begins(self, zone: str, hour: int, day: date, start: str) -> None:
        assert StudyClock(zone, hour).start_of(day) == datetime.fromisoformat(start).replace(tzinfo=UTC)

    @pytest.mark.parametrize("hour", range(24))
    def test_a_date_that_was_left_out_begins_with_the_jump_over_it(self, hour: int) -> None:
        jump = datetime(2011, 12, 30, 10, tzinfo=UTC)
        assert StudyClock("Pacific/Apia", hour).start_of(date(2011, 12, 30)) == jump

    def test_the_night_belongs_to_the_day_before(self) -> None:
        seoul = ZoneInfo("Asia/Seoul")
        assert SEOUL.study_day(datetime(2024, 2, 2, 3, 59, 59, tzinfo=seoul)) == date(2024, 2, 1)
        assert SEOUL.study_day(datetime(2024, 2, 2, 4, tzinfo=seoul)) == date(2024, 2, 2)

    @given(clock=clocks, one=instants, other=instants)
    @checked
    def test_a_later_instant_is_never_on_an_earlier_day(
        self, clock: StudyClock, one: datetime, other: datetime
    ) -> None:
        earlier, later = sorted((one, other))
        assert clock.study_day(earlier) <= clock.study_day(later)
        assert clock.start_of(clock.study_day(later)) <= later

    def test_equal_clocks_are_equal(self) -> None:
        assert StudyClock("Asia/Seoul", 4) == SEOUL
        assert hash(StudyClock("Asia/Seoul", 4)) == hash(SEOUL)

    @pytest.mark.parametrize("hour", [-1, 24])
    def test_an_hour_that_is_none_is_refused(self, hour: int) -> None:
        with pytest.raises(ValueError, match="from 0 to 23"):
            StudyClock("Asia/Seoul", hour)

    def test_an_unknown_zone_is_refused(self) -> None:
        with pytest.raises(KeyError, match="Seoul/Asia"):
            StudyClock("Seoul/Asia", 4)

    def test_a_naive_instant_is_refused(self) -> None:
        with pytest.raises(ValueError, match="time zone"):
            SEOUL.study_day(datetime(2024, 2, 1))


class TestAnswer:
    def test_a_naive_instant_is_refused(self) -> None:
        with pytest.raises(ValueError, match="time zone"):
            Answer(UUID(int=1), GOOD, datetime(2024, 2, 1))

    def test_text_becomes_an_outcome(self) -> None:
        answer = Answer(UUID(int=1), "again", evening(FIRST_DAY))  # type: ignore[arg-type]
        assert answer.outcome is AGAIN
        with pytest.raises(ValueError, match="meh"):
            Answer(UUID(int=1), "meh", evening(FIRST_DAY))  # type: ignore[arg-type]

    def test_the_hour_shown_twice_keeps_its_order(self) -> None:
        new_york = ZoneInfo("America/New_York")
        first = Answer(UUID(int=2), GOOD, datetime(2024, 11, 3, 1, 50, tzinfo=new_york))
        second = Answer(UUID(int=1), AGAIN, datetime(2024, 11, 3, 1, 10, tzinfo=new_york, fold=1))
        progress = fold([second, first], Ladder(SETTINGS), card_id=CARD)
        assert progress is not None
        assert progress.last_outcome is AGAIN
        assert progress.last_reviewed_at == datetime(2024, 11, 3, 6, 10, tzinfo=UTC)


# How to bring a card to each stage of 1, 3, 7, 14, 30 days, and the day on which it is due there.
CLIMB = [(0, GOOD), (1, GOOD), (4, GOOD), (11, GOOD), (25, GOOD), (55, GOOD)]
DUE = [1, 4, 11, 25, 55]


class TestLadder:
    @pytest.mark.parametrize(
        ("before", "answer", "stage", "due", "lapses"),
        [
            # A new card.
            ([], (0, AGAIN), 0, 1, 0),
            ([], (0, HARD), 0, 1, 0),
            ([], (0, GOOD), 0, 1, 0),
            ([], (0, EASY), 5, None, 0),
            # Due, at every stage.
            *[(CLIMB[: at + 1], (DUE[at], AGAIN), 0, DUE[at] + 1, 1) for at in range(5)],
            *[(CLIMB[: at + 1], (DUE[at], HARD), at, DUE[at] + (1, 3, 7, 14, 30)[at], 0) for at in range(5)],
            *[(CLIMB[: at + 1], (DUE[at], GOOD), at + 1, DUE[at + 1], 0) for at in range(4)],
            (CLIMB[:5], (55, GOOD), 5, None, 0),
            (CLIMB[:1], (1, EASY), 2, 1 + 7, 0),
            (CLIMB[:2], (4, EASY), 3, 4 + 14, 0),
            (CLIMB[:3], (11, EASY), 4, 11 + 30, 0),
            (CLIMB[:4], (25, EASY), 5, None, 0),
            (CLIMB[:5], (55, EASY), 5, None, 0),
            # Overdue: the steps count from the day of the answer.
            (CLIMB[:2], (9, GOOD), 2, 9 + 7, 0),
            (CLIMB[:2], (9, HARD), 1, 9 + 3, 0),
            # Early.
            (CLIMB[:3], (10, AGAIN), 0, 11, 1),
            (CLIMB[:3], (10, HARD), 2, 11, 0),
            (CLIMB[:3], (10, GOOD), 2, 11, 0),
            (CLIMB[:3], (10, EASY), 2, 11, 0),
            ([(0, AGAIN)], (0, GOOD), 0, 1, 0),
            ([(0, GOOD)], (0, EASY), 0, 1, 0),
            # Terminal: known on first sight, and graduated.
            ([(0, EASY)], (9, AGAIN), 0, 10, 1),
            ([(0, EASY)], (9, HARD), 5, None, 0),
            ([(0, EASY)], (9, GOOD), 5, None, 0),
            ([(0, EASY)], (9, EASY), 5, None, 0),
            (CLIMB, (60, AGAIN), 0, 61, 1),
            (CLIMB, (60, HARD), 5, None, 0),
            (CLIMB, (60, GOOD), 5, None, 0),
            (CLIMB, (60, EASY), 5, None, 0),
        ],
    )
    def test_rule(
        self,
        before: list[tuple[int, Outcome]],
        answer: tuple[int, Outcome],
        stage: int,
        due: int | None,
        lapses: int,
    ) -> None:
        progress = folded(Ladder(SETTINGS), [*before, answer])
        assert progress == Progress(
            last_outcome=answer[1],
            last_reviewed_at=evening(FIRST_DAY + timedelta(days=answer[0])),
            due_at=None if due is None else SEOUL.start_of(FIRST_DAY + timedelta(days=due)),
            review_stage=stage,
            review_count=len(before) + 1,
            lapse_count=lapses,
            scheduler_state={},
        )

    def test_a_second_device_on_the_same_day_does_not_promote_twice(self) -> None:
        once = folded(Ladder(SETTINGS), [*CLIMB[:3], (11, GOOD)])
        twice = folded(Ladder(SETTINGS), [*CLIMB[:3], (11, GOOD), (11, GOOD)])
        assert (twice.review_stage, twice.due_at) == (once.review_stage, once.due_at)
        assert twice.review_count == once.review_count + 1

    def test_due_from_the_first_instant_of_its_day(self) -> None:
        ladder = Ladder(SETTINGS)
        progress = folded(ladder, [(0, GOOD)])
        start = SEOUL.start_of(FIRST_DAY + timedelta(days=1))
        assert ladder.is_early(progress, start - timedelta(microseconds=1))
        assert not ladder.is_early(progress, start)
        assert ladder.step(progress, Answer(UUID(int=9), GOOD, start), card_id=CARD).review_stage == 1

    @pytest.mark.parametrize("days", [(), (0,), (1, -3), (1, 36_501)])
    def test_a_ladder_that_leads_nowhere_is_refused(self, days: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="36500 days"):
            Ladder(replace(SETTINGS, ladder_days=days))


def package(retention: float = 0.9) -> fsrs.Scheduler:
    return fsrs.Scheduler(desired_retention=retention, learning_steps=(), relearning_steps=(), enable_fuzzing=False)


def by_package(instants_and_outcomes: Sequence[tuple[datetime, Outcome]], retention: float = 0.9) -> fsrs.Card:
    card = fsrs.Card(card_id=CARD, due=datetime(2024, 1, 1, tzinfo=UTC))
    for at, outcome in instants_and_outcomes:
        rating = fsrs.Rating(list(Outcome).index(outcome) + 1)
        card, _ = package(retention).review_card(card, rating, at)
    return card


def model_of(progress: Progress | None) -> tuple[object, object]:
    assert progress is not None
    return progress.scheduler_state["stability"], progress.scheduler_state["difficulty"]


class TestFsrs:
    def test_the_memory_state_that_implementations_of_fsrs_6_publish(self) -> None:
        """Again, then good after 0, 1, 3, 8 and 21 days: in the tests of py-fsrs and of fsrs-rs."""
        progress = folded(Fsrs(SETTINGS), [(0, AGAIN), (0, GOOD), (1, GOOD), (4, GOOD), (12, GOOD), (33, GOOD)])
        assert model_of(progress) == pytest.approx((53.62691, 6.3574867), abs=1e-4)

    # Days and outcomes; stability, difficulty, the package's interval in days, and ours for CARD. The figures
    # stand here so that another release of the package, or another fuzz, does not go unnoticed.
    @pytest.mark.parametrize(
        ("history", "stability", "difficulty", "interval", "ours"),
        [
            ([(0, AGAIN)], 0.212, 6.4133, 1, 1),
            ([(0, HARD)], 1.2931, 5.112170706, 1, 1),
            ([(0, GOOD)], 2.3065, 2.11810397, 2, 2),
            ([(0, GOOD), (2, GOOD)], 10.96433234, 2.111214236, 11, 10),
            ([(0, GOOD), (2, GOOD), (13, GOOD), (60, EASY)], 268.0050277, 1, 268, 281),
            ([(0, GOOD), (2, HARD), (9, HARD)], 17.84133322, 6.501931317, 18, 16),
            ([(0, GOOD), (2, EASY), (30, AGAIN), (31, GOOD)], 4.41979018, 7.015190949, 4, 5),
            ([(0, AGAIN), (0, AGAIN), (0, GOOD)], 0.1031406501, 8.792726534, 1, 1),
            ([(0, GOOD), (2, GOOD), (5, GOOD)], 23.31941421, 2.104331391, 23, 21),
            (
                [(0, GOOD), (2, GOOD), (13, GOOD), (60, GOOD), (260, GOOD), (900, GOOD)],
                1577.834323,
                2.083724126,
                1578,
                1536,
            ),
            ([(0, GOOD), (2, GOOD), (13, GOOD), (60, GOOD), (260, AGAIN)], 4.843731591, 7.387715706, 5, 4),
            ([(0, HARD), (400, GOOD)], 29.47896166, 5.102286904, 29, 28),
        ],
    )
    def test_golden(
        self,
        history: list[tuple[int, Outcome]],
        stability: float,
        difficulty: float,
        interval: int,
        ours: int,
    ) -> None:
        progress = folded(Fsrs(SETTINGS), history)
        noons = [
            (datetime.combine(FIRST_DAY + timedelta(days=days), time(12), UTC), outcome) for days, outcome in history
        ]
        card = by_package(noons)
        assert model_of(progress) == (card.stability, card.difficulty)
        assert model_of(progress) == pytest.approx((stability, difficulty), rel=1e-9)
        assert (card.due - noons[-1][0]).days == interval
        assert progress.due_at == SEOUL.start_of(FIRST_DAY + timedelta(days=history[-1][0] + ours))

    @given(answers=histories(), settings=settings_of_any_kind)
    @checked
    def test_the_model_is_the_package_fed_with_study_days(self, answers: list[Answer], settings: Settings) -> None:
        hypothesis.assume(answers and answers[0].outcome is not EASY)
        progress = fold(answers, Fsrs(settings), card_id=CARD)
        days = [settings.clock.study_day(answer.reviewed_at) for answer in answers]
        noons = [datetime.combine(day, time(12), UTC) for day in days]
        outcomes = [answer.outcome for answer in answers]
        card = by_package(list(zip(noons, outcomes, strict=True)), settings.desired_retention)
        assert model_of(progress) == (card.stability, card.difficulty)

    def test_an_evening_and_the_next_morning_are_one_day_apart(self) -> None:
        at_22 = datetime(2024, 2, 1, 22, tzinfo=ZoneInfo("Asia/Seoul")).astimezone(UTC)
        at_7 = datetime(2024, 2, 2, 7, tzinfo=ZoneInfo("Asia/Seoul")).astimezone(UTC)
        answers = [Answer(UUID(int=1), AGAIN, at_22), Answer(UUID(int=2), GOOD, at_7)]
        stability, _ = model_of(fold(answers, Fsrs(SETTINGS), card_id=CARD))
        noon = datetime(2024, 2, 1, 12, tzinfo=UTC)
        a_day_apart = by_package([(noon, AGAIN), (noon + timedelta(days=1), GOOD)]).stability
        by_instants = by_package([(at_22, AGAIN), (at_7, GOOD)]).stability
        assert by_instants is not None
        assert stability == a_day_apart
        assert isinstance(stability, float)
        assert stability > 2 * by_instants

    def test_two_answers_across_midnight_are_on_one_day(self) -> None:
        seoul = ZoneInfo("Asia/Seoul")
        answers = [
            Answer(UUID(int=1), GOOD, datetime(2024, 2, 1, 23, 50, tzinfo=seoul)),
            Answer(UUID(int=2), GOOD, datetime(2024, 2, 2, 0, 10, tzinfo=seoul)),
        ]
        assert model_of(fold(answers, Fsrs(SETTINGS), card_id=CARD)) == model_of(
            folded(Fsrs(SETTINGS), [(0, GOOD), (0, GOOD)])
        )

    @pytest.mark.parametrize(
        ("history", "lapses"),
        [([EASY], 0), ([EASY, HARD], 0), ([EASY, GOOD, EASY], 0)],
    )
    def test_known_on_first_sight(self, history: list[Outcome], lapses: int) -> None:
        progress = folded(Fsrs(SETTINGS), [(9 * number, outcome) for number, outcome in enumerate(history)])
        assert (progress.due_at, progress.review_stage, progress.scheduler_state) == (None, 5, {})
        assert (progress.review_count, progress.lapse_count) == (len(history), lapses)
        assert progress.last_outcome is history[-1]

    def test_again_makes_a_sentinel_start_anew_as_a_lapse(self) -> None:
        lapsed = folded(Fsrs(SETTINGS), [(0, EASY), (9, AGAIN)])
        new = folded(Fsrs(SETTINGS), [(9, AGAIN)])
        assert lapsed == replace(new, review_count=2, lapse_count=1)
        later = folded(Fsrs(SETTINGS), [(0, EASY), (9, AGAIN), (10, GOOD)])
        assert model_of(later) == model_of(folded(Fsrs(SETTINGS), [(9, AGAIN), (10, GOOD)]))

    def test_easy_later_on_makes_no_sentinel(self) -> None:
        assert folded(Fsrs(SETTINGS), [(0, AGAIN), (0, EASY)]).due_at is not None

    @pytest.mark.parametrize(
        ("history", "lapses"),
        [
            ([AGAIN], 0),
            ([AGAIN, AGAIN], 1),
            ([GOOD, AGAIN, HARD, AGAIN], 2),
        ],
    )
    @pytest.mark.parametrize("name", SCHEDULERS)
    def test_lapses_are_all_agains_but_the_first_answer(self, name: str, history: list[Outcome], lapses: int) -> None:
        scheduler = scheduler_for(name, SETTINGS)
        assert folded(scheduler, list(enumerate(history))).lapse_count == lapses

    @pytest.mark.parametrize(("retention", "stage"), [(0.99, 0), (0.9, 0), (0.85, 1), (0.8, 2), (0.75, 2), (0.7, 3)])
    def test_the_stage_is_the_bucket_of_the_models_interval(self, retention: float, stage: int) -> None:
        progress = folded(Fsrs(replace(SETTINGS, desired_retention=retention)), [(0, GOOD)])
        card = by_package([(datetime(2024, 2, 1, 12, tzinfo=UTC), GOOD)], retention)
        interval = (card.due - datetime(2024, 2, 1, 12, tzinfo=UTC)).days
        assert progress.review_stage == stage
        assert sum(interval >= days for days in (3, 7, 14, 30)) == stage

    def test_an_exam_makes_no_card_less_known(self) -> None:
        history = [(0, GOOD), (2, GOOD), (12, GOOD)]
        exam = replace(SETTINGS, exam_date=FIRST_DAY + timedelta(days=16))
        assert folded(Fsrs(exam), history).review_stage == folded(Fsrs(SETTINGS), history).review_stage == 4

    @given(answers=histories(), settings=settings_of_any_kind, card_id=st.integers(1, 2**63), at=instants)
    @checked
    def test_a_better_answer_never_comes_up_sooner(
        self, answers: list[Answer], settings: Settings, card_id: int, at: datetime
    ) -> None:
        at = max([at, *(answer.reviewed_at for answer in answers)])
        scheduler = Fsrs(settings)
        previews = scheduler.preview(fold(answers, scheduler, card_id=card_id), at, card_id=card_id)
        never = datetime.max.replace(tzinfo=UTC)
        dues = [previews[outcome] or never for outcome in Outcome]
        assert dues == sorted(dues)
        assert dues[0] > at

    def test_fuzz_does_not_shorten_what_has_grown(self) -> None:
        """Answered hard or early, a card has an interval that grows by little: fuzz could eat that up."""
        for card_id in range(100):
            scheduler, progress, day, interval = Fsrs(SETTINGS), None, FIRST_DAY, 0
            for number in range(8):
                progress = scheduler.step(progress, Answer(UUID(int=number), HARD, evening(day)), card_id=card_id)
                assert progress.due_at is not None
                # At a retention of 0.9 the model's interval is the stability: that is how stability is defined.
                model_interval = round(float(str(progress.scheduler_state["stability"])))
                days = (SEOUL.study_day(progress.due_at) - day).days
                assert model_interval <= interval or days > interval
                day, interval = day + timedelta(days=max(days // 2, 1)), days

    def test_it_reads_no_clock_and_no_random(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class NoClock(datetime):
            @classmethod
            def now(cls, tz: object = None) -> "NoClock":
                raise AssertionError("The clock was read.")

        monkeypatch.setattr(fsrs.card, "datetime", NoClock)
        monkeypatch.setattr(fsrs.scheduler, "datetime", NoClock)
        before = random.getstate()
        folded(Fsrs(SETTINGS), CLIMB)
        assert random.getstate() == before

    @pytest.mark.parametrize("retention", [0.0, 1.0, -0.5, 90.0])
    def test_a_retention_that_is_no_chance_is_refused(self, retention: float) -> None:
        with pytest.raises(ValueError, match="between 0 and 1"):
            Fsrs(replace(SETTINGS, desired_retention=retention))


class TestFuzz:
    @pytest.mark.parametrize(
        ("days", "shortest", "longest", "least", "most"),
        [
            # None for one and two days, and then what Anki's ranges give.
            (1, 1, 1000, 1, 1),
            (2, 1, 1000, 2, 2),
            (3, 1, 1000, 2, 4),
            (7, 1, 1000, 5, 9),
            (17, 1, 1000, 14, 20),
            (20, 1, 1000, 17, 23),
            (37, 1, 1000, 33, 41),
            # Limits cut the range, and what is left is spread over evenly.
            (100, 101, 1000, 101, 108),
            (100, 1, 99, 92, 99),
            (100, 97, 103, 97, 103),
            (100, 1, 1, 1, 1),
            (5, 9, 4, 4, 4),
        ],
    )
    def test_range(self, days: int, shortest: int, longest: int, least: int, most: int) -> None:
        drawn = [fuzzed(days, shortest=shortest, longest=longest, seed=f"{seed}:3") for seed in range(2000)]
        assert (min(drawn), max(drawn)) == (least, most)
        mean = 2000 / (most - least + 1)
        for value in range(least, most + 1):
            assert drawn.count(value) == pytest.approx(mean, rel=0.25)

    def test_it_depends_on_card_and_count(self) -> None:
        def drawn(seed: str) -> int:
            return fuzzed(1000, shortest=1, longest=36_500, seed=seed)

        assert drawn("1:1") == drawn("1:1")
        assert len({drawn(f"{card}:{count}") for card in range(10) for count in range(10)}) > 40


class TestExam:
    @pytest.mark.parametrize(
        ("exam", "due"),
        [
            (None, 30),
            (-20, 30),  # over
            (0, 30),  # today
            (1, 30),  # tomorrow: nothing fits in between
            (2, 1),
            (3, 2),
            (10, 9),
            (31, 30),
            (32, 30),
        ],
    )
    def test_the_last_day_a_card_may_be_due(self, exam: int | None, due: int) -> None:
        """A card that goes to the 30-day step on day 25, with the exam so many days away."""
        today = FIRST_DAY + timedelta(days=25)
        with_exam = replace(SETTINGS, exam_date=None if exam is None else today + timedelta(days=exam))
        assert folded(Ladder(with_exam), CLIMB[:5]).due_at == SEOUL.start_of(today + timedelta(days=due))

    @given(answers=histories(), scheduler=schedulers)
    @checked
    def test_every_card_still_learned_is_seen_once_more(self, answers: list[Answer], scheduler: Scheduler) -> None:
        exam = scheduler.settings.exam_date
        progress = fold(answers, scheduler, card_id=CARD)
        hypothesis.assume(exam is not None and progress is not None)
        assert exam is not None
        assert progress is not None
        eve = exam - timedelta(days=1)
        if progress.due_at is not None and scheduler.clock.study_day(progress.last_reviewed_at) < eve:
            assert progress.due_at <= scheduler.clock.start_of(eve)

    @pytest.mark.parametrize("name", SCHEDULERS)
    def test_a_sentinel_stays_one(self, name: str) -> None:
        exam = replace(SETTINGS, exam_date=FIRST_DAY + timedelta(days=9))
        assert folded(scheduler_for(name, exam), [(0, EASY)]).due_at is None

    def test_fsrs_spreads_cards_over_the_days_before(self) -> None:
        exam = replace(SETTINGS, exam_date=FIRST_DAY + timedelta(days=32))
        answers = answers_on([(0, GOOD), (2, GOOD), (12, GOOD)])
        folds = [fold(answers, Fsrs(exam), card_id=card) for card in range(100)]
        dues = {progress.due_at for progress in folds if progress is not None}
        assert len(dues) == 4
        assert max(due for due in dues if due) == SEOUL.start_of(FIRST_DAY + timedelta(days=31))


class TestAnyHistory:
    @given(answers=histories(), scheduler=schedulers, data=st.data())
    @checked
    def test_the_order_of_arrival_does_not_matter(
        self, answers: list[Answer], scheduler: Scheduler, data: st.DataObject
    ) -> None:
        arrived = data.draw(st.permutations(answers))
        assert fold(arrived, scheduler, card_id=CARD) == fold(answers, scheduler, card_id=CARD)

    @given(answers=histories(), scheduler=schedulers)
    @checked
    def test_step_from_what_is_stored_equals_fold(self, answers: list[Answer], scheduler: Scheduler) -> None:
        progress: Progress | None = None
        for number, answer in enumerate(answers, start=1):
            progress = scheduler.step(stored(progress), answer, card_id=CARD)
            assert progress == fold(answers[:number], scheduler, card_id=CARD)
            assert progress.review_count == number

    @given(answers=histories(), scheduler=schedulers)
    @checked
    def test_due_is_the_start_of_a_study_day_or_nothing_exactly_for_sentinels(
        self, answers: list[Answer], scheduler: Scheduler
    ) -> None:
        terminal = {"ladder": len(scheduler.settings.ladder_days), "fsrs": 5}[scheduler.name]
        for number in range(1, len(answers) + 1):
            progress = fold(answers[:number], scheduler, card_id=CARD)
            assert progress is not None
            assert 0 <= progress.review_stage <= terminal
            assert (progress.due_at is None) == (progress.review_stage == terminal)
            assert 0 <= progress.lapse_count < progress.review_count
            if progress.due_at is not None:
                clock = scheduler.clock
                assert progress.due_at == clock.start_of(clock.study_day(progress.due_at))
                assert progress.due_at > progress.last_reviewed_at

    @given(answers=histories(), scheduler=schedulers, at=instants, card_id=st.integers(1, 2**63))
    @checked
    def test_preview_is_what_the_step_gives(
        self, answers: list[Answer], scheduler: Scheduler, at: datetime, card_id: int
    ) -> None:
        at = max([at, *(answer.reviewed_at for answer in answers)])
        progress = fold(answers, scheduler, card_id=card_id)
        previews = scheduler.preview(progress, at, card_id=card_id)
        assert list(previews) == list(Outcome)
        for outcome, due_at in previews.items():
            answer = Answer(UUID(int=7), outcome, at)
            assert scheduler.step(progress, answer, card_id=card_id).due_at == due_at

    @given(
        answers=histories(),
        choices=st.lists(schedulers, min_size=2, max_size=3),
        data=st.data(),
    )
    @checked
    def test_steps_late_answers_undos_and_switches_all_end_in_the_fold(
        self, answers: list[Answer], choices: list[Scheduler], data: st.DataObject
    ) -> None:
        """A caller as the rating service is one: it steps where it may, and otherwise folds."""
        log: list[Answer] = []
        undone: set[UUID] = set()
        key, progress = "", None
        for answer in data.draw(st.permutations(answers)):
            scheduler = data.draw(st.sampled_from(choices))
            if undoing := data.draw(st.booleans()) and bool(log):
                undone.add(data.draw(st.sampled_from(log)).id)
            counted = [one for one in log if one.id not in undone]
            in_order = all((one.reviewed_at, one.id) < (answer.reviewed_at, answer.id) for one in counted)
            log.append(answer)
            if key == scheduler.fold_key and in_order and not undoing:
                progress = scheduler.step(stored(progress), answer, card_id=CARD)
            else:
                progress = fold([*counted, answer], scheduler, card_id=CARD)
            key = scheduler.fold_key
            never_undone = [one for one in answers if one in log and one.id not in undone]
            assert progress == fold(never_undone, scheduler, card_id=CARD)

    @pytest.mark.parametrize("name", SCHEDULERS)
    def test_undoing_the_last_answer_is_as_if_it_never_happened(self, name: str) -> None:
        scheduler = scheduler_for(name, SETTINGS)
        answers = answers_on(CLIMB)
        before = fold(answers[:-1], scheduler, card_id=CARD)
        assert fold([one for one in answers if one is not answers[-1]], scheduler, card_id=CARD) == before
        assert fold(answers, scheduler, card_id=CARD) != before

    @pytest.mark.parametrize("name", SCHEDULERS)
    def test_without_answers_there_is_no_progress(self, name: str) -> None:
        assert fold([], scheduler_for(name, SETTINGS), card_id=CARD) is None

    def test_equal_instants_count_in_order_of_id(self) -> None:
        at = evening(FIRST_DAY)
        first, second = Answer(UUID(int=1), GOOD, at), Answer(UUID(int=2), AGAIN, at)
        progress = fold([second, first], Ladder(SETTINGS), card_id=CARD)
        assert progress is not None
        assert (progress.last_outcome, progress.lapse_count) == (AGAIN, 1)

    def test_there_and_back_is_the_same(self) -> None:
        ladder, model, answers = Ladder(SETTINGS), Fsrs(SETTINGS), answers_on(CLIMB[:4])
        before = fold(answers, ladder, card_id=CARD)
        assert fold(answers, model, card_id=CARD) != before
        assert fold(answers, ladder, card_id=CARD) == before


class TestFoldKey:
    def test_it_is_readable(self) -> None:
        assert Ladder(SETTINGS).fold_key == "ladder/1 Asia/Seoul@4 exam=none days=1,3,7,14,30"
        exam = replace(SETTINGS, exam_date=date(2024, 6, 1))
        assert Fsrs(exam).fold_key == "fsrs/1-6.3.2 Asia/Seoul@4 exam=2024-06-01 retention=0.9"

    @pytest.mark.parametrize(
        ("changed", "readers"),
        [
            (replace(SETTINGS, clock=StudyClock("Asia/Tokyo", 4)), {"ladder", "fsrs"}),
            (replace(SETTINGS, clock=StudyClock("Asia/Seoul", 5)), {"ladder", "fsrs"}),
            (replace(SETTINGS, exam_date=date(2024, 6, 1)), {"ladder", "fsrs"}),
            (replace(SETTINGS, ladder_days=(1, 3, 7, 14)), {"ladder"}),
            (replace(SETTINGS, desired_retention=0.91), {"fsrs"}),
        ],
    )
    def test_it_changes_with_what_the_fold_reads_and_with_nothing_else(
        self, changed: Settings, readers: set[str]
    ) -> None:
        assert readers == {
            name
            for name in SCHEDULERS
            if scheduler_for(name, changed).fold_key != scheduler_for(name, SETTINGS).fold_key
        }

    @given(scheduler=schedulers, other=schedulers, answers=histories())
    @checked
    def test_equal_keys_fold_equally(self, scheduler: Scheduler, other: Scheduler, answers: list[Answer]) -> None:
        # Take over all that this scheduler should read, and leave the rest as another has it.
        mine, rest = scheduler.settings, other.settings
        if scheduler.name == "ladder":
            mixed = replace(mine, desired_retention=rest.desired_retention)
        else:
            mixed = replace(mine, ladder_days=rest.ladder_days)
        same = scheduler_for(scheduler.name, mixed)
        assert same.fold_key == scheduler.fold_key
        assert fold(answers, same, card_id=CARD) == fold(answers, scheduler, card_id=CARD)

    def test_a_long_ladder_fits_and_stays_distinct(self) -> None:
        one = Ladder(replace(SETTINGS, ladder_days=tuple(range(1, 200)))).fold_key
        other = Ladder(replace(SETTINGS, ladder_days=tuple(range(1, 201)))).fold_key
        assert len(one) == len(other) == 200
        assert one != other
        assert one.startswith("ladder/1 Asia/Seoul@4 exam=none days=1,2,3")


class TestSchedulerFor:
    def test_by_name(self) -> None:
        assert isinstance(scheduler_for("ladder", SETTINGS), Ladder)
        assert isinstance(scheduler_for("fsrs", SETTINGS), Fsrs)

    def test_an_unknown_name_is_refused_with_those_that_there_are(self) -> None:
        with pytest.raises(ValueError, match="'sm2', only ladder, fsrs"):
            scheduler_for("sm2", SETTINGS)
