"""From the log of answers to progress."""

from collections.abc import Iterable

from .scheduler import Answer, Progress, Scheduler


def fold(answers: Iterable[Answer], scheduler: Scheduler, *, card_id: int) -> Progress | None:
    """Progress after all answers of one learner to one card, given in any order. None if there are none.

    They count in order of (reviewed_at, id). What was undone is left out by the caller.
    """
    progress: Progress | None = None
    for answer in sorted(answers, key=lambda answer: (answer.reviewed_at, answer.id)):
        progress = scheduler.step(progress, answer, card_id=card_id)
    return progress
