"""The line of imports: whose turn it is, and the few processes that work it off.

The hub starts such a process itself, when there is something to do and not enough of them run already, so that nothing
else has to. It ends when the line is empty, and with the hub; what it was at then waits again, and goes on as soon as
somebody looks at it. See docs/adr/0007.
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

# Each may take what work.LIMITS allow.
AT_ONCE: Final = 2
TO_DO: Final = {Status.WAITING, Status.ACCEPTED}
_PROGRAM: Final = (
    "import sys, django; django.setup();"
    " from memocards.admin.importing.work import main; sys.exit(main(int(sys.argv[1])))"
)


def see_to_it() -> None:
    """Have the line worked off: start a process for it, where there is something to do, and not enough are at it."""
    with _line():
        slot = _free_slot()
    if slot is None:
        return
    try:
        # The slot is the process's: the lock is free again when it has ended, however that was.
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
    # So that its end is taken note of.
    threading.Thread(target=process.wait, daemon=True, name="import").start()


@contextmanager
def next_in_line() -> Iterator[Upload | None]:
    """The oldest import whose turn it is, held; None where there is none."""
    with ExitStack() as stack:
        with _line():
            upload = next(iter(_in_turn()), None)
            if upload is not None and not stack.enter_context(upload.held()):
                upload = None
        yield upload


@contextmanager
def alone_with(upload: Upload) -> Iterator[bool]:
    """False where somebody works on it. For a change that takes a moment."""
    with _line(), upload.held() as held:
        yield held


def is_underway(upload: Upload) -> bool:
    with _line():
        return _is_held(upload)


def before(upload: Upload) -> int:
    """How many others are to be done first."""
    others = [other for other in uploads() if other.created < upload.created]
    return sum(other.state.status in TO_DO for other in others)


def _in_turn() -> list[Upload]:
    """What is to be read or stored, the oldest first; one at a time of each user, so that none holds up the others."""
    waiting, busy = _to_do()
    return [upload for upload in waiting if upload.plan.user_id not in busy]


def _to_do() -> tuple[list[Upload], set[int]]:
    """What is to be read or stored, the oldest first, and the users of whom one is being worked on."""
    uploads_to_do = [upload for upload in uploads() if upload.state.status in TO_DO]
    return uploads_to_do, {upload.plan.user_id for upload in uploads_to_do if _is_held(upload)}


def _is_held(upload: Upload) -> bool:
    with upload.held() as free:
        return not free and upload.directory.exists()


@contextmanager
def _line() -> Iterator[None]:
    """One looks at the locks at a time, for looking takes them for a moment."""
    lock = os.open(imports_directory() / "line.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _free_slot() -> int | None:
    """The descriptor of a lock that only so many processes can hold; None where as many are at work as are of use."""
    to_do, _busy = _to_do()
    of_use = min(AT_ONCE, len({upload.plan.user_id for upload in to_do}))
    free = [slot for number in range(AT_ONCE) if (slot := _locked_slot(number)) is not None]
    # One that was started a moment ago has its slot, but nothing in hand yet.
    kept = free[:1] if AT_ONCE - len(free) < of_use else []
    for slot in free[len(kept) :]:
        os.close(slot)
    return kept[0] if kept else None


def _locked_slot(number: int) -> int | None:
    slot = os.open(imports_directory() / f"slot-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(slot)
        return None
    return slot
