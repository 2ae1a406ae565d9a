"""SIGTERM and Ctrl-C: whatever is being written is finished, and waiting ends at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """Raised inside a wait that a signal ended. Not an Exception: nothing on the way may swallow it."""


class Stop:
    """A plain boolean set by the handler. An Event would take a lock there, and could wait for itself."""

    def __init__(self) -> None:
        self.requested = False
        self._is_waiting = False

    def install(self) -> None:
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    @contextmanager
    def while_waiting(self) -> Iterator[None]:
        """Around a wait: raises Stopped as soon as a signal comes, or if one came before."""
        self._is_waiting = True
        try:
            if self.requested:
                raise Stopped
            yield
        finally:
            self._is_waiting = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            # The second signal means now. What is being written is rolled back, and fetched again next time.
            raise SystemExit(128 + number)
        self.requested = True
        if self._is_waiting:
            raise Stopped
