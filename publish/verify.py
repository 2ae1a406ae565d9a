"""Is what the feed shows what the sources say? Compared in PostgreSQL, page by page, all pages in one snapshot.

What waits in the outbox is taken as published already: it is on its way. What remains is drift, from whoever wrote
past the services.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from django.db import connection, transaction
from django.db.models import Q

from kit.transactions import in_transaction
from publish.kinds import CATALOGUE, PublishedKind
from publish.services import SOURCE_COLUMNS, enqueue_present_state, source_statement

PAGE_ROWS = 20_000


class Problem(StrEnum):
    """How a published row can differ from its source."""

    MISSING = "missing"
    STALE = "stale"
    SHOULD_BE_TOMBSTONE = "should be a tombstone"
    WITHOUT_SOURCE = "without a source"


@dataclass(frozen=True)
class Drift:
    """One key whose published state is wrong, and will stay so unless it is repaired."""

    kind: str
    source_id: int
    problem: Problem


@dataclass(frozen=True)
class Compared:
    """One page: how many keys were looked at, how many are on their way through the outbox, and what drifted."""

    rows: int
    pending: int
    drift: list[Drift]
    last_id: int


# `expected` is what the sources say, `shown` the newest of what is published and what is pending. A tombstone and
# nothing at all are the same to a consumer.
_COMPARE = """
WITH source({columns}) AS ({source}), bounds AS (
    SELECT CASE WHEN count(*) < %(limit)s THEN 9223372036854775807 ELSE max(source_id) END AS last_id FROM source
), published AS (
    SELECT item.* FROM publish_item AS item, bounds
    WHERE item.kind = %(kind)s AND item.source_id > %(after_id)s AND item.source_id <= bounds.last_id
), pending AS (
    SELECT DISTINCT ON (outbox.source_id) outbox.* FROM publish_outbox AS outbox, bounds
    WHERE outbox.kind = %(kind)s AND outbox.source_id > %(after_id)s AND outbox.source_id <= bounds.last_id
    ORDER BY outbox.source_id, outbox.id DESC
), judged AS (
    SELECT coalesce(source.source_id, published.source_id, pending.source_id) AS source_id,
        pending.id IS NOT NULL AS is_pending,
        source.source_id IS NOT NULL AS has_source,
        coalesce(NOT source.deleted, false) AS is_live,
        coalesce(NOT shown.deleted, false) AS is_shown,
        (sha256(convert_to(source.payload::text, 'UTF8')), %(schema_version)s, source.learner_id)
            IS DISTINCT FROM (shown.payload_hash, shown.schema_version::int, shown.learner_id) AS differs
    FROM source
    FULL JOIN published ON published.source_id = source.source_id
    FULL JOIN pending ON pending.source_id = coalesce(source.source_id, published.source_id)
    LEFT JOIN LATERAL (
        SELECT pending.deleted, pending.payload_hash, pending.schema_version, pending.learner_id
        WHERE pending.id > coalesce(published.outbox_id, 0)
        UNION ALL
        SELECT published.deleted, published.payload_hash, published.schema_version, published.learner_id
        WHERE published.id IS NOT NULL
        LIMIT 1
    ) AS shown ON true
), found AS (
    SELECT source_id, is_pending, CASE
        WHEN is_shown AND NOT has_source THEN 'without a source'
        WHEN is_shown AND NOT is_live THEN 'should be a tombstone'
        WHEN is_live AND NOT is_shown THEN 'missing'
        WHEN is_live AND differs THEN 'stale'
    END AS problem
    FROM judged
)
SELECT count(*), count(*) FILTER (WHERE is_pending AND problem IS NULL), (SELECT last_id FROM bounds),
    coalesce(array_agg(source_id ORDER BY source_id) FILTER (WHERE problem IS NOT NULL), '{{}}'),
    coalesce(array_agg(problem ORDER BY source_id) FILTER (WHERE problem IS NOT NULL), '{{}}')
FROM found
"""

_END = 2**63 - 1


@contextmanager
def one_snapshot() -> Iterator[None]:
    """All that is read inside is read as of one moment. Opens a transaction of its own, which only reads."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def compare(kind: PublishedKind, *, page_rows: int = PAGE_ROWS) -> Iterator[Compared]:
    """Compare a kind page by page, in order of source id. Call it inside one_snapshot()."""
    after_id = 0
    while after_id < _END:
        source, source_params = source_statement(kind, Q(pk__gt=after_id), limit=page_rows)
        names = {f"source_{place}": value for place, value in enumerate(source_params)}
        sql = _COMPARE.format(columns=SOURCE_COLUMNS, source=source % tuple(f"%({name})s" for name in names))
        with connection.cursor() as cursor:
            cursor.execute(
                sql,
                {
                    **names,
                    "kind": kind.name,
                    "after_id": after_id,
                    "limit": page_rows,
                    "schema_version": kind.schema_version,
                },
            )
            rows, pending, last_id, ids, problems = cursor.fetchone()
        yield Compared(
            rows=rows,
            pending=pending,
            drift=[Drift(kind.name, key, Problem(text)) for key, text in zip(ids, problems, strict=True)],
            last_id=last_id,
        )
        after_id = last_id


@in_transaction
def repair(drift: Iterable[Drift]) -> int:
    """Enqueue the present state of what drifted; tombstones where the source is gone. Returns the outbox rows."""
    keys: dict[str, list[int]] = defaultdict(list)
    for entry in drift:
        keys[entry.kind].append(entry.source_id)
    return sum(enqueue_present_state(kind, keys[kind]) for kind in CATALOGUE if kind in keys)
