"""The feed's pages: what every consumer reads. PostgreSQL writes the items' JSON; it is handed on as it stands.

Items, head, floor and epoch come from one statement, hence one snapshot: read apart, a page could skip a row.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from kit.problems import ProblemError
from publish.cursor import Cursor, CursorExpired
from publish.heartbeat import SILENT_SECONDS
from publish.kinds import get_kind
from publish.subscribers import Reader

DEFAULT_LIMIT = 1000
HIGHEST_LIMIT = 10_000
# A page ends early rather than grow beyond about this; a payload has at most 320 KiB.
PAGE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Page:
    """`items`: the JSON texts of `count` items, joined by the separator asked for; `cursor`: where to go on.

    `hub`: which hub says so, in every epoch of its feed; `reader`: to whom. `relay_silent_seconds`: how long ago a
    relay last published or found nothing to publish; None: never.
    """

    items: str
    count: int
    cursor: str
    head: int
    has_more: bool
    hub: uuid.UUID
    reader: Reader
    relay_silent_seconds: float | None


class InvalidParameter(ProblemError, ValueError):
    """A parameter of a feed request that cannot be accepted: its name, and what it may be."""

    status, slug = 422, "invalid"

    def __init__(self, name: str, sentence: str) -> None:
        self.name = name
        super().__init__(sentence)

    def particulars(self) -> dict[str, Any]:
        return {"errors": {self.name: [str(self)]}}


class FeedNotBegun(ProblemError):
    """There is no FeedState row: the relay has not run since the database was emptied."""

    status, slug = 503, "feed-not-begun"


_ITEM = """concat(
    '{"seq":', seq, ',"kind":"', kind, '","id":', source_id, ',"learner_id":', coalesce(learner_id::text, 'null'),
    ',"schema_version":', schema_version, ',"deleted":', CASE WHEN deleted THEN 'true' ELSE 'false' END,
    ',"hash":"', encode(payload_hash, 'hex'),
    '","published_at":"', to_char(published_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    '","payload":', payload, '}')"""

_SCAN = "(SELECT * FROM publish_item WHERE {where} AND seq > %(seq)s ORDER BY seq LIMIT %(limit)s + 1)"

_PAGE = """
WITH candidates AS (
    SELECT *, row_number() OVER by_seq AS place, sum(octet_length(payload::text)) OVER by_seq AS bytes
    FROM ({scans}) AS scanned WINDOW by_seq AS (ORDER BY seq)
), judged AS (
    SELECT *, place <= %(limit)s AND (place = 1 OR bytes <= %(page_bytes)s) AS fits
    FROM candidates WHERE place <= %(limit)s + 1
)
SELECT state.system_identifier = (SELECT system_identifier FROM pg_control_system()),
       state.hub, state.epoch, state.last_seq, state.tombstone_floor, {silent_seconds}, page.*
FROM publish_feed_state AS state, (
    SELECT count(*) FILTER (WHERE fits), max(seq) FILTER (WHERE fits),
           string_agg({item}, %(separator)s ORDER BY seq) FILTER (WHERE fits), coalesce(bool_or(NOT fits), false)
    FROM judged
) AS page
"""


def page(
    reader: Reader,
    *,
    after: str = "",
    kinds: Sequence[str] = (),
    limit: int = DEFAULT_LIMIT,
    separator: str = ",",
) -> Page:
    """The items after a cursor, oldest first, at most `limit`. Raises MalformedCursor, CursorExpired, UnknownKind."""
    cursor = Cursor.decode(after) if after else None
    sql, params = page_statement(reader, cursor=cursor, kinds=kinds, limit=limit, separator=separator)
    with connection.cursor() as database:
        database.execute(sql, params)
        return page_from_row(database.fetchone(), cursor, reader)


def page_statement(
    reader: Reader,
    *,
    cursor: Cursor | None,
    kinds: Sequence[str],
    limit: int,
    separator: str,
    page_bytes: int | None = None,
) -> tuple[str, dict[str, Any]]:
    """The statement for one page of about `page_bytes` at most. Its row goes to page_from_row(). Raises UnknownKind.

    Shared rows and the learner's own are two index scans, merged: other learners' rows cost nothing.
    """
    wanted = allowed_kinds(reader, kinds)
    by_kind = "" if wanted is None else "kind = ANY(%(kinds)s) AND "
    if reader.all_learners:
        scans = _SCAN.format(where=by_kind + "true")
    else:
        scans = _SCAN.format(where=by_kind + "learner_id IS NULL")
        if reader.learner_id is not None:
            scans += " UNION ALL " + _SCAN.format(where=by_kind + "learner_id = %(learner_id)s")
    return _PAGE.format(scans=scans, item=_ITEM, silent_seconds=SILENT_SECONDS), {
        "seq": 0 if cursor is None else cursor.seq,
        "limit": limit,
        "page_bytes": page_bytes or PAGE_BYTES,
        "separator": separator,
        "kinds": wanted,
        "learner_id": reader.learner_id,
    }


def page_from_row(row: Sequence[Any] | None, cursor: Cursor | None, reader: Reader) -> Page:
    """The page in the row that page_statement() gave. Raises CursorExpired where going on would skip something."""
    if row is None:
        raise FeedNotBegun("The feed has not begun yet. Start the relay: manage.py run_relay.")
    same_cluster, hub, epoch, head, floor, silent_seconds, count, highest, items, has_more = row
    if not same_cluster:
        raise FeedNotBegun("This database is a restored copy. Start the relay, which begins a new epoch of the feed.")
    if cursor is None:
        cursor = Cursor(epoch=epoch, seq=0, scan_head=head)
    elif cursor.epoch != epoch or cursor.seq > head:
        raise CursorExpired("This cursor belongs to another history of the feed. Start over without a cursor.")
    elif max(cursor.seq, cursor.scan_head) < floor:
        raise CursorExpired(
            "Tombstones after this cursor have been pruned, so deletions could be missed. Start over without a cursor."
        )
    # A page that is not full has seen all there is for this reader: it moves on to the head.
    reached = highest if has_more else head
    return Page(
        items=items or "",
        count=count,
        cursor=Cursor(epoch=epoch, seq=reached, scan_head=cursor.scan_head).encode(),
        head=head,
        has_more=has_more,
        hub=hub,
        reader=reader,
        relay_silent_seconds=silent_seconds,
    )


def allowed_kinds(reader: Reader, kinds: Sequence[str]) -> list[str] | None:
    """The kinds asked for that the reader may see; None = all of them. Raises UnknownKind."""
    asked = [get_kind(kind).name for kind in kinds]
    if not reader.kinds:
        return asked or None
    return [kind for kind in asked or reader.kinds if kind in reader.kinds]
