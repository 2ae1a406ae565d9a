"""Commands whose output another program reads, and may stop reading, such as `head`."""

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator

# What a shell shows of a program that SIGPIPE ended.
READER_GONE = 128 + signal.SIGPIPE


@contextlib.contextmanager
def end_with_reader() -> Iterator[None]:
    """Around a command: when nobody reads its output any more, it ends where it is, without a word and with exit code
    141, as Unix's own tools do. What it has not committed is undone.

    SIGPIPE itself would do the same to a command that has lost its database or its hub.
    """
    try:
        try:
            yield
        except SystemExit:
            _flush()
            raise
        _flush()
    except BrokenPipeError:
        forsaken = [descriptor for descriptor in _descriptors() if _has_lost_its_reader(descriptor)]
        if not forsaken:
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in forsaken:
            # The interpreter flushes once more at its end, and would complain.
            os.dup2(nowhere, descriptor)
        raise SystemExit(READER_GONE) from None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _descriptors() -> list[int]:
    return [stream.fileno() for stream in (sys.stdout, sys.stderr)]


def _has_lost_its_reader(descriptor: int) -> bool:
    poll = select.poll()
    # Errors are told unasked.
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _descriptor, event in poll.poll(0))
