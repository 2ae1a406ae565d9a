"""What every scheduler has in common: what it reads, what it writes, and how it counts."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias
from uuid import UUID

from .clock import StudyClock

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

LONGEST_DAYS: Final = 36_500  # a hundred years, as in Anki and in the fsrs package
FOLD_KEY_LENGTH: Final = 200


def gettext_noop(text: str) -> str:
    """Marks a text for translation. Whoever shows it translates it: there is no Django here."""
    return text


class Outcome(StrEnum):
    """How well the learner knew it, worst first."""

    AGAIN = "again"
    HARD = "hard"
    GOOD = "good"
    EASY = "easy"


@dataclass(frozen=True)
class Answer:
    """One review as the fold reads it. `reviewed_at` is aware, and kept in UTC; `outcome` may come as text.

    Raises ValueError for a naive instant and for an outcome that there is not.
    """

    id: UUID
    outcome: Outcome
    reviewed_at: datetime

    def __post_init__(self) -> None:
        if self.reviewed_at.utcoffset() is None:
            raise ValueError("reviewed_at needs a time zone.")
        # Two times of one zone compare by their wall clocks, which go wrong in the hour that is shown twice.
        object.__setattr__(self, "reviewed_at", self.reviewed_at.astimezone(UTC))
        # From a database row it is a str, for which `is Outcome.AGAIN` would be false without a word.
        object.__setattr__(self, "outcome", Outcome(self.outcome))


@dataclass(frozen=True)
class Progress:
    """Where one learner stands with one card that was answered at least once. All instants are in UTC.

    `due_at` is the start of a study day, or None for a sentinel: known on first sight, or graduated.
    `lapse_count` counts as Anki does with steps off: every `again` except as a card's first answer, also
    one that came early, and one given to a sentinel.
    `scheduler_state` belongs to the scheduler: JSON that nobody else reads.
    """

    last_outcome: Outcome
    last_reviewed_at: datetime
    due_at: datetime | None
    review_stage: int
    review_count: int
    lapse_count: int
    scheduler_state: Mapping[str, JSON]


@dataclass(frozen=True)
class Settings:
    """All that a scheduler may read besides the answers and the card's id.

    `ladder_days`: one interval a stage, in days. `desired_retention`: the chance of recall, between 0 and 1,
    at which a card comes up. `exam_date`: the study day of the exam, or None.
    """

    clock: StudyClock
    ladder_days: tuple[int, ...]
    desired_retention: float
    exam_date: date | None


@dataclass(frozen=True)
class Memory:
    """What a model of memory knows of a card, as Anki keeps it: `stability` in days, `difficulty` from 1 to 10."""

    stability: float
    difficulty: float


@dataclass(frozen=True)
class Placement:
    """Where one answer puts a card: the part of `Progress` in which schedulers differ."""

    due_at: datetime | None
    stage: int
    state: Mapping[str, JSON] = field(default_factory=dict)


class Scheduler(ABC):
    """One way of spacing reviews. A subclass says where an answer puts a card; the counting is done here.

    `name` is stored with each topic; `title` is what people choose it by, in English, marked for translation. `version`
    changes whenever the same answers and settings come to fold differently.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str]

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = settings.clock

    @abstractmethod
    def place(self, progress: Progress | None, answer: Answer, *, card_id: int) -> Placement:
        """Where `answer` puts a card that stands at `progress` (None: a new card)."""

    @abstractmethod
    def describe_settings(self) -> str:
        """What `place` reads besides clock and exam date, such as `days=1,3,7`: a part of `fold_key`."""

    @classmethod
    def memory(cls, state: Mapping[str, JSON]) -> Memory | None:
        """What Anki would keep of a card with this `scheduler_state`; None where there is no model of memory."""
        return None

    @property
    def fold_key(self) -> str:
        """Scheduler, version and every setting that a fold reads, in at most 200 characters.

        Such as `ladder/1 Asia/Seoul@4 exam=none days=1,3,7,14,30`. One that is too long ends in its hash.
        """
        key = (
            f"{self.name}/{self.version} {self.clock.time_zone}@{self.clock.rollover_hour} "
            f"exam={self.settings.exam_date or 'none'} {self.describe_settings()}"
        )
        if len(key) <= FOLD_KEY_LENGTH:
            return key
        ending = "#" + hashlib.sha256(key.encode()).hexdigest()[:32]
        return key[: FOLD_KEY_LENGTH - len(ending)] + ending

    def step(self, progress: Progress | None, answer: Answer, *, card_id: int) -> Progress:
        """Progress after one more answer (`progress` None: to a new card).

        `progress` was made under this `fold_key`, by answers before this one. That is not checked: if in
        doubt, fold.
        """
        placement = self.place(progress, answer, card_id=card_id)
        lapsed = progress is not None and answer.outcome is Outcome.AGAIN
        return Progress(
            last_outcome=answer.outcome,
            last_reviewed_at=answer.reviewed_at,
            due_at=placement.due_at,
            review_stage=placement.stage,
            review_count=(progress.review_count if progress else 0) + 1,
            lapse_count=(progress.lapse_count if progress else 0) + lapsed,
            scheduler_state=placement.state,
        )

    def preview(self, progress: Progress | None, at: datetime, *, card_id: int) -> dict[Outcome, datetime | None]:
        """For each outcome, when the card is due if it is answered so at `at`. None: a sentinel."""
        return {
            outcome: self.step(progress, Answer(UUID(int=0), outcome, at), card_id=card_id).due_at
            for outcome in Outcome
        }

    def is_early(self, progress: Progress, at: datetime) -> bool:
        """Whether `at` lies before the study day on which the card is due. For a sentinel: never."""
        return progress.due_at is not None and at < progress.due_at

    def longest_interval(self, day: date) -> int:
        """The most days that a card answered on study day `day` may be put off.

        With an exam ahead, up to the day before it, so that every card still being learned is seen once more.
        From that day on there is no such limit, because no day fits in between. Sentinels have no interval
        and are left alone: the learner was told that these cards are done.
        """
        if self.settings.exam_date is not None:
            left = (self.settings.exam_date - day).days - 1
            if left > 0:
                return min(left, LONGEST_DAYS)
        return LONGEST_DAYS
