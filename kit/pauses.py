"""How long to wait before what failed is tried again."""

import random


class GrowingPauses:
    """Seconds that double from `first` to `longest`, and never in step with others that lost the same thing."""

    def __init__(self, *, first: float, longest: float) -> None:
        self._first = self._next = first
        self._longest = longest

    def next(self) -> float:
        """Between a half of this turn's seconds and all of them."""
        seconds = self._next * random.uniform(0.5, 1)  # noqa: S311
        self._next = min(self._next * 2, self._longest)
        return seconds

    def reset(self) -> None:
        """What was tried has worked."""
        self._next = self._first
