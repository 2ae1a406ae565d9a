"""Who waits for news of the feed, and who of them is to hear. All who see the same are one room: one read answers it.

A waiter holds neither a thread nor a connection, and does not look by itself. One look for the whole process says how
far the feed has come and whom that concerns; whoever it does not concern has thereby seen everything up to there.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from publish import feed, subscribers
from publish.cursor import Cursor
from publish.news import POLL_SECONDS, Change, Look, follow, look
from publish.subscribers import Reader

# Rooms that are read at the same time. The pool's other connections are for those who come meanwhile.
_READS_AT_ONCE = 2
_ANSWERS_AT_ONCE = 50
_MOMENT_SECONDS = 0.05


@dataclass(frozen=True)
class Query:
    """What of the feed is asked for; the pages of one query differ by the reader and the cursor alone."""

    kinds: tuple[str, ...]
    limit: int
    separator: str
    page_bytes: int | None = None


@dataclass(frozen=True)
class _Room:
    """Those for whom the same page is next."""

    learner_id: int | None
    all_learners: bool
    # None: all.
    kinds: tuple[str, ...] | None
    limit: int
    separator: str
    page_bytes: int | None
    epoch: uuid.UUID
    # They have seen everything up to here.
    seq: int

    def is_concerned_by(self, news: Look) -> bool:
        """Whether its next page may have something in it, or a refusal."""
        if self.seq < max(news.floor, news.changed_after):
            return True
        return any(change.seq > self.seq and self._sees(change) for change in news.changes)

    def _sees(self, change: Change) -> bool:
        mine = self.all_learners or change.learner_id in {None, self.learner_id}
        return mine and (self.kinds is None or change.kind in self.kinds)


@dataclass(eq=False)
class _Waiter:
    """`page`: the page that ends the wait, or None where the waiter has to read for itself."""

    reader: Reader
    query: Query
    cursor: Cursor
    page: "asyncio.Future[feed.Page | None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def room_at(self, seq: int) -> _Room:
        wanted = feed.allowed_kinds(self.reader, self.query.kinds)
        return _Room(
            learner_id=self.reader.learner_id,
            all_learners=self.reader.all_learners,
            kinds=None if wanted is None else tuple(sorted(wanted)),
            limit=self.query.limit,
            separator=self.query.separator,
            page_bytes=self.query.page_bytes,
            epoch=self.cursor.epoch,
            seq=seq,
        )

    def end(self, outcome: feed.Page | Exception | None) -> None:
        if self.page.done():
            return  # it has gone
        if isinstance(outcome, Exception):
            self.page.set_exception(outcome)
        else:
            self.page.set_result(outcome)


class Rooms:
    """All who wait in this process. `connection` lends one of the pool's. Belongs to one event loop."""

    def __init__(self, connection: Callable[[], AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]]) -> None:
        self._connection = connection
        self._rooms: dict[_Room, set[_Waiter]] = {}
        self._place: dict[_Waiter, _Room] = {}
        self._turns = asyncio.Semaphore(_READS_AT_ONCE)
        self._reads: set[asyncio.Task[None]] = set()
        self._look: Look | None = None
        self._looked_at = self._checked_at = 0.0
        self._following: asyncio.Task[None] | None = None

    async def wait(self, page: feed.Page, query: Query, seconds: float) -> feed.Page | None:
        """Wait after this page, which has shown its reader everything up to the head.

        Returns the next page as soon as it has items, or else, after so many seconds, an empty one that says how far
        the feed has come meanwhile. None: nobody knows here, read for yourself. Raises what reading raises: the token
        may be revoked and the cursor may expire.
        """
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(follow(self._on_news))
        waiter = _Waiter(page.reader, query, Cursor.decode(page.cursor))
        self._enter(waiter, waiter.room_at(page.head))
        self._judge(self._place[waiter])
        try:
            await asyncio.wait({waiter.page}, timeout=seconds)
            while not waiter.page.done():
                if waiter in self._place:
                    return self._so_far(page, waiter)
                # Without a place, its room is being read.
                await asyncio.wait({waiter.page}, timeout=_MOMENT_SECONDS)
            return waiter.page.result()
        finally:
            waiter.page.cancel()
            self._leave(waiter)

    async def close(self) -> None:
        """Give up the LISTEN connection, and what is being read."""
        tasks = [task for task in (self._following, *self._reads) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _enter(self, waiter: _Waiter, room: _Room) -> None:
        self._rooms.setdefault(room, set()).add(waiter)
        self._place[waiter] = room

    def _leave(self, waiter: _Waiter) -> None:
        room = self._place.pop(waiter, None)
        if room is not None:
            self._rooms[room].discard(waiter)
            if not self._rooms[room]:
                del self._rooms[room]

    def _so_far(self, page: feed.Page, waiter: _Waiter) -> feed.Page | None:
        """The empty page at the place that the looks have brought this waiter to, and what the last one has seen."""
        if self._look is None or time.monotonic() - self._looked_at > 2 * POLL_SECONDS:
            return None
        seq = self._place[waiter].seq
        return replace(
            page,
            items="",
            count=0,
            head=seq,
            cursor=replace(waiter.cursor, seq=seq).encode(),
            relay_silent_seconds=self._look.relay_silent_seconds,
        )

    async def _on_news(self, database: psycopg.AsyncConnection[Any]) -> None:
        before = set(self._rooms)
        news = await look(database, min((room.seq for room in before), default=None))
        self._look, self._looked_at = news, time.monotonic()
        for room in list(self._rooms):
            # Who came during the look may have seen more of the feed than it did.
            if room in before and (news is None or news.epoch != room.epoch or news.head < room.seq):
                self._read_soon(room)
            else:
                self._judge(room)
        if self._place and time.monotonic() - self._checked_at >= POLL_SECONDS:
            await self._check_tokens(database)
            self._checked_at = time.monotonic()

    def _judge(self, room: _Room) -> None:
        """What the last look means for a room, which may have been filled after it."""
        if self._look is None or self._look.epoch != room.epoch:
            return
        if room.is_concerned_by(self._look):
            self._read_soon(room)
        elif room.seq < self._look.head:
            for waiter in self._empty(room):
                self._enter(waiter, replace(room, seq=self._look.head))

    def _empty(self, room: _Room) -> set[_Waiter]:
        waiters = self._rooms.pop(room)
        for waiter in waiters:
            del self._place[waiter]
        return waiters

    def _read_soon(self, room: _Room) -> None:
        task = asyncio.create_task(self._read(room, self._empty(room)))
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)

    async def _read(self, room: _Room, waiters: Collection[_Waiter]) -> None:
        """One page for them all; who must not have it any more is told so."""
        looked = self._look
        try:
            # One way to the database and back: somebody waits.
            async with self._turns, self._connection() as database, database.pipeline():
                open_tokens = await database.execute(*_readers_statement(waiters))
                page = await database.execute(*_page_statement(room, next(iter(waiters))))
                readers = subscribers.readers_from(await open_tokens.fetchall())
                row = await page.fetchone()
        except Exception as error:
            for waiter in waiters:
                waiter.end(error)
            return
        stay = [waiter for waiter in waiters if not _end_if_changed(waiter, readers)]
        for number, waiter in enumerate(stay, start=1):
            self._hand_over(waiter, room, row)
            if number % _ANSWERS_AT_ONCE == 0:
                await asyncio.sleep(0)  # so that others are not kept waiting by thousands
        places = {self._place[waiter] for waiter in stay if waiter in self._place}
        if looked is not None and any(place.epoch == looked.epoch and place.seq < looked.head for place in places):
            # The feed has gone back, as after a restore: what was seen of it before says nothing.
            self._look = None
        # There may have been a look since, of which those who wait on could not hear.
        for place in places:
            self._judge(place)

    def _hand_over(self, waiter: _Waiter, room: _Room, row: Sequence[Any] | None) -> None:
        try:
            page = feed.page_from_row(row, replace(waiter.cursor, seq=room.seq), waiter.reader)
        except Exception as error:
            waiter.end(error)
            return
        if page.count:
            waiter.end(page)
        elif not waiter.page.done():
            self._enter(waiter, waiter.room_at(page.head))

    async def _check_tokens(self, database: psycopg.AsyncConnection[Any]) -> None:
        """End the waits of those whose token opens nothing any more, or something else."""
        # Whoever comes meanwhile has just been checked.
        waiters = list(self._place)
        rows = await (await database.execute(*_readers_statement(waiters))).fetchall()
        readers = subscribers.readers_from(rows)
        for waiter in waiters:
            if _end_if_changed(waiter, readers):
                self._leave(waiter)


def _readers_statement(waiters: Iterable[_Waiter]) -> tuple[str, Any]:
    """What the subscribers who wait may see now; without those who may see nothing any more."""
    return subscribers.lookup_readers({waiter.reader.subscriber_id for waiter in waiters})


def _page_statement(room: _Room, one: _Waiter) -> tuple[str, Any]:
    """The next page of a room, as any one of those in it asks for it."""
    return feed.page_statement(
        one.reader,
        cursor=replace(one.cursor, seq=room.seq),
        kinds=one.query.kinds,
        limit=room.limit,
        separator=room.separator,
        page_bytes=room.page_bytes,
    )


def _end_if_changed(waiter: _Waiter, readers: Mapping[int, Reader]) -> bool:
    reader = readers.get(waiter.reader.subscriber_id)
    if reader == waiter.reader:
        return False
    # Reading for itself it hears why: that the token was revoked, or that its learner was erased.
    waiter.end(None)
    return True
