"""GET /api/feed as a small ASGI application: a page, a long poll that waits for news, or a stream of events.

Django's own handler would hold a thread for each waiting consumer. Here a waiter is one parked coroutine that holds no
database connection.
"""

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from kit.problems import ProblemError
from kit.problems.description import CONTENT_TYPE, describe, headers_for
from publish import feed, subscribers
from publish.compression import SMALLEST_BYTES, choose_encoding, compress
from publish.cursor import Cursor, CursorExpired
from publish.delivery import WHOLE_BYTES, Receive, Scope, Send, send_body, start, while_connected
from publish.limits import PagesUnderWay, Turn, WaitLimits, Waits
from publish.news import connection_parameters, prefer_indexes
from publish.positions import SECONDS_BETWEEN_WRITES, WRITE, positions
from publish.rooms import Query, Rooms

logger = logging.getLogger(__name__)

Named = Mapping[str, str | None]
JSON, NDJSON, EVENTS = "application/json", "application/x-ndjson", "text/event-stream"
LONGEST_WAIT_SECONDS = 60.0
REQUEST_ID = "^[!-~]{1,64}$"
HEARTBEAT_SECONDS = 15.0
_POOL_SIZE = 4
_POOL_TIMEOUT_SECONDS = 10.0
# An event stream is read in pages of at most this much.
_EVENTS_LIMIT, _EVENTS_BYTES = 1000, 1024 * 1024


@dataclass(frozen=True)
class Response:
    """A whole HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class MethodNotAllowed(ProblemError):
    """The feed is only read."""

    status, slug = 405, "method-not-allowed"

    def __init__(self) -> None:
        super().__init__("The feed is read with GET.")


@dataclass(frozen=True)
class FeedRequest:
    """What a consumer asks for: a token, the query of `GET /api/feed`, and the form. `wait` is in seconds."""

    token: str
    cursor: Cursor | None
    kinds: tuple[str, ...]
    limit: int
    wait: float
    request_id: str | None
    media_type: str
    encoding: str | None

    @property
    def named(self) -> "Named":
        """What every answer repeats, so that a consumer can tell it from the answer to another request."""
        return {"after": "" if self.cursor is None else self.cursor.encode(), "request_id": self.request_id}

    @property
    def query(self) -> Query:
        """What it asks of the feed, whoever asks and from wherever."""
        separator = "," if self.media_type == JSON else "\n"
        if self.media_type == EVENTS:
            return Query(self.kinds, min(self.limit, _EVENTS_LIMIT), separator, _EVENTS_BYTES)
        return Query(self.kinds, self.limit, separator)

    @classmethod
    def parse(cls, scope: Scope) -> "FeedRequest":
        """Raises MethodNotAllowed, Unauthenticated, InvalidParameter, MalformedCursor."""
        if scope["method"] != "GET":
            raise MethodNotAllowed
        if sum(name.lower() == b"authorization" for name, _value in scope["headers"]) > 1:
            raise subscribers.Unauthenticated  # whose, nobody can say
        headers, query = _headers(scope), _parameters(scope)
        after = _after(headers, query)
        return cls(
            token=_token(headers.get("authorization", "")),
            cursor=Cursor.decode(after) if after else None,
            kinds=tuple(kind for kind in query.get("kinds", "").split(",") if kind),
            limit=int(_number(query, "limit", feed.DEFAULT_LIMIT, lowest=1, highest=feed.HIGHEST_LIMIT, whole=True)),
            wait=_number(query, "wait", 0, lowest=0, highest=LONGEST_WAIT_SECONDS, whole=False),
            request_id=_request_id(query.get("request_id")),
            media_type=_media_type(headers.get("accept", "")),
            encoding=choose_encoding(headers.get("accept-encoding", "")),
        )


class FeedApplication:
    """The ASGI application."""

    def __init__(self, limits: WaitLimits) -> None:
        self._limits = limits
        self._pool: AsyncConnectionPool | None = None
        self._writer: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Make what belongs to this event loop. The first connection is opened by the first request."""
        self._pool = AsyncConnectionPool(
            kwargs=connection_parameters,
            min_size=0,
            max_size=_POOL_SIZE,
            timeout=_POOL_TIMEOUT_SECONDS,
            configure=prefer_indexes,
            check=AsyncConnectionPool.check_connection,
            open=False,
            name="feed",
        )
        await self._pool.open()
        self._lent = asyncio.Semaphore(_POOL_SIZE)
        self._lent_at = time.monotonic()
        self._rooms = Rooms(self._connection)
        self._waits = Waits(self._limits)
        self._pages = PagesUnderWay()
        self._writer = asyncio.create_task(self._write_positions())

    async def shutdown(self) -> None:
        """Write the last positions and close every connection."""
        if self._pool is None or self._writer is None:
            return
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writer
        await self._rooms.close()
        with contextlib.suppress(psycopg.Error):
            await self._write_positions_now()
        await self._pool.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._pool is None:
            await self.startup()
        address = (scope.get("client") or ("",))[0]
        try:
            request = FeedRequest.parse(scope)
            with self._pages.turn() as turn:
                if request.media_type == EVENTS:
                    await self._answer_with_events(request, turn, address, receive, send)
                else:
                    await self._answer_with_page(request, turn, address, receive, send)
        except Exception as error:
            await _send(send, refusal(error, named_in(scope)))

    # Reading

    async def _read(self, request: FeedRequest, turn: Turn) -> feed.Page:
        """One look at the feed. The turn goes on where the page is large."""
        while True:
            async with self._connection() as database:
                row = await (await database.execute(*subscribers.lookup(request.token))).fetchone()
                reader = subscribers.reader_from(request.token, row)
                if reader is None:
                    raise subscribers.Unauthenticated
                if turn.is_free_for(reader.subscriber_id):
                    await turn.take(reader.subscriber_id)
                    page = await _read_page(database, reader, request)
                    break
            # Not with a connection in hand: those who have pages in memory may be slow.
            await turn.take(reader.subscriber_id)
        if len(page.items) <= WHOLE_BYTES:
            turn.release()
        positions.note(reader.subscriber_id, request.cursor)
        return page

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """One of the pool's, first come, first served, however many come. Raises PoolTimeout where none is lent."""
        assert self._pool is not None  # noqa: S101
        await self._wait_to_borrow()
        try:
            async with self._pool.connection() as database:
                self._lent_at = time.monotonic()
                yield database
        finally:
            self._lent.release()

    async def _wait_to_borrow(self) -> None:
        if not self._lent.locked():
            await self._lent.acquire()
            return
        borrowing = asyncio.ensure_future(self._lent.acquire())
        try:
            # Only where nobody gets a connection, the database is away; a long queue is none of its faults.
            while not (await asyncio.wait({borrowing}, timeout=_POOL_TIMEOUT_SECONDS))[0]:
                if time.monotonic() - self._lent_at > _POOL_TIMEOUT_SECONDS:
                    raise PoolTimeout("no connection was lent for a while")
        except BaseException:
            if not borrowing.cancel() and not borrowing.cancelled():
                self._lent.release()
            raise

    # Answering

    async def _answer_with_page(
        self, request: FeedRequest, turn: Turn, address: str, receive: Receive, send: Send
    ) -> None:
        """A page, at once or as soon as there is one to wait for."""
        page: feed.Page | None = await self._read(request, turn)
        assert page is not None  # noqa: S101
        waits = not page.count and request.wait > 0
        large = len(page.items) > WHOLE_BYTES
        with self._waits.hold(page.reader.subscriber_id, address) if waits or large else contextlib.nullcontext():
            if waits:
                page = await while_connected(receive, self._wait_for_page(request, page, turn))
                if page is None:
                    return
            response = await _page_response(request, page)
            subscriber_id, head = page.reader.subscriber_id, None if page.has_more else Cursor.decode(page.cursor)
            await send(start(response.status, {**response.headers, "Content-Length": str(len(response.body))}))
            page = None
            if unread := await send_body(send, response.body):
                del response
                turn.release()
                await unread
            if head is not None:
                # Whoever reads now and then does not come back to say that it has the last page.
                positions.note(subscriber_id, head)

    async def _wait_for_page(self, request: FeedRequest, page: feed.Page, turn: Turn) -> feed.Page:
        """A page with items, or the empty one when the time is up."""
        deadline = time.monotonic() + request.wait
        while not page.count and (left := deadline - time.monotonic()) > 0:
            page = await self._rooms.wait(page, request.query, left) or await self._read(request, turn)
        if len(page.items) > WHOLE_BYTES:
            await turn.take(page.reader.subscriber_id)
        return page

    async def _answer_with_events(
        self, request: FeedRequest, turn: Turn, address: str, receive: Receive, send: Send
    ) -> None:
        page = await self._read(request, turn)
        with self._waits.hold(page.reader.subscriber_id, address):
            await send(start(200, {"Content-Type": EVENTS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}))
            await while_connected(receive, self._stream(replace(request, wait=HEARTBEAT_SECONDS), page, turn, send))

    async def _stream(self, request: FeedRequest, page: feed.Page, turn: Turn, send: Send) -> None:
        """Server-sent events: an `item` each, its id the cursor after it; then `head` where the scan has come to it.

        A client that reads too slowly finds its stream broken off, and comes back with the last id that it has read.
        """
        while True:
            cursor = Cursor.decode(page.cursor)
            events = _events(page, cursor, request)
            # What was sent is not kept while the stream waits.
            page = replace(page, items="", count=0)
            unread = await send_body(send, events or b": heartbeat\n\n", more=True)
            del events
            turn.release()
            if unread is not None:
                await unread
                return
            request = replace(request, cursor=cursor)
            positions.note(page.reader.subscriber_id, cursor)
            try:
                if page.has_more:
                    page = await self._read(request, turn)
                else:
                    page = await self._wait_for_page(request, page, turn)
            except Exception as error:
                name = b"resync" if isinstance(error, CursorExpired) else b"problem"
                body = b"event: " + name + b"\ndata: " + refusal(error, request.named).body + b"\n\n"
                await send({"type": "http.response.body", "body": body, "more_body": False})
                return

    async def _write_positions(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_WRITES)
            try:
                if positions.is_due:
                    await self._write_positions_now()
            except psycopg.Error as error:
                logger.warning("Where the subscribers stand could not be written: %s", error)

    async def _write_positions_now(self) -> None:
        assert self._pool is not None  # noqa: S101
        async with self._pool.connection() as database:
            await database.execute(WRITE, positions.take())


async def _read_page(
    database: psycopg.AsyncConnection[Any], reader: subscribers.Reader, request: FeedRequest
) -> feed.Page:
    query = request.query
    statement = feed.page_statement(
        reader,
        cursor=request.cursor,
        kinds=query.kinds,
        limit=query.limit,
        separator=query.separator,
        page_bytes=query.page_bytes,
    )
    row = await (await database.execute(*statement)).fetchone()
    return feed.page_from_row(row, request.cursor, reader)


def page_body(page: feed.Page, named: Named) -> bytes:
    """The JSON document of a page; its items are the text that PostgreSQL wrote. `named`: repeated of the request."""
    return b'{"items": [' + page.items.encode() + b"], " + _position(page, named)[1:]


def _position(page: feed.Page, named: Named) -> bytes:
    position = {
        "cursor": page.cursor,
        "head": page.head,
        "has_more": page.has_more,
        "hub": str(page.hub),
        "subscriber": page.reader.subscriber_id,
        "learner_id": page.reader.learner_id,
        "relay_silent_seconds": page.relay_silent_seconds,
    }
    return json.dumps({**position, **named}).encode()


async def _page_response(request: FeedRequest, page: feed.Page) -> Response:
    if request.media_type == NDJSON:
        # An item a line, and where to go on in the last one.
        body = page.items.encode() + (b"\n" if page.items else b"") + _position(page, request.named) + b"\n"
    else:
        body = page_body(page, request.named)
    headers = {"Content-Type": request.media_type, "Cache-Control": "no-store", "Vary": "Accept, Accept-Encoding"}
    if request.encoding is not None and len(body) >= SMALLEST_BYTES:
        # In a thread: compressing some megabytes would hold up everyone who waits.
        body = await asyncio.to_thread(compress, body, request.encoding)
        headers["Content-Encoding"] = request.encoding
    return Response(200, headers, body)


def refusal(error: Exception, named: Named) -> Response:
    """The response to an error, with what it repeats of the request. Raises an error that only we can mend."""
    body = describe(error)
    if body is None:
        raise error
    if body["status"] != HTTPStatus.UNAUTHORIZED:  # to nobody in particular, nothing is repeated
        body |= named
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store", **headers_for(body)}
    return Response(body["status"], headers, json.dumps(body).encode())


def _events(page: feed.Page, cursor: Cursor, request: FeedRequest) -> bytes:
    moved = request.cursor is None or cursor.seq > request.cursor.seq
    parts: list[bytes] = []
    for item in page.items.split("\n") if page.items else ():
        # Every item begins with its seq, as feed.py writes it.
        seq = int(item[len('{"seq":') : item.index(",")])
        parts.append(f"id: {replace(cursor, seq=seq).encode()}\nevent: item\ndata: {item}\n\n".encode())
    if moved and not page.has_more:
        parts.append(f"id: {page.cursor}\nevent: head\ndata: ".encode() + _position(page, request.named) + b"\n\n")
    return b"".join(parts)


def named_in(scope: Scope) -> Named:
    """What the answer to a request repeats of it, as it was sent: also of one that cannot be read."""
    query = _parameters(scope)
    request_id = query.get("request_id")
    return {
        "after": _after(_headers(scope), query),
        "request_id": request_id if request_id is not None and re.fullmatch(REQUEST_ID, request_id) else None,
    }


def _headers(scope: Scope) -> dict[str, str]:
    return {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _parameters(scope: Scope) -> dict[str, str]:
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return {name: values[-1] for name, values in query.items()}


def _after(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    # A browser that reconnects repeats its URL, and says in this header how far it came since.
    return headers.get("last-event-id") or query.get("after", "")


def _token(authorization: str) -> str:
    scheme, _blank, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise subscribers.Unauthenticated
    return token.strip()


def _media_type(accept: str) -> str:
    wanted = accept.lower()
    for media_type in (EVENTS, NDJSON):
        if media_type in wanted:
            return media_type
    return JSON


def _request_id(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(REQUEST_ID, text):
        raise feed.InvalidParameter("request_id", "request_id is 1 to 64 letters, digits and signs of ASCII.")
    return text


def _number(
    query: Mapping[str, str], name: str, default: float, *, lowest: float, highest: float, whole: bool
) -> float:
    text = query.get(name)
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


async def _send(send: Send, response: Response) -> None:
    await send(start(response.status, {**response.headers, "Content-Length": str(len(response.body))}))
    await send({"type": "http.response.body", "body": response.body})
