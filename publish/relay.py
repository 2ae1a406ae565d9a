"""The relay: moves the outbox into `publish_item`, and is the only one that numbers the feed.

Every batch first locks the one row of FeedState, in a statement of its own, and holds it to the commit. So batches
take turns, whoever sees seq n can see every lower one, and a relay that is killed leaves nothing behind.
"""

import logging
import uuid
from dataclasses import dataclass

from django.db import DataError, IntegrityError, InternalError, OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

logger = logging.getLogger(__name__)

# Waiters of the feed listen on this channel; one notification a batch.
CHANNEL = "publish_feed"

SMALLEST_BATCH = 500
STEPS_BETWEEN_LOOKS_BEHIND = 100


class FeedLocked(Exception):
    """The feed's lock was not free in time: some session holds it, or hangs with it."""


@dataclass(frozen=True)
class Batch:
    """One step of the relay: rows taken from the outbox, events published, the rest unchanged or superseded."""

    drained: int
    published: int
    unchanged: int
    last_seq: int


@dataclass(frozen=True)
class _Bounds:
    """The ids of one batch, the oldest transaction that was running when they were read, and the batch's own."""

    low: int | None
    high: int | None
    oldest_running: int
    own_transaction: int


# A statement's snapshot is taken before it waits for a lock. So what the last holder of this lock committed is seen by
# the statements that follow, and would not be by a join to this one.
_LOCK_FEED = """
SELECT last_seq, system_identifier = (SELECT system_identifier FROM pg_control_system())
FROM publish_feed_state WHERE id = 1 FOR UPDATE
"""

_CREATE_FEED = """
INSERT INTO publish_feed_state (id, epoch, last_seq, tombstone_floor, system_identifier)
SELECT 1, %s, coalesce(max(seq), 0), 0, (SELECT system_identifier FROM pg_control_system()) FROM publish_item
ON CONFLICT DO NOTHING
"""

# The outbox must go on above every id that was applied: a restored sequence would make new rows look old.
_BEGIN_EPOCH = """
UPDATE publish_feed_state
SET epoch = %s, system_identifier = (SELECT system_identifier FROM pg_control_system()) WHERE id = 1
"""
# Where subscribers stood in the other history says nothing in this one: all of it is before them.
_FORGET_POSITIONS = "UPDATE publish_subscriber SET last_seq = 0, scan_head = 0"
_OUTBOX_SEQUENCE_IS_BEHIND = """
SELECT max(outbox_id) > coalesce(pg_sequence_last_value(pg_get_serial_sequence('publish_outbox', 'id')::regclass), 0)
FROM publish_item
"""
# Nobody draws an id meanwhile: setval would give out again what was drawn between its look and its write.
_LOCK_OUTBOX = "LOCK TABLE publish_outbox IN SHARE MODE"
_RAISE_OUTBOX_SEQUENCE = """
SELECT setval(pg_get_serial_sequence('publish_outbox', 'id'), greatest(
    nextval(pg_get_serial_sequence('publish_outbox', 'id')), (SELECT max(outbox_id) FROM publish_item)
))
"""

_BATCH_BOUNDS = """
SELECT min(id), max(id), pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
       pg_current_xact_id()::text::bigint
FROM (SELECT id FROM publish_outbox WHERE id >= %s ORDER BY id LIMIT %s) AS batch
"""

# One statement, so that what is read is what is deleted. `newest` is narrow: payloads are read for winners only. The
# LATERAL probe stays an index scan at any number of items, where a join would turn into a scan of the table.
_DRAIN = """
WITH newest AS MATERIALIZED (
    SELECT DISTINCT ON (kind, source_id) id, kind, source_id
    FROM publish_outbox WHERE id BETWEEN %(low)s AND %(high)s
    ORDER BY kind, source_id, id DESC
), gone AS (
    DELETE FROM publish_outbox WHERE id BETWEEN %(low)s AND %(high)s RETURNING 1
), mended AS (
    DELETE FROM publish_set_aside AS held USING newest
    WHERE held.kind = newest.kind AND held.source_id = newest.source_id
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

_SET_ASIDE = """
WITH gone AS (DELETE FROM publish_outbox WHERE id = %s RETURNING id, kind, source_id, learner_id)
INSERT INTO publish_set_aside AS held (kind, source_id, learner_id, outbox_id, error)
SELECT kind, source_id, learner_id, id, %s FROM gone
ON CONFLICT (kind, source_id) DO UPDATE
SET outbox_id = excluded.outbox_id, error = excluded.error, set_aside_at = statement_timestamp()
RETURNING held.kind, held.source_id
"""

# What a row can be guilty of. Anything else is the database's trouble, or ours.
_POISON = (DataError, IntegrityError, InternalError)


def relay_batch(limit: int = 5000) -> Batch:
    """Drain at most about `limit` outbox rows, from the lowest id on, in one transaction of its own.

    Rows that commit between the two looks at the outbox may come on top. `drained == 0` means that the outbox is
    empty. Raises RuntimeError inside a transaction: a batch must be visible to all as soon as it returns.
    """
    batch, _bounds = _relay(limit, start=0)
    return batch


class Relay:
    """A relay at work: adapts its batches to the backlog, keeps its place, and sets poison aside.

    `step()` is one batch. What is kept between steps is only a shortcut; losing it costs nothing but time.
    """

    def __init__(self, largest_batch: int = 5000) -> None:
        self._largest = largest_batch
        self._smallest = min(SMALLEST_BATCH, largest_batch)
        self._limit = self._smallest
        # No row below `_start` is left or can still appear. While a long transaction keeps deleted rows from being
        # vacuumed, looking from the beginning would walk over all of them each time.
        self._start = 0
        # A later start, and the transaction number below which all must have ended before it may be taken; 0: not known
        # until the next batch.
        self._next_start = 0
        self._barrier = 0
        self._steps = 0
        self._idle_looks = 0

    def step(self) -> Batch:
        """Drain one batch. `drained == 0`: the outbox is empty, looked at from its beginning.

        A row that PostgreSQL refuses to publish is found by halving the batch, and set aside. Raises OperationalError
        and InterfaceError where the database is away.
        """
        # A bare INSERT draws its id just before its transaction gets a number, and so could be missed below the start.
        self._steps += 1
        if self._steps % STEPS_BETWEEN_LOOKS_BEHIND == 0:
            self._start = self._next_start = 0
        while True:
            try:
                batch, bounds = _relay(self._limit, start=self._start)
            except _POISON:
                self._start = self._next_start = 0
                if self._limit == 1:
                    return _relay_one_or_set_it_aside()
                self._limit = max(self._limit // 2, 1)
                continue
            if bounds.high is None and self._start:
                self._start = self._next_start = 0
                continue
            self._keep_place(bounds)
            # A full batch means a backlog, where throughput counts; otherwise small ones arrive sooner.
            backlog = batch.drained >= self._limit
            self._limit = min(self._limit * 2, self._largest) if backlog else self._smallest
            return batch

    def is_idle(self) -> bool:
        """Whether there is nothing to do: asked from the kept place on, and now and then from the beginning."""
        self._idle_looks += 1
        behind = self._idle_looks % STEPS_BETWEEN_LOOKS_BEHIND == 0
        return outbox_is_empty(start=0 if behind else self._start)

    def _keep_place(self, bounds: _Bounds) -> None:
        """Move the start up, once no transaction that could fill in an id below it is still running.

        Whoever locks a source row has a transaction number before it draws an id. So whoever held an unseen id up to
        `high` was running when these bounds were read. Once all of those have ended, a batch that began at the old
        start and came past `_next_start` has left nothing behind. (A bare INSERT is the exception: see step().)

        All of those have lower numbers than our next batch, which draws its own after that. The end of the snapshot
        (pg_snapshot_xmax) would not do: it lies behind the last transaction that has ended, not the last that began.
        """
        if bounds.high is None:
            return
        if self._next_start and not self._barrier:
            self._barrier = bounds.own_transaction
        if self._next_start and bounds.oldest_running >= self._barrier and bounds.high >= self._next_start:
            self._start, self._next_start = self._next_start, 0
        if not self._next_start:
            self._next_start, self._barrier = bounds.high + 1, 0


def outbox_is_empty(*, start: int = 0) -> bool:
    """Whether no row from `start` on waits: one index probe, without the feed's lock."""
    with connection.cursor() as cursor:
        # By the lowest id, hence by the index: NOT EXISTS would walk over drained rows that are not vacuumed yet.
        cursor.execute("SELECT min(id) IS NULL FROM publish_outbox WHERE id >= %s", [start])
        return bool(cursor.fetchone()[0])


def lock_feed() -> int:
    """Lock the feed until the transaction ends and return its head.

    Begins a feed where there is none, and a new epoch where the database is a restored copy of another cluster's.
    Raises FeedLocked where the session limits its waits (lock_timeout).
    """
    with connection.cursor() as cursor:
        try:
            cursor.execute(_LOCK_FEED)
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable):
                raise FeedLocked("Another database session holds the feed's lock.") from error
            raise
        row = cursor.fetchone()
        if row is None:
            cursor.execute(_CREATE_FEED, [uuid.uuid4()])
            cursor.execute(_LOCK_FEED)
            row = cursor.fetchone()
        last_seq, same_cluster = row
        if not same_cluster:
            logger.warning("This database is a copy made elsewhere: its feed begins a new epoch.")
            begin_epoch()
    return int(last_seq)


def begin_epoch() -> uuid.UUID:
    """Make the feed another one, whose consumers start over. Unsafe alone: the caller holds the feed's lock."""
    epoch = uuid.uuid4()
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN_EPOCH, [epoch])
        cursor.execute(_FORGET_POSITIONS)
        cursor.execute(_OUTBOX_SEQUENCE_IS_BEHIND)
        if cursor.fetchone()[0]:
            cursor.execute(_LOCK_OUTBOX)
            cursor.execute(_RAISE_OUTBOX_SEQUENCE)
    return epoch


def _relay(limit: int, *, start: int) -> tuple[Batch, _Bounds]:
    if limit < 1:
        raise ValueError(f"A batch has at least 1 row, not {limit}.")
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        last_seq = lock_feed()
        cursor.execute(_BATCH_BOUNDS, [start, limit])
        bounds = _Bounds(*cursor.fetchone())
        if bounds.low is None:
            return Batch(drained=0, published=0, unchanged=0, last_seq=last_seq), bounds
        return _drain(bounds.low, bounds.high, last_seq), bounds


def _relay_one_or_set_it_aside() -> Batch:
    """The lowest row: publish it, or take it out of everybody's way. One transaction, so that it is surely that row."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        last_seq = lock_feed()
        cursor.execute(_BATCH_BOUNDS, [0, 1])
        bounds = _Bounds(*cursor.fetchone())
        if bounds.low is None:
            return Batch(drained=0, published=0, unchanged=0, last_seq=last_seq)
        try:
            with transaction.atomic():
                return _drain(bounds.low, bounds.low, last_seq)
        except _POISON as error:
            cursor.execute(_SET_ASIDE, [bounds.low, str(error)])
            kind, source_id = cursor.fetchone()
            logger.error("Relay: %s %s cannot be published and was set aside: %s", kind, source_id, error)
        return Batch(drained=1, published=0, unchanged=1, last_seq=last_seq)


def _drain(low: int, high: int | None, last_seq: int) -> Batch:
    """Publish and delete the rows from `low` to `high`. Unsafe alone: the caller holds the feed's lock."""
    with connection.cursor() as cursor:
        cursor.execute(_DRAIN, {"low": low, "high": high, "last_seq": last_seq})
        drained, published = cursor.fetchone()
        if published:
            last_seq += published
            cursor.execute(_ADVANCE, [last_seq])
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(last_seq)])
    return Batch(drained=drained, published=published, unchanged=drained - published, last_seq=last_seq)
