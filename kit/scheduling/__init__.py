"""When a card is due again: pure functions of a learner's answers. No Django, no clock reads, no randomness.

A card's progress is always `fold(answers, scheduler)`. One `step` from stored progress gives the same, as
long as that progress was made under the scheduler's `fold_key` and the answer is later than all before it;
whoever is not sure of both folds again. All that a fold reads is an argument: the answers, the card's id, and
`Settings`.

Another scheduler is a subclass of `Scheduler` and a line in `SCHEDULERS`.
"""

from typing import Final

from .clock import StudyClock
from .folding import fold
from .fsrs import Fsrs
from .ladder import Ladder
from .scheduler import JSON, Answer, Outcome, Placement, Progress, Scheduler, Settings

__all__ = [
    "JSON",
    "SCHEDULERS",
    "Answer",
    "Fsrs",
    "Ladder",
    "Outcome",
    "Placement",
    "Progress",
    "Scheduler",
    "Settings",
    "StudyClock",
    "fold",
    "scheduler_for",
]

SCHEDULERS: Final[dict[str, type[Scheduler]]] = {
    Ladder.name: Ladder,
    Fsrs.name: Fsrs,
}


def scheduler_for(name: str, settings: Settings) -> Scheduler:
    """The scheduler called `name`. Raises ValueError for an unknown name, or a setting that it refuses."""
    try:
        scheduler = SCHEDULERS[name]
    except KeyError:
        raise ValueError(f"There is no scheduler {name!r}, only {', '.join(SCHEDULERS)}.") from None
    return scheduler(settings)
