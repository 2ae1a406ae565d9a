"""News of the feed for all who wait in this process: one LISTEN connection wakes them."""

import asyncio
import contextlib
import logging
import random
from typing import Any

import psycopg
from asgiref.sync import sync_to_async
from django.db import connection

from publish.relay import CHANNEL

logger = logging.getLogger(__name__)

# How often a waiter looks by itself: what a lost notification, or a lost LISTEN connection, costs at most.
POLL_SECONDS = 5.0
POLL_SECONDS_WITHOUT_LISTENING = 0.5
_SECONDS_BETWEEN_CHECKS = 30
_LONGEST_PAUSE_SECONDS = 5.0


class News:
    """A count that the LISTEN connection raises, and a condition to wait on. Belongs to one event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = asyncio.Condition()
        self._listener: asyncio.Task[None] | None = None
        self._listening = False

    @property
    def count(self) -> int:
        """Take it before a look at the feed: wait() then returns at once for whatever came after that look."""
        return self._count

    async def wait(self, seen: int, seconds: float) -> None:
        """Return when there is news since `seen`, when it is time to look all the same, or after so many seconds."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        longest = POLL_SECONDS if self._listening else POLL_SECONDS_WITHOUT_LISTENING
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, longest)), self._changed:
                await self._changed.wait_for(lambda: self._count != seen)

    async def close(self) -> None:
        """Give up the LISTEN connection."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener

    async def _listen(self) -> None:
        """Listen for ever; after a lost connection listen on a new one, and have everyone look once."""
        pause = 0.1
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(**await connection_parameters()) as listening:
                    await listening.execute(f"LISTEN {CHANNEL}")
                    self._listening, pause = True, 0.1
                    await self._announce()
                    while True:
                        async for _notification in listening.notifies(timeout=_SECONDS_BETWEEN_CHECKS):
                            await self._announce()
                        # A connection that died without a word shows itself here.
                        await listening.execute("SELECT 1")
            except Exception as error:
                self._listening = False
                logger.warning("The feed's LISTEN connection is lost; waiting consumers poll meanwhile: %s", error)
                await self._announce()
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _announce(self) -> None:
        async with self._changed:
            self._count += 1
            self._changed.notify_all()


async def connection_parameters() -> dict[str, Any]:
    """Django's own, less what only its synchronous connections understand. May start the embedded server."""
    parameters = await sync_to_async(connection.get_connection_params, thread_sensitive=False)()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    return {**parameters, "autocommit": True}
