"""Waiting for what another thread does: by looking, up to a deadline."""

import time
from collections.abc import Callable

from django.db import connection

DEADLINE_SECONDS = 20


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.005)


def wait_until_somebody_waits() -> None:
    """Until another connection to this database waits for a lock."""
    wait_until(_somebody_waits)


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        # Within a transaction this view would otherwise stand still.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock')"
        )
        return bool(cursor.fetchone()[0])
