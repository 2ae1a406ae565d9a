"""The app's side of the embedded server: have it running, and keep it so while this process lives.

All errors are sentences in django.db.OperationalError (it did not start) or ImproperlyConfigured (it cannot).
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import OperationalError
from psycopg.conninfo import make_conninfo

from . import directory as directories
from . import keeper, wheel
from .layout import OWNER, PORT, Layout
from .postmaster import read_pid_file

GRACE_SECONDS = 1.5  # how long the server outlives its last user
TIMEOUT_SECONDS = 120.0  # includes initdb on a slow disk, and recovery after a power cut
POLL_SECONDS = 0.02
LOG_LINES = 20
PROJECT = Path(__file__).resolve().parents[2]


class Address(NamedTuple):
    host: str  # directory of the socket
    port: int
    user: str


class _Use(NamedTuple):
    lock: int  # descriptor that holds users.lock shared; the kernel closes it, however this process ends
    layout: Layout
    address: Address


_uses: dict[Path, _Use] = {}
_starting = threading.Lock()


def _forget_starting_threads() -> None:
    global _starting  # noqa: PLW0603 (a thread that held it does not exist in the forked child)
    _starting = threading.Lock()


os.register_at_fork(after_in_child=_forget_starting_threads)


def ensure_running(
    directory: Path | str,
    parameters: Mapping[str, object] | None = None,
    *,
    database: str = OWNER,
    ask_server: bool = False,
) -> Address:
    """Return the address of a server that accepts connections, starting it if need be.

    From the first call on, this process is a user of the server until it ends. Later calls cost some system
    calls while the server is well, and wait while it recovers; `ask_server` also sees what only a connection
    can see.

    `parameters` are PostgreSQL settings, taken when the server starts. `database` is created together with
    the cluster and ignored once that exists.

    Raises ImproperlyConfigured or OperationalError.
    """
    key = Path(directory).absolute()
    use = _uses.get(key)
    if use and not ask_server and _is_well(use):
        return use.address
    with _starting:
        return _start(key, parameters or {}, database)


def stop(directory: Path | str) -> None:
    """Stop the server of a directory and return when it is stopped. Apps that still use it start it again."""
    layout = Layout(Path(directory).resolve())
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while layout.keeper_lock.exists():
        if (lock := _lock(layout.keeper_lock, fcntl.LOCK_EX)) is not None:
            os.close(lock)
            return
        with contextlib.suppress(ValueError, OSError):
            pid = int(layout.keeper_lock.read_text())
            if os.fsencode(layout.directory) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGTERM)
        _wait(layout, deadline, "has not stopped")


def outlive_exec() -> None:
    """Let a program that replaces this process stay a user of the servers that this process uses."""
    for use in _uses.values():
        os.set_inheritable(use.lock, True)


def _is_well(use: _Use) -> bool:
    try:
        if not os.path.samestat(os.fstat(use.lock), os.stat(use.layout.users_lock)):  # noqa: PTH116 (faster)
            return False
        file = read_pid_file(use.layout.data)
        if not file or not file.ready:
            return False
        os.kill(file.pid, 0)
        lock = _lock(use.layout.keeper_lock, fcntl.LOCK_EX)
    except OSError:
        return False
    if lock is None:
        return True
    os.close(lock)
    return False


def _start(key: Path, parameters: Mapping[str, object], database: str) -> Address:
    if sys.platform != "linux":
        raise ImproperlyConfigured(
            "The embedded PostgreSQL runs on Linux only. Set DATABASE_URL to a PostgreSQL server of your own."
        )
    layout = Layout(key.resolve())
    try:
        return _start_in(layout, key, parameters, database)
    except OSError as error:  # such as a file system that is read-only or full
        raise directories.unusable(layout.directory, error) from error


def _start_in(layout: Layout, key: Path, parameters: Mapping[str, object], database: str) -> Address:
    installation = wheel.installation()
    run_as = directories.prepare(layout, installation)
    host = str(directories.socket_directory(layout.directory))
    address = Address(host, PORT, OWNER)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    _use(key, layout, address, deadline)
    order = keeper.Order(
        lock=-1,
        programs=str(installation / "bin"),
        run_as=run_as,
        socket_directory=host,
        database=database,
        parameters={name: _setting(value) for name, value in parameters.items()},
        grace=GRACE_SECONDS,
    )
    log_size = None
    while True:
        lock = _lock(layout.keeper_lock, fcntl.LOCK_EX)
        if lock is not None:  # there is no keeper, and as long as this is open there will be no other
            try:
                if log_size is not None:
                    raise OperationalError(
                        f"The embedded PostgreSQL in {layout.directory} did not start. Mend what its log says, "
                        f"{directories.INSTEAD}. {_log_tail(layout, log_size)}"
                    )
                log_size = _start_keeper(layout, order._replace(lock=lock))
            finally:
                os.close(lock)
        elif (file := read_pid_file(layout.data)) and file.ready and _answers(address):
            return address
        _wait(layout, deadline, "is not ready")


def _use(key: Path, layout: Layout, address: Address, deadline: float) -> None:
    """Become a user. Waits while a keeper, having found no user, is about to end."""
    use = _uses.pop(key, None)
    if use:
        with contextlib.suppress(OSError):  # a daemon's start may have closed it
            if os.path.samestat(os.fstat(use.lock), layout.users_lock.stat()):
                _uses[key] = use._replace(layout=layout, address=address)
                return
    while (lock := _lock(layout.users_lock, fcntl.LOCK_SH)) is None:
        _wait(layout, deadline, "is still about to stop")
    _uses[key] = _Use(lock, layout, address)


def _wait(layout: Layout, deadline: float, state: str) -> None:
    if time.monotonic() > deadline:
        raise OperationalError(
            f"The embedded PostgreSQL in {layout.directory} {state} after {TIMEOUT_SECONDS:.0f} seconds. "
            f"{_log_tail(layout, 0)}"
        )
    time.sleep(POLL_SECONDS)


def _lock(path: Path, kind: int) -> int | None:
    """A descriptor that holds the lock, or None when somebody else does. Raises OSError."""
    descriptor = _open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _open(path: Path, flags: int) -> int:
    """Open or create a file that belongs to the directory's owner even when root creates it."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CREAT, 0o600)
        if os.geteuid() == directories.ROOT:
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor


def _start_keeper(layout: Layout, order: keeper.Order) -> int:
    """Start the keeper, which inherits the lock. Returns the size the log had before."""
    log = _open(layout.log, os.O_WRONLY | os.O_APPEND)
    try:
        log_size = os.fstat(log).st_size
        # The keeper outlives this app, so it gets no stdio of ours (`make test | tail` would wait for it) and
        # no environment but what Python may need to start. Without site (-S) it starts twice as fast.
        kept = ("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONHOME")
        subprocess.run(  # noqa: S603 (our own interpreter and module)
            [sys.executable, "-S", "-m", keeper.__name__, layout.directory, json.dumps(order._asdict())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=PROJECT,
            env={**{name: os.environ[name] for name in kept if name in os.environ}, "PYTHONUTF8": "1"},
            pass_fds=[order.lock],
            start_new_session=True,
            check=False,  # its log says why
        )
    finally:
        os.close(log)
    return log_size


def _answers(address: Address) -> bool:
    # an empty hostaddr, or PGHOSTADDR from the environment would win over the socket
    conninfo = make_conninfo("", **address._asdict(), hostaddr="", dbname="postgres", connect_timeout=5)
    return psycopg.pq.PGconn.ping(conninfo.encode()) == psycopg.pq.Ping.OK


def _log_tail(layout: Layout, offset: int) -> str:
    with layout.log.open("rb") as log:
        log.seek(offset if offset <= layout.log.stat().st_size else 0)
        lines = log.read().decode(errors="replace").splitlines()
    return "\n".join([f"Its log, {layout.log}, ends:", *(f"    {line}" for line in lines[-LOG_LINES:])])


def _setting(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
