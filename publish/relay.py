"""The relay: moves the outbox into `publish_item`, and is the only one that numbers the feed.

Every batch first locks the one row of FeedState, in a statement of its own, and holds it to the commit. So batches
take turns, whoever sees seq n can see every lower one, and a relay that is killed leaves nothing behind.
"""

import uuid
from dataclasses import dataclass

from django.db import connection, transaction

# Waiters of the feed listen on this channel; one notification a batch.
CHANNEL = "publish_feed"


@dataclass(frozen=True)
class Batch:
    """One step of the relay: rows taken from the outbox, events published, the rest unchanged or superseded."""

    drained: int
    published: int
    unchanged: int
    last_seq: int


# The head of the feed after the lock was granted: a statement's snapshot is taken before it waits, so what the
# last holder of the lock committed is seen by the statements that follow, not by a join to this one.
_LOCK_FEED = "SELECT last_seq, system_identifier FROM publish_feed_state WHERE id = 1 FOR UPDATE"

_CREATE_FEED = """
INSERT INTO publish_feed_state (id, epoch, last_seq, tombstone_floor, system_identifier)
SELECT 1, %s, coalesce(max(seq), 0), 0, (SELECT system_identifier FROM pg_control_system()) FROM publish_item
ON CONFLICT DO NOTHING
"""

_BATCH_BOUNDS = "SELECT min(id), max(id) FROM (SELECT id FROM publish_outbox ORDER BY id LIMIT %s) AS batch"

# One statement, so that what is read is what is deleted. `newest` is narrow: payloads are read for winners only. The
# LATERAL probe stays an index scan at any number of items, where a join would turn into a scan of the table.
_DRAIN = """
WITH newest AS MATERIALIZED (
    SELECT DISTINCT ON (kind, source_id) id, kind, source_id
    FROM publish_outbox WHERE id BETWEEN %(low)s AND %(high)s
    ORDER BY kind, source_id, id DESC
), gone AS (
    DELETE FROM publish_outbox WHERE id BETWEEN %(low)s AND %(high)s RETURNING 1
), changed AS (
    SELECT outbox.*, row_number() OVER (ORDER BY outbox.id) AS place
    FROM newest
    JOIN publish_outbox AS outbox ON outbox.id = newest.id
    LEFT JOIN LATERAL (
        SELECT item.outbox_id, item.payload_hash, item.deleted, item.schema_version, item.learner_id
        FROM publish_item AS item
        WHERE item.kind = newest.kind AND item.source_id = newest.source_id LIMIT 1
    ) AS published ON true
    WHERE CASE
        WHEN published.outbox_id IS NULL THEN NOT outbox.deleted
        ELSE published.outbox_id < outbox.id
            AND (published.payload_hash, published.deleted, published.schema_version, published.learner_id)
                IS DISTINCT FROM (outbox.payload_hash, outbox.deleted, outbox.schema_version, outbox.learner_id)
    END
), entered AS (
    INSERT INTO publish_item AS item
        (kind, source_id, learner_id, payload, payload_hash, schema_version, deleted, seq, outbox_id, published_at)
    SELECT kind, source_id, learner_id, payload, payload_hash, schema_version, deleted,
           %(last_seq)s + place, id, statement_timestamp()
    FROM changed
    ON CONFLICT (kind, source_id) DO UPDATE SET
        learner_id = excluded.learner_id, payload = excluded.payload, payload_hash = excluded.payload_hash,
        schema_version = excluded.schema_version, deleted = excluded.deleted, seq = excluded.seq,
        outbox_id = excluded.outbox_id, published_at = excluded.published_at
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM entered)
"""

_ADVANCE = "UPDATE publish_feed_state SET last_seq = %s WHERE id = 1"


def relay_batch(limit: int = 5000) -> Batch:
    """Drain at most about `limit` outbox rows, from the lowest id on, in one transaction of its own.

    Rows that commit between the two looks at the outbox may come on top. `drained == 0` means that the outbox is
    empty. Raises RuntimeError inside a transaction: a batch must be visible to all as soon as it returns.
    """
    if limit < 1:
        raise ValueError(f"A batch has at least 1 row, not {limit}.")
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        last_seq = lock_feed()
        cursor.execute(_BATCH_BOUNDS, [limit])
        low, high = cursor.fetchone()
        if low is None:
            return Batch(drained=0, published=0, unchanged=0, last_seq=last_seq)
        cursor.execute(_DRAIN, {"low": low, "high": high, "last_seq": last_seq})
        drained, published = cursor.fetchone()
        if published:
            last_seq += published
            cursor.execute(_ADVANCE, [last_seq])
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(last_seq)])
    return Batch(drained=drained, published=published, unchanged=drained - published, last_seq=last_seq)


def outbox_is_empty() -> bool:
    """One index probe, without the feed's lock: what an idle relay asks."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT NOT EXISTS (SELECT 1 FROM publish_outbox)")
        return bool(cursor.fetchone()[0])


def lock_feed() -> int:
    """Lock the feed until the transaction ends and return its head. Begins a feed where there is none."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_FEED)
        row = cursor.fetchone()
        if row is None:
            cursor.execute(_CREATE_FEED, [uuid.uuid4()])
            cursor.execute(_LOCK_FEED)
            row = cursor.fetchone()
    return int(row[0])
