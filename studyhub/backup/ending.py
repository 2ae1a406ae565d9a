"""How a backup or a restore ends that does not end well: in a sentence, with what it made removed."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error

from studyhub.backup.errors import BackupError

Handler = Callable[[int, FrameType | None], Any] | signal.Handlers


@contextmanager
def sentences(stopped: str) -> Iterator[None]:
    """Turn what goes wrong inside into a CommandError. SIGTERM and Ctrl-C end it in good order, with `stopped`."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise BackupError(stopped)

    try:
        with _on_stop(stop):
            yield
    except (BackupError, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from error
    except Error as error:
        raise CommandError(f"PostgreSQL says: {str(error).strip()}") from error


@contextmanager
def undisturbed() -> Iterator[None]:
    """SIGTERM and Ctrl-C are ignored inside: once that has begun, it is too late to stop."""
    with _on_stop(signal.SIG_IGN):
        yield


@contextmanager
def _on_stop(handler: Handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
