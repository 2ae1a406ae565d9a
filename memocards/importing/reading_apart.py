"""read_apart(): a file is read in a process of its own, with limits, and its rows come back as a spool.

Whatever a file does to the process that reads it, the caller is safe: memory, disk and time that were taken come back
when that process ends.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from memocards.importing.limits import Limit, LimitReached, Limits
from memocards.importing.refusals import UnreadableFile
from memocards.importing.reports import printable
from memocards.importing.rows import RowKind
from memocards.importing.spool import Spool

_LOOK_SECONDS: Final = 0.5
_CHUNK: Final = 64 * 1024
# What the process needs of the environment: where programs and libraries are. The address of the database and the
# secret key are not among it.
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "VIRTUAL_ENV", "PYTHONPATH")


def read_apart(
    source: Path,
    spool: Path,
    *,
    limits: Limits,
    kind: RowKind,
    name: str,
    format: str | None = None,
    encoding: str | None = None,
    html: bool = False,
    answers_from: int = 1,
    on_read: Callable[[int], None] = lambda rows: None,
) -> Spool:
    """The file's rows, bad rows and what is skipped, as read() gives them; they are written to the file `spool`.

    `on_read` is called now and then with the number of rows so far. What is unpacked meanwhile lies in the spool's
    directory. Raises UnreadableFile, LimitReached. A spool is complete once this has returned.
    """
    orders = {
        "source": str(source.resolve()),
        "spool": str(spool.resolve()),
        "limits": asdict(limits),
        "kind": kind,
        "format": format or None,
        "encoding": encoding,
        "html": html,
        "answers_from": answers_from,
        "name": printable(name),
        "language": get_language() or settings.LANGUAGE_CODE,
        "locale": str(settings.LOCALE_PATHS[0]),
        "parent": os.getpid(),
    }
    spool.touch(mode=0o600)
    environment = {key: value for key, value in os.environ.items() if key in _ENVIRONMENT}
    process = subprocess.Popen(
        [sys.executable, "-m", "memocards.importing.reader_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=settings.BASE_DIR,
        env={**environment, "TMPDIR": str(spool.parent.resolve())},
        # Ctrl-C goes to the caller alone, which then ends the reader.
        start_new_session=True,
    )
    try:
        return _followed(process, orders, limits, on_read)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None  # noqa: S101
            pipe.close()


def _followed(
    process: "subprocess.Popen[bytes]",
    orders: dict[str, Any],
    limits: Limits,
    on_read: Callable[[int], None],
) -> Spool:
    assert process.stdin is not None  # noqa: S101
    with contextlib.suppress(BrokenPipeError):
        # If the process has ended already, its exit code says why: see below.
        process.stdin.write(json.dumps(orders).encode())
        process.stdin.close()
    for message in _messages(process, limits):
        if "rows" in message:
            on_read(message["rows"])
        elif "refused" in message:
            file, reason, place = message["refused"]
            raise UnreadableFile(file, reason, place=place)
        elif "limit" in message:
            raise LimitReached(Limit(message["limit"]), limits)
        else:
            return Spool.opened(Path(orders["spool"]), message["done"])
    code = process.wait()
    if code == -signal.SIGXCPU:
        raise LimitReached(Limit.PROCESSOR, limits)
    if code == -signal.SIGABRT:
        # Libraries in C abort the process when there is no memory left.
        raise LimitReached(Limit.MEMORY, limits)
    raise UnreadableFile(orders["name"], _("Reading the file broke off (%s).") % _ending(code))


def _messages(process: "subprocess.Popen[bytes]", limits: Limits) -> Iterator[dict[str, Any]]:
    """What the reader says, until it ends. Raises LimitReached when its time is over."""
    assert process.stdout is not None  # noqa: S101
    deadline = time.monotonic() + limits.seconds
    rest = b""
    while True:
        if time.monotonic() > deadline:
            raise LimitReached(Limit.CLOCK, limits)
        ready, _writable, _broken = select.select([process.stdout], [], [], _LOOK_SECONDS)
        if not ready:
            continue
        chunk = os.read(process.stdout.fileno(), _CHUNK)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(json.loads, lines)


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
