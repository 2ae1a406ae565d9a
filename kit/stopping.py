"""Stopping a worker: the first SIGTERM or Ctrl-C asks it to finish its step, a second one forces it."""

import os
import signal
from types import FrameType


class StopRequest:
    """True once a stop was asked for. A plain boolean: a threading.Event can deadlock in a signal handler."""

    def __init__(self) -> None:
        self.requested = False

    def __bool__(self) -> bool:
        return self.requested

    def install(self) -> "StopRequest":
        """Take over SIGTERM and SIGINT. Call it in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            # By the signal's own default, so that the parent sees what ended the process.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.requested = True
