"""Intervals from a model of memory."""

import hashlib
import math
from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from importlib.metadata import version as installed_version
from typing import Final

import fsrs

from .scheduler import (
    JSON,
    LONGEST_DAYS,
    Answer,
    Memory,
    Outcome,
    Placement,
    Progress,
    Scheduler,
    Settings,
    gettext_noop,
)

# From so many days on, an interval is of stage 1, 2, 3, 4: the steps of the default ladder.
STAGE_DAYS: Final = (3, 7, 14, 30)
SENTINEL_STAGE: Final = 5

_RATINGS: Final = {
    Outcome.AGAIN: fsrs.Rating.Again,
    Outcome.HARD: fsrs.Rating.Hard,
    Outcome.GOOD: fsrs.Rating.Good,
    Outcome.EASY: fsrs.Rating.Easy,
}

# Anki's ranges (the fsrs package has them too): shorter than the first, an interval is left alone; otherwise
# it moves by up to a day, plus this share of its days in each range.
_FUZZ: Final = ((2.5, 7.0, 0.15), (7.0, 20.0, 0.1), (20.0, math.inf, 0.05))


class Fsrs(Scheduler):
    """FSRS-6 with its default weights and no learning steps, by the fsrs package.

    https://github.com/open-spaced-repetition/py-fsrs, and for the algorithm
    https://github.com/open-spaced-repetition/awesome-fsrs/wiki/The-Algorithm.

    The model is told study days, as noon UTC of each: an evening and the next morning are one day apart.
    Early answers, and several on one day, are its own business. `easy` makes a sentinel of a new card;
    `again` makes a sentinel start anew, which is a lapse, and any other answer leaves it one. No other card
    becomes a sentinel.

    `review_stage` tells how well a card is known, by the model's interval before fuzz and exam:
    0: 1–2 days, 1: 3–6, 2: 7–13, 3: 14–29, 4: 30 and more, 5: sentinel. It reads like the default ladder's.
    `scheduler_state`: `stability` (days), `difficulty` (1–10), `day` (last study day, ISO 8601); empty for a
    sentinel. JSON keeps its floats exactly, so a step from the stored state is the fold's.

    Raises ValueError for a desired retention that is not between 0 and 1.
    """

    name = "fsrs"
    title = gettext_noop("FSRS: intervals from a model of memory")
    # The weights come with the package: another release may be another fold.
    version = f"1-{installed_version('fsrs')}"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if not 0 < settings.desired_retention < 1:
            raise ValueError(f"desired_retention lies between 0 and 1, not at {settings.desired_retention}.")
        self._model = fsrs.Scheduler(
            desired_retention=settings.desired_retention,
            learning_steps=(),
            relearning_steps=(),
            maximum_interval=LONGEST_DAYS,
            enable_fuzzing=False,  # the package's draws from the global random, so that no fold would repeat
        )

    @classmethod
    def memory(cls, state: Mapping[str, JSON]) -> Memory | None:
        if not {"stability", "difficulty"} <= state.keys():
            return None
        return Memory(stability=_number(state["stability"]), difficulty=_number(state["difficulty"]))

    def describe_settings(self) -> str:
        return f"retention={self.settings.desired_retention!r}"

    def place(self, progress: Progress | None, answer: Answer, *, card_id: int) -> Placement:
        if progress is None:
            if answer.outcome is Outcome.EASY:
                return Placement(None, SENTINEL_STAGE)
        elif progress.due_at is None and answer.outcome is not Outcome.AGAIN:
            return Placement(None, SENTINEL_STAGE)

        day = self.clock.study_day(answer.reviewed_at)
        last_interval = 0
        # `due` is not used, but without it the package reads the clock.
        card = fsrs.Card(card_id=card_id, due=_noon(day))
        if progress is not None and progress.due_at is not None:
            state = progress.scheduler_state
            last_day = date.fromisoformat(str(state["day"]))
            last_interval = (self.clock.study_day(progress.due_at) - last_day).days
            card.state, card.step = fsrs.State.Review, None
            card.stability, card.difficulty = _number(state["stability"]), _number(state["difficulty"])
            card.last_review = _noon(last_day)
        card, _ = self._model.review_card(card, _RATINGS[answer.outcome], _noon(day))

        interval = (card.due - _noon(day)).days
        days = fuzzed(
            interval,
            # As in Anki: where the model's interval has grown, the one with fuzz grows too.
            shortest=last_interval + 1 if interval > last_interval else 1,
            longest=self.longest_interval(day),
            seed=f"{card_id}:{progress.review_count if progress else 0}",
        )
        return Placement(
            self.clock.start_of(day + timedelta(days=days)),
            bisect_right(STAGE_DAYS, interval),
            {"stability": card.stability, "difficulty": card.difficulty, "day": day.isoformat()},
        )


def fuzzed(days: int, *, shortest: int, longest: int, seed: str) -> int:
    """An interval near `days`, so that cards learned together do not always come up together.

    The range is Anki's, within shortest…longest (`longest` wins); the seeds are spread evenly over it, and
    each always finds the same place. For one seed and the same limits, a longer interval never comes out
    shorter.
    """
    shortest = min(shortest, longest)
    days = min(max(days, shortest), longest)
    reach = 0.0
    if days >= _FUZZ[0][0]:
        reach = 1 + sum(share * max(min(days, end) - start, 0) for start, end, share in _FUZZ)
    low = max(math.floor(days - reach + 0.5), shortest)
    high = min(math.floor(days + reach + 0.5), longest)
    # A hash, because what random.Random draws for a seed may change from one Python to another.
    draw = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest())
    return low + (draw * (high - low + 1) >> 64)


def _noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


def _number(value: JSON) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number.")
    return float(value)
