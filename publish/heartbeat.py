"""Whether a relay is at work: a relay beats when it could publish, and whoever must know looks here.

A relay that runs but waits for the feed's lock does not beat; it says who keeps it waiting.
"""

import os
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection

BEAT_SECONDS = 2.0
# Longer than a relay takes to start again, or to take over from another one that hangs.
SILENCE_SECONDS = 20.0

_WORKED = """
INSERT INTO publish_relay_heartbeat (id, worked_at, worker, hindrance) VALUES (1, clock_timestamp(), %(worker)s, '')
ON CONFLICT (id) DO UPDATE SET worked_at = excluded.worked_at, worker = excluded.worker, hindrance = ''
"""

# Another relay may be at work meanwhile: then nobody is hindered.
_HINDERED = """
INSERT INTO publish_relay_heartbeat AS beat (id, worker, hindrance) VALUES (1, %(worker)s, %(hindrance)s)
ON CONFLICT (id) DO UPDATE SET hindrance = excluded.hindrance
WHERE beat.worked_at IS NULL OR beat.worked_at < clock_timestamp() - %(beat)s * interval '1 second'
"""

# SELECT … FOR UPDATE locks the table, too, in a mode that hinders nobody. Whoever has held that longest is it.
_HOLDER = """
SELECT format('%s (%s, %s, since %s)', activity.pid, coalesce(nullif(application_name, ''), 'no name'), state,
              to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'))
FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
WHERE relation = 'publish_feed_state'::regclass AND granted AND mode <> 'AccessShareLock' AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 1
"""

# One probe of one row. In the feed's statement, too: by the database's clock, since a consumer has another.
SILENT_SECONDS = """
(SELECT extract(epoch FROM clock_timestamp() - worked_at)::float8 FROM publish_relay_heartbeat WHERE id = 1)
"""

_READ = """
SELECT worked_at, hindrance, worked_at >= clock_timestamp() - %(silence)s * interval '1 second'
FROM publish_relay_heartbeat WHERE id = 1
"""


@dataclass(frozen=True)
class Silence:
    """No relay publishes. `since`: when one last did, None: never; `hindrance`: the session that a relay waits for."""

    since: datetime | None
    hindrance: str


class Heart:
    """Of one running relay."""

    def __init__(self) -> None:
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._beat_at = -BEAT_SECONDS

    def beat(self) -> None:
        """The relay has just published, or found nothing to publish. Written every BEAT_SECONDS."""
        now = time.monotonic()
        if now - self._beat_at >= BEAT_SECONDS:
            _execute(_WORKED, worker=self._worker)
            self._beat_at = now

    def hindered(self) -> str:
        """The relay did not get the feed's lock. Notes and returns who holds it: `1234 (psql, idle in …, since …)`."""
        with connection.cursor() as cursor:
            cursor.execute(_HOLDER)
            row = cursor.fetchone()
        hindrance = row[0] if row else ""
        _execute(_HINDERED, worker=self._worker, hindrance=hindrance, beat=BEAT_SECONDS)
        return hindrance


def silence() -> Silence | None:
    """None while a relay publishes, and while publishing is switched off."""
    if not settings.PUBLISH_ENABLED:
        return None
    with connection.cursor() as cursor:
        cursor.execute(_READ, {"silence": SILENCE_SECONDS})
        worked_at, hindrance, is_recent = cursor.fetchone() or (None, "", False)
    return None if is_recent else Silence(worked_at, hindrance)


def _execute(statement: str, **parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
