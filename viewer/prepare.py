"""Bring the database to this version's tables. Both commands do so first, maybe at the same moment."""

import fcntl

from django.conf import settings
from django.core.management import call_command


def prepare_database() -> None:
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    with (settings.DATA_DIR / "viewer-migrate.lock").open("w") as lock:
        # Also keeps two first connections from switching a new SQLite file to WAL at once, which no busy
        # timeout covers.
        fcntl.flock(lock, fcntl.LOCK_EX)
        call_command("migrate", interactive=False, verbosity=0)
