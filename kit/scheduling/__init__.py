"""When a card is due again: pure functions of a learner's answers. No Django, no clock reads, no randomness.

A card's progress is always `fold(answers, scheduler)`. One `step` from stored progress gives the same, as
long as that progress was made under the scheduler's `fold_key` and the answer is later than all before it;
whoever is not sure of both folds again. All that a fold reads is an argument: the answers, the card's id, and
`Settings`.

Another scheduler is a subclass of `Scheduler` in a file of its own, and its name in `SCHEDULERS`: what topics may
choose, the API's schema and the export to Anki follow from the class.
"""

from typing import Final

from .clock import StudyClock
from .folding import fold
from .fsrs import Fsrs
from .ladder import Ladder
from .scheduler import JSON, Answer, Memory, Outcome, Placement, Progress, Scheduler, Settings

__all__ = [
    "JSON",
    "SCHEDULERS",
    "Answer",
    "Fsrs",
    "Ladder",
    "Memory",
    "Outcome",
    "Placement",
    "Progress",
    "Scheduler",
    "Settings",
    "StudyClock",
    "fold",
    "scheduler_for",
]

# In the order in which they are offered; the first is the default.
SCHEDULERS: Final[dict[str, type[Scheduler]]] = {scheduler.name: scheduler for scheduler in (Ladder, Fsrs)}


def scheduler_for(name: str, settings: Settings) -> Scheduler:
    """The scheduler called `name`. Raises ValueError for an unknown name, or a setting that it refuses."""
    try:
        scheduler = SCHEDULERS[name]
    except KeyError:
        raise ValueError(f"There is no scheduler {name!r}, only {', '.join(SCHEDULERS)}.") from None
    return scheduler(settings)
