"""Bring the database to this version's tables. Both commands do so first, maybe at the same moment."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from django.conf import settings
from django.core.management import call_command

from viewer import storage

# Held, shared, by each process that uses the database for as long as it runs.
_users: list[IO[str]] = []


class ViewerRuns(Exception):
    """Another process of this viewer uses the database. `str()` says what to do."""


def use_database() -> None:
    """Prepare the database, and let nobody replace its file while this process runs. Raises Damaged, ViewerRuns."""
    settings.DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (settings.DATA_DIR / "viewer-users.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ViewerRuns("The viewer's database is being repaired. Start again when that is done.") from None
    _users.append(lock)
    prepare_database()


@contextmanager
def alone() -> Iterator[None]:
    """While no other process of this viewer uses the database. Raises ViewerRuns."""
    with (settings.DATA_DIR / "viewer-users.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ViewerRuns("This viewer is running. Stop `sync` and `runserver` first.") from None
        yield


def prepare_database() -> None:
    """Check the file, and bring it to this version's tables. Raises Damaged; then nothing was changed."""
    with (settings.DATA_DIR / "viewer-migrate.lock").open("w") as lock:
        # Also keeps two first connections from switching a new SQLite file to WAL at once, which no busy
        # timeout covers.
        fcntl.flock(lock, fcntl.LOCK_EX)
        storage.check()
        call_command("migrate", interactive=False, verbosity=0)
        storage.keep_private()
