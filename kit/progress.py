"""Progress of long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

import time
from types import TracebackType
from typing import Any

from django.core.management.base import OutputWrapper
from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Use it as a context manager around the work; `advance()` after each piece."""

    def __init__(self, label: str, *, total: int | None, unit: str, stream: OutputWrapper) -> None:
        self._label, self._total, self._unit, self._stream = label, total, unit, stream
        self._done = 0
        self._started = self._last_line = time.monotonic()
        self._bar: Any = None
        if stream.isatty():
            # Django's wrapper would end each redrawing with a line break.
            screen = getattr(stream, "_out", stream)
            self._bar = tqdm(desc=label, total=total, unit=f" {unit}", file=screen, dynamic_ncols=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def rate(self) -> float:
        """Pieces a second so far."""
        return self._done / max(time.monotonic() - self._started, 1e-9)

    def advance(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._line()

    def _line(self) -> None:
        whole = ""
        if self._total:
            seconds_left = max(self._total - self._done, 0) / max(self.rate, 1e-9)
            whole = f" of {self._total:,} ({self._done / self._total:.0%}), about {seconds_left:,.0f} s left"
        self._stream.write(f"{self._label}: {self._done:,} {self._unit}{whole}, {self.rate:,.0f} a second\n")
        self._stream.flush()
