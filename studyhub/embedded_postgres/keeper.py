"""The keeper of one embedded server: starts it, restarts it when it dies, stops it when no app is left.

Started by `server.ensure_running` as ``python -m studyhub.embedded_postgres.keeper DIRECTORY ORDER``. It
outlives that app, so it has its own session, environment and log. It holds `keeper.lock` through a descriptor
inherited locked, so there is no moment at which two keepers can believe to be the one.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from . import cluster, postmaster
from .layout import Layout
from .programs import Programs

POLL_SECONDS = 0.5
START_POLL_SECONDS = 0.02
LINGERING_SECONDS = 15.0
LOG_BYTES = 5_000_000
WAITED_FOR = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class Order(NamedTuple):
    """What the app asks for; travels as JSON in the keeper's second argument."""

    lock: int  # descriptor of keeper.lock, locked
    programs: str
    run_as: tuple[int, int] | None
    socket_directory: str
    database: str
    parameters: dict[str, str]
    grace: float  # seconds without users before the server is stopped


class Keeper:
    def __init__(self, layout: Layout, order: Order) -> None:
        self.layout = layout
        self.order = order
        self.programs = Programs(order.programs, order.run_as)
        self.users = os.open(layout.users_lock, os.O_RDWR)
        self.idle_since: float | None = None

    def keep(self) -> int:
        """Returns the exit status: 0 after an orderly stop, 1 when the server does not start."""
        cluster.initialise(self.layout, self.programs, self.order.database, self.order.parameters)
        self.end_predecessor()
        log_size, server, ready = self.log_size(), self.start(), False
        begin = time.monotonic()
        poll = max(START_POLL_SECONDS, min(POLL_SECONDS, self.order.grace / 2))
        while True:
            received = signal.sigtimedwait(WAITED_FOR, poll if ready else START_POLL_SECONDS)
            if received and received.si_signo != signal.SIGCHLD:
                postmaster.stop(server)
                return 0
            if server.poll() is not None:
                if ready:
                    begin = time.monotonic()
                elif not self.waits_for_backends(log_size) or time.monotonic() - begin > LINGERING_SECONDS:
                    return 1
                else:
                    time.sleep(START_POLL_SECONDS * 5)
                self.end_predecessor()
                log_size, server, ready = self.log_size(), self.start(), False
            elif self.directory_is_gone():
                server.send_signal(postmaster.IMMEDIATE_SHUTDOWN)
                server.wait()
                return 0
            elif self.is_unused():
                postmaster.stop(server)
                return 0
            ready = ready or postmaster.read_pid_file(self.layout.data) == (server.pid, True)
            self.rotate_log()

    def start(self) -> subprocess.Popen[bytes]:
        return postmaster.start(self.programs, self.layout.data, self.order.socket_directory, self.order.parameters)

    def end_predecessor(self) -> None:
        postmaster.end_predecessor(self.layout.data, self.order.socket_directory)

    def is_unused(self) -> bool:
        """Whether nobody used the server for the grace period. If so, newcomers wait for this to end."""
        try:
            fcntl.flock(self.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.idle_since = None
            return False
        now = time.monotonic()
        self.idle_since = self.idle_since or now
        if now - self.idle_since >= self.order.grace:
            return True
        fcntl.flock(self.users, fcntl.LOCK_UN)
        return False

    def directory_is_gone(self) -> bool:
        try:
            return not os.path.samestat(os.fstat(self.order.lock), self.layout.keeper_lock.stat())
        except FileNotFoundError:
            return True

    def waits_for_backends(self, log_size: int) -> bool:
        """After kill -9 of the postmaster, its last backends need a moment before a new one may start."""
        with self.layout.log.open("rb") as log:
            log.seek(log_size)
            return b"pre-existing shared memory block" in log.read()

    def log_size(self) -> int:
        return os.fstat(2).st_size

    def rotate_log(self) -> None:
        if self.log_size() > LOG_BYTES:
            with contextlib.suppress(OSError):  # a full disk, which the next line may help
                self.layout.old_log.unlink(missing_ok=True)
                with self.layout.log.open("rb") as log, self.layout.old_log.open("xb") as old_log:
                    shutil.copyfileobj(log, old_log)
            os.ftruncate(2, 0)  # everybody writes in append mode, so they go on at the beginning


def main(directory: str, order: str) -> int:
    if os.fork():
        os._exit(0)  # the app waits for this one, and the keeper becomes nobody's zombie
    os.umask(0o077)
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_SETMASK, WAITED_FOR)
    keeper = Keeper(Layout(Path(directory)), Order(**json.loads(order)))
    os.ftruncate(keeper.order.lock, 0)
    os.pwrite(keeper.order.lock, f"{os.getpid()}\n".encode(), 0)
    try:
        return keeper.keep()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"The keeper of {directory} ends: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
