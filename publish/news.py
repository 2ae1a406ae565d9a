"""News of the feed for this process: one LISTEN connection says when to look, and one look tells all who wait."""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from asgiref.sync import sync_to_async
from django.db import connection

from kit.pauses import GrowingPauses
from publish.heartbeat import SILENT_SECONDS
from publish.relay import CHANNEL

logger = logging.getLogger(__name__)

# How often it is time to look without a notification: what a lost one costs at most.
POLL_SECONDS = 5.0
APPLICATION_NAME = "feed news"
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 0.5
# Of a larger batch it is not said whom it concerns.
_MOST_CHANGES = 2000

_LOOK = f"""
SELECT state.system_identifier = (SELECT system_identifier FROM pg_control_system()),
       state.epoch, state.last_seq, state.tombstone_floor, {SILENT_SECONDS},
       changed.learner_id, changed.kind, changed.seq, coalesce(changed.count, 0)
FROM publish_feed_state AS state LEFT JOIN LATERAL (
    SELECT learner_id, kind, max(seq) AS seq, count(*) AS count
    FROM (SELECT learner_id, kind, seq FROM publish_item
          WHERE seq > %(seq)s AND seq > state.last_seq - %(most)s ORDER BY seq) AS latest
    GROUP BY learner_id, kind
) AS changed ON true
"""


@dataclass(frozen=True)
class Change:
    """Something of this kind and owner has changed, up to `seq`; `learner_id` None: it is everyone's."""

    learner_id: int | None
    kind: str
    seq: int


@dataclass(frozen=True)
class Look:
    """The feed's state, and what has changed in it after `changed_after`; all of one snapshot."""

    epoch: uuid.UUID
    head: int
    floor: int
    relay_silent_seconds: float | None
    changed_after: int
    changes: tuple[Change, ...]


async def look(database: psycopg.AsyncConnection[Any], after: int | None) -> Look | None:
    """Look at the feed, for those who have what is up to the seq `after`; None: nobody asks what has changed.

    Returns None for a feed that has not begun in this cluster.
    """
    rows = await (await database.execute(_LOOK, {"seq": after, "most": _MOST_CHANGES})).fetchall()
    if not rows or not rows[0][0]:
        return None
    _same_cluster, epoch, head, floor, silent_seconds = rows[0][:5]
    changes = tuple(Change(learner_id, kind, seq) for *_state, learner_id, kind, seq, count in rows if count)
    changed_after = head if after is None else max(after, head - _MOST_CHANGES)
    return Look(epoch, head, floor, silent_seconds, changed_after, changes)


async def follow(on_news: Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]]) -> None:
    """Listen for ever. `on_news` gets the connection after each notification, and whenever one may have been missed.

    A connection that is lost, there or here, is replaced.
    """
    pauses = GrowingPauses(first=_FIRST_PAUSE_SECONDS, longest=_LONGEST_PAUSE_SECONDS)
    while True:
        try:
            async with await connect() as database:
                await database.execute(f"LISTEN {CHANNEL}")
                while True:
                    await on_news(database)
                    pauses.reset()
                    # What comes between two turns of this loop is kept for the next one.
                    async for _notification in database.notifies(timeout=POLL_SECONDS, stop_after=1):
                        pass
        except Exception as error:
            logger.warning("The feed's LISTEN connection is lost; it is tried again: %s", error)
            await asyncio.sleep(pauses.next())


async def connect() -> psycopg.AsyncConnection[Any]:
    """A connection outside the pool, which whoever looks at pg_stat_activity can tell from the others."""
    parameters = {**await connection_parameters(), "application_name": APPLICATION_NAME}
    database = await psycopg.AsyncConnection.connect(**parameters)
    await prefer_indexes(database)
    return database


async def prefer_indexes(database: psycopg.AsyncConnection[Any]) -> None:
    """What the feed reads is a walk along an index, whatever stale statistics make of a table just filled."""
    await database.execute("SET enable_seqscan = off")
    await database.execute("SET enable_bitmapscan = off")
    await database.execute("SET jit = off")


async def connection_parameters() -> dict[str, Any]:
    """Django's own, less what only its synchronous connections understand. May start the embedded server."""
    parameters = await sync_to_async(connection.get_connection_params, thread_sensitive=False)()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    return {**parameters, "autocommit": True}
