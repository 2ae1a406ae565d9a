"""How a backup or a restore ends that does not end well: in a sentence, with what it made removed."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error

from studyhub.backup.errors import BackupError


@contextmanager
def sentences(stopped: str) -> Iterator[None]:
    """Turn what goes wrong inside into a CommandError. SIGTERM and Ctrl-C end it in good order, with `stopped`."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise BackupError(stopped)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except (BackupError, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from error
    except Error as error:
        raise CommandError(f"PostgreSQL says: {str(error).strip()}") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
