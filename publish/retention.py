"""The life of the feed: pruning old tombstones, and beginning another epoch. Both hold the relay's lock."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from publish.relay import begin_epoch, lock_feed


@dataclass(frozen=True)
class Pruned:
    """Tombstones deleted in one step, and the feed's tombstone floor after it."""

    deleted: int
    tombstone_floor: int


# The oldest first, so that the floor rises with what is gone. Whoever read no further than the floor, and began to
# read before it, must start over: the feed sees to that.
_PRUNE = """
WITH old AS (
    SELECT id FROM publish_item WHERE deleted AND published_at < %s ORDER BY seq LIMIT %s
), gone AS (
    DELETE FROM publish_item USING old WHERE publish_item.id = old.id RETURNING publish_item.seq
), counted AS (
    SELECT count(*) AS deleted, max(seq) AS highest FROM gone
)
UPDATE publish_feed_state SET tombstone_floor = greatest(tombstone_floor, counted.highest)
FROM counted RETURNING counted.deleted, tombstone_floor
"""


def prune_tombstones(*, published_before: datetime, limit: int = 5000) -> Pruned:
    """Delete at most `limit` tombstones, the oldest first, in one transaction. `deleted == 0` means the end."""
    if limit < 1:
        raise ValueError(f"A step deletes at least 1 row, not {limit}.")
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        lock_feed()
        cursor.execute(_PRUNE, [published_before, limit])
        deleted, floor = cursor.fetchone()
    return Pruned(deleted=deleted, tombstone_floor=floor)


def new_feed_epoch() -> uuid.UUID:
    """After a restore: make every consumer start over, and let the outbox go on above all ids that were applied."""
    with transaction.atomic(durable=True):
        lock_feed()
        return begin_epoch()
