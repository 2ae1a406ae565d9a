"""Stopping a worker: the first SIGTERM or Ctrl-C asks it to finish its step, and ends a wait at once; a second one
forces it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(BaseException):
    """Raised inside a wait that a signal ended. Not an Exception: nothing on the way may swallow it."""


# Between two tries to end a wait.
AGAIN_SECONDS = 0.5


class StopRequest:
    """True once a stop was asked for. Plain booleans: a threading.Event can deadlock in a signal handler."""

    def __init__(self) -> None:
        self.requested = False
        self._is_waiting = False

    def __bool__(self) -> bool:
        return self.requested

    def install(self) -> "StopRequest":
        """Take over SIGTERM and SIGINT. Call it in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        signal.signal(signal.SIGALRM, self._end_wait)
        return self

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
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            # By the signal's own default, so that the parent sees what ended the process. What is being written is
            # rolled back.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.requested = True
        if self._is_waiting:
            # A handler runs wherever the program is, in a destructor perhaps, where Python drops what is raised: the
            # alarm goes on raising until the wait has ended.
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
            raise Stopped

    def _end_wait(self, *_signal: Any) -> None:
        if self._is_waiting:
            raise Stopped
