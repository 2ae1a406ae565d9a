"""Where each subscriber stands: noted in memory, written now and then.

It is what the subscriber says itself with its cursor; and the head, once the page that ends there has been handed over.
Should that page have been lost, the cursor of the next request says so.
"""

import threading
import time
from datetime import UTC, datetime
from typing import Any

from publish.cursor import Cursor

SECONDS_BETWEEN_WRITES = 5.0

WRITE = """
UPDATE publish_subscriber AS subscriber
SET last_seq = noted.seq, scan_head = noted.scan_head, last_seen_at = noted.seen_at
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[]) AS noted(id, seq, scan_head, seen_at)
WHERE subscriber.id = noted.id AND (subscriber.last_seen_at IS NULL OR subscriber.last_seen_at < noted.seen_at)
"""


class Positions:
    """The last position of each subscriber since it was last written. One per process; threads may share it."""

    def __init__(self) -> None:
        self._noted: dict[int, tuple[int, int, datetime]] = {}
        self._lock = threading.Lock()
        self._taken_at = time.monotonic()

    def note(self, subscriber_id: int, cursor: Cursor | None) -> None:
        """The subscriber has everything up to this cursor; None: it begins."""
        seq, scan_head = (0, 0) if cursor is None else (cursor.seq, cursor.scan_head)
        with self._lock:
            self._noted[subscriber_id] = (seq, scan_head, datetime.now(UTC))

    @property
    def is_due(self) -> bool:
        """Whether it is time to write what was noted."""
        return bool(self._noted) and time.monotonic() - self._taken_at >= SECONDS_BETWEEN_WRITES

    def take(self) -> list[list[Any]]:
        """The parameters of WRITE for what was noted, which is then forgotten."""
        with self._lock:
            noted, self._noted = self._noted, {}
            self._taken_at = time.monotonic()
        return [
            list(noted),
            [seq for seq, _head, _at in noted.values()],
            [head for _seq, head, _at in noted.values()],
            [at for _seq, _head, at in noted.values()],
        ]


positions = Positions()
