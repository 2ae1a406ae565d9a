"""GET /api/feed as a small ASGI application: a page, or a long poll that waits for news.

Django's own handler would hold a thread for each waiting consumer. Here a waiter is one parked coroutine that holds no
database connection: one LISTEN connection per process wakes them all, and polling stands in while that one is lost.
"""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import psycopg
from asgiref.sync import sync_to_async
from django.db import connection
from psycopg_pool import AsyncConnectionPool

from publish import feed, subscribers
from publish.cursor import Cursor
from publish.relay import CHANNEL

logger = logging.getLogger(__name__)

Scope = Mapping[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LONGEST_WAIT_SECONDS = 60.0
# How often a waiter looks by itself: the latest that news arrives if every notification is lost.
POLL_SECONDS = 5.0
_POOL_SIZE = 4
_POOL_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """A whole HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class MethodNotAllowed(Exception):
    """The feed is only read."""

    def __init__(self) -> None:
        super().__init__("The feed is read with GET.")


@dataclass(frozen=True)
class FeedRequest:
    """What a consumer asks for: a token, and the parameters of `GET /api/feed`. `wait` is in seconds."""

    token: str
    cursor: Cursor | None
    kinds: tuple[str, ...]
    limit: int
    wait: float

    @classmethod
    def parse(cls, scope: Scope) -> "FeedRequest":
        """Raises MethodNotAllowed, Unauthenticated, InvalidParameter, MalformedCursor."""
        if scope["method"] != "GET":
            raise MethodNotAllowed
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = {name: values[-1] for name, values in query.items()}
        after = given.get("after", "")
        return cls(
            token=_token(scope),
            cursor=Cursor.decode(after) if after else None,
            kinds=tuple(kind for kind in given.get("kinds", "").split(",") if kind),
            limit=int(_number(given, "limit", feed.DEFAULT_LIMIT, lowest=1, highest=feed.HIGHEST_LIMIT, whole=True)),
            wait=_number(given, "wait", 0, lowest=0, highest=LONGEST_WAIT_SECONDS, whole=False),
        )


class News:
    """Wakes the waiters: a count that one LISTEN connection raises, and a condition to wait on."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = asyncio.Condition()
        self._listener: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """Take it before a look at the feed: wait() then returns at once for whatever came after that look."""
        return self._count

    async def wait(self, seen: int, seconds: float) -> None:
        """Return when there is news since `seen`, or after so many seconds."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
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
                parameters = await _connection_parameters()
                async with await psycopg.AsyncConnection.connect(**parameters) as listening:
                    await listening.execute(f"LISTEN {CHANNEL}")
                    pause = 0.1
                    await self._announce()
                    while True:
                        async for _notification in listening.notifies(timeout=30):
                            await self._announce()
                        # A connection that died without a word shows itself here.
                        await listening.execute("SELECT 1")
            except (psycopg.Error, OSError) as error:
                logger.warning("The feed's LISTEN connection is lost; waiting consumers poll meanwhile: %s", error)
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
                pause = min(pause * 2, 5)

    async def _announce(self) -> None:
        async with self._changed:
            self._count += 1
            self._changed.notify_all()


class FeedApplication:
    """The ASGI application. `refuse` turns an error into an answer, or None for one that it does not know."""

    def __init__(self, refuse: Callable[[Exception], Answer | None]) -> None:
        self._refuse = refuse
        self._news: News | None = None
        self._pool: AsyncConnectionPool | None = None

    async def startup(self) -> None:
        """Make what belongs to this event loop. The first connection is opened by the first request."""
        self._news = News()
        self._pool = AsyncConnectionPool(
            kwargs=_connection_parameters,
            connection_class=psycopg.AsyncConnection,
            min_size=0,
            max_size=_POOL_SIZE,
            timeout=_POOL_TIMEOUT_SECONDS,
            check=AsyncConnectionPool.check_connection,
            open=False,
            name="feed",
        )
        await self._pool.open()

    async def shutdown(self) -> None:
        """Close every connection."""
        if self._news is not None and self._pool is not None:
            await self._news.close()
            await self._pool.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = _page_answer(await self._wait_for_page(FeedRequest.parse(scope)))
        except Exception as error:
            refusal = self._refuse(error)
            if refusal is None:
                raise
            answer = refusal
        await _send(send, answer)

    async def _wait_for_page(self, request: FeedRequest) -> feed.Page:
        """A page with items, or the empty one when the time is up."""
        if self._news is None:
            await self.startup()
        assert self._news is not None  # noqa: S101
        deadline = time.monotonic() + request.wait
        while True:
            seen = self._news.count
            page = await self._read(request)
            left = deadline - time.monotonic()
            if page.count or left <= 0:
                return page
            await self._news.wait(seen, min(left, POLL_SECONDS))

    async def _read(self, request: FeedRequest) -> feed.Page:
        """One look at the feed; the token is checked each time, so that a revoked one ends a wait."""
        assert self._pool is not None  # noqa: S101
        async with self._pool.connection() as database:
            row = await (await database.execute(*subscribers.lookup(request.token))).fetchone()
            reader = subscribers.reader_from(request.token, row)
            if reader is None:
                raise subscribers.Unauthenticated
            statement = feed.page_statement(
                reader, cursor=request.cursor, kinds=request.kinds, limit=request.limit, separator=","
            )
            row = await (await database.execute(*statement)).fetchone()
        return feed.page_from_row(row, request.cursor)


def page_body(page: feed.Page) -> bytes:
    """The JSON document of a page; its items are the text that PostgreSQL wrote."""
    rest = json.dumps({"cursor": page.cursor, "head": page.head, "has_more": page.has_more})
    return b'{"items": [' + page.items.encode() + b"], " + rest[1:].encode()


def _page_answer(page: feed.Page) -> Answer:
    return Answer(200, {"Content-Type": "application/json", "Cache-Control": "no-store"}, page_body(page))


def _token(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            scheme, _blank, token = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return str(token.strip())
    raise subscribers.Unauthenticated


def _number(
    given: Mapping[str, str], name: str, default: float, *, lowest: float, highest: float, whole: bool
) -> float:
    text = given.get(name)
    if text is None:
        return default
    try:
        value = float(int(text)) if whole else float(text)
    except (ValueError, OverflowError):
        value = float("nan")
    # A NaN fails this comparison, too.
    if not lowest <= value <= highest:
        kind = "a whole number" if whole else "a number"
        raise feed.InvalidParameter(name, f"{name} is {kind} from {lowest:g} to {highest:g}.")
    return value


async def _connection_parameters() -> dict[str, Any]:
    """Django's own, less what only its synchronous connections understand. May start the embedded server."""
    parameters = await sync_to_async(connection.get_connection_params, thread_sensitive=False)()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    return {**parameters, "autocommit": True}


async def _send(send: Send, answer: Answer) -> None:
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
