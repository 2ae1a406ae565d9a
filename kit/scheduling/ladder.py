"""Fixed steps of days."""

from datetime import datetime, timedelta

from .scheduler import LONGEST_DAYS, Answer, Outcome, Placement, Progress, Scheduler, Settings, gettext_noop

_CLIMB = {Outcome.HARD: 0, Outcome.GOOD: 1, Outcome.EASY: 2}


class Ladder(Scheduler):
    """Stages 0…n−1 wait `ladder_days[stage]` days each; stage n is terminal, due_at is None exactly there.

    A Leitner system in which `easy` skips a stage, and on first sight all of them. An answer before the due
    day moves the card only if it is `again`. `card_id` is not read, `scheduler_state` stays empty.

    Raises ValueError for a ladder without stages, or with a step that is not 1 to 36 500 days.
    """

    name = "ladder"
    title = gettext_noop("Ladder: fixed steps of days")
    version = "1"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if not settings.ladder_days or not all(1 <= days <= LONGEST_DAYS for days in settings.ladder_days):
            raise ValueError(f"A ladder is one or more steps of 1 to {LONGEST_DAYS} days.")
        self.terminal = len(settings.ladder_days)

    def describe_settings(self) -> str:
        return f"days={','.join(map(str, self.settings.ladder_days))}"

    def place(self, progress: Progress | None, answer: Answer, *, card_id: int) -> Placement:
        outcome, at = answer.outcome, answer.reviewed_at
        if progress is None:
            return self._on(self.terminal if outcome is Outcome.EASY else 0, at)
        if outcome is Outcome.AGAIN:
            return self._on(0, at)
        if progress.due_at is None or self.is_early(progress, at):
            return Placement(progress.due_at, progress.review_stage)
        return self._on(progress.review_stage + _CLIMB[outcome], at)

    def _on(self, stage: int, reviewed_at: datetime) -> Placement:
        if stage >= self.terminal:
            return Placement(None, self.terminal)
        day = self.clock.study_day(reviewed_at)
        days = min(self.settings.ladder_days[stage], self.longest_interval(day))
        return Placement(self.clock.start_of(day + timedelta(days=days)), stage)
