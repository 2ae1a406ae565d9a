"""The process in which a stranger's file is read: `python -m memocards.importing.reader_process`.

reading_apart.py starts it. It takes its orders as JSON from stdin, writes the rows into a spool and says on stdout, a
line of JSON at a time, how far it is and how it ended. It knows no database and no secret, and gives up what it may
take before it looks at the file: its parent says what a signal meant.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import Any, Final

import django
from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _

from memocards.importing.limits import Limit, Limits
from memocards.importing.reading import read
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import RowKind, Skipped
from memocards.importing.spool import SpoolWriter

_TELL_SECONDS: Final = 0.25
_PR_SET_PDEATHSIG: Final = 1
_NICENESS: Final = 10
_MOST_OPEN_FILES: Final = 64
# How zlib says that there was no memory left. Its other errors mean that the file is damaged.
_ZLIB_MEMORY: Final = "Error -4 "
# A process that does not heed the first signal is killed so many seconds of computing later.
_GRACE_SECONDS: Final = 2


class _Reached(Exception):
    def __init__(self, limit: Limit) -> None:
        self.limit = limit


def main() -> int:
    """Returns the exit code: 0 where the parent was told how reading ended; anything else is a fault of ours."""
    orders = json.load(sys.stdin)
    limits = Limits(**orders["limits"])
    _confine(limits, orders["parent"])
    try:
        settings.configure(USE_I18N=True, LOCALE_PATHS=[orders["locale"]], LANGUAGES=[(orders["language"], "")])
        django.setup()
        translation.activate(orders["language"])
        _tell(done=_spool(orders, limits))
    except UnreadableFile as refusal:
        if isinstance(refusal.__cause__, zlib.error) and _ZLIB_MEMORY in str(refusal.__cause__):
            _tell(limit=Limit.MEMORY)
        else:
            _tell(refused=[refusal.file, refusal.reason, refusal.place])
    except _Reached as reached:
        _tell(limit=reached.limit)
    except MemoryError:
        _tell(limit=Limit.MEMORY)
    return 0


def _spool(orders: dict[str, Any], limits: Limits) -> int:
    """Write the rows down. Returns how many items there are."""
    rows = read(
        Path(orders["source"]),
        orders["format"],
        kind=RowKind(orders["kind"]),
        encoding=orders["encoding"],
        html=orders["html"],
        answers_from=orders["answers_from"],
        name=orders["name"],
    )
    count = read_so_far = 0
    last_told = time.monotonic()
    try:
        with Path(orders["spool"]).open("wb") as file:
            writer = SpoolWriter(file, rows.name, rows.kind, rows.format)
            for item in rows:
                writer.add(item)
                count += 1
                read_so_far += not isinstance(item, Skipped)
                if limits.rows is not None and read_so_far > limits.rows:
                    raise _Reached(Limit.ROWS)
                if writer.size > limits.text:
                    raise _Reached(Limit.TEXT)
                if time.monotonic() - last_told > _TELL_SECONDS:
                    last_told = time.monotonic()
                    _tell(rows=read_so_far)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise _Reached(Limit.DISK) from error
        raise UnreadableFile(rows.name, _("The file cannot be read: %s.") % error.strerror) from error
    _tell(rows=read_so_far)
    return count


def _confine(limits: Limits, parent: int) -> None:
    """Take no more than this from here on, and end with the parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.nice(_NICENESS)
    # Whatever the process is at when its time is up, the kernel ends it by a signal.
    seconds = limits.processor_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + _GRACE_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.disk, limits.disk))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_OPEN_FILES, _MOST_OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
