"""The line of imports: whose turn it is, and the few processes that work it off.

The hub starts such a process itself, when an import waits and too few of these processes run, so that nobody has to run
another service. The process ends when the line is empty, and with the hub; an import that it was working on then waits
again, and goes on as soon as somebody opens its page. See docs/adr/0007.
"""

import fcntl
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from django.conf import settings

from memocards.admin.importing.uploads import Status, Upload, uploads
from memocards.importing.scratch import imports_directory

logger = logging.getLogger("memocards.importing")

# Processes at the same time. Each may take what work.LIMITS allow.
AT_ONCE: Final = 2
TO_DO: Final = {Status.WAITING, Status.ACCEPTED}
_PROGRAM: Final = (
    "import sys, django; django.setup();"
    " from memocards.admin.importing.work import main; sys.exit(main(int(sys.argv[1])))"
)


def ensure_worker() -> None:
    """Start a process that works the line off, if an import waits and another process is of use."""
    with _line():
        slot = _free_slot()
    if slot is None:
        return
    try:
        # The process inherits the lock of its slot, which is free again when the process has ended in whatever way.
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", _PROGRAM, str(os.getpid())],
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATA_DIR": str(settings.DATA_DIR)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[slot],
        )
    except OSError as error:
        logger.warning("Imports: no process could be started, trying again when somebody looks: %s.", error)
        return
    finally:
        os.close(slot)
    # Somebody must wait for a child process, or it stays as a zombie.
    threading.Thread(target=process.wait, daemon=True, name="import").start()


@contextmanager
def next_in_line() -> Iterator[Upload | None]:
    """The oldest import whose turn it is, locked; None if there is none."""
    with ExitStack() as stack:
        with _line():
            upload = next(iter(_in_turn()), None)
            if upload is not None and not stack.enter_context(upload.held()):
                upload = None
        yield upload


@contextmanager
def exclusively(upload: Upload) -> Iterator[bool]:
    """Keep everybody else from the import, for a change that takes a moment. False if a process works on it."""
    with _line(), upload.held() as held:
        yield held


def is_underway(upload: Upload) -> bool:
    """Whether a process works on the import."""
    with _line():
        return _is_held(upload)


def count_before(upload: Upload) -> int:
    """How many imports are to be read or stored before this one."""
    others = [other for other in uploads() if other.created < upload.created]
    return sum(other.state.status in TO_DO for other in others)


def _in_turn() -> list[Upload]:
    """The imports whose turn it is, the oldest first: of each user one at a time, so that nobody holds up others."""
    waiting, busy_users = _to_do()
    return [upload for upload in waiting if upload.plan.user_id not in busy_users]


def _to_do() -> tuple[list[Upload], set[int]]:
    """The imports to be read or stored, the oldest first, and the users of whose imports one is being worked on."""
    uploads_to_do = [upload for upload in uploads() if upload.state.status in TO_DO]
    return uploads_to_do, {upload.plan.user_id for upload in uploads_to_do if _is_held(upload)}


def _is_held(upload: Upload) -> bool:
    with upload.held() as free:
        return not free and upload.directory.exists()


@contextmanager
def _line() -> Iterator[None]:
    """Only one process at a time looks at the locks: to see whether a lock is free, it must be taken for a moment."""
    lock = os.open(imports_directory() / "line.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _free_slot() -> int | None:
    """A lock's descriptor: there are AT_ONCE of these locks, one for each process. None if enough processes run."""
    waiting, _busy_users = _to_do()
    of_use = min(AT_ONCE, len({upload.plan.user_id for upload in waiting}))
    free = [slot for number in range(AT_ONCE) if (slot := _locked_slot(number)) is not None]
    # Counted by slots: a process that was started a moment ago has a slot, but may not have taken an import yet.
    slot = free.pop(0) if AT_ONCE - len(free) < of_use else None
    for unused in free:
        os.close(unused)
    return slot


def _locked_slot(number: int) -> int | None:
    slot = os.open(imports_directory() / f"slot-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(slot)
        return None
    return slot
