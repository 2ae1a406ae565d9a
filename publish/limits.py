"""What one subscriber, one address and all together may keep open of the feed at a time."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from kit.problems import ProblemError


class TooManyWaits(ProblemError):
    """A consumer more than may wait."""

    status, slug = 429, "too-many-waits"


class Busy(ProblemError):
    """So many pages are under way to slow readers that there is no memory for another one."""

    status, slug = 503, "busy"

    def __init__(self) -> None:
        super().__init__("Too many pages are on their way to slow readers. Try again in a few seconds.")


@dataclass(frozen=True)
class WaitLimits:
    """How many long polls, event streams and large pages may be open: of one subscriber, from one address, in all."""

    of_one_subscriber: int
    from_one_address: int
    in_all: int


class Waits:
    """Counts them. Belongs to one event loop."""

    def __init__(self, limits: WaitLimits) -> None:
        self._limits = limits
        self._subscribers: Counter[Any] = Counter()
        self._addresses: Counter[Any] = Counter()
        self._open = 0

    @contextmanager
    def hold(self, subscriber_id: int, address: str) -> Iterator[None]:
        """Count one more meanwhile. Raises TooManyWaits."""
        for already, limit, whose in (
            (self._subscribers[subscriber_id], self._limits.of_one_subscriber, "with this token"),
            (self._addresses[address], self._limits.from_one_address, "from this address"),
            (self._open, self._limits.in_all, "at this hub"),
        ):
            if already >= limit:
                raise TooManyWaits(f"{limit} consumers wait {whose} already. End one, or try again later.")
        self._subscribers[subscriber_id] += 1
        self._addresses[address] += 1
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            for counter, key in ((self._subscribers, subscriber_id), (self._addresses, address)):
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]


class PagesUnderWay:
    """How many large pages are in memory at a time, from their reading until their readers have taken them."""

    OF_ONE_SUBSCRIBER = 2
    IN_ALL = 16
    # Longer than a reader that does not read is waited for.
    LONGEST_WAIT_SECONDS = 45.0

    def __init__(self) -> None:
        self.all = asyncio.Semaphore(self.IN_ALL)
        self._of: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    @contextmanager
    def turn(self) -> Iterator["Turn"]:
        """A turn, not yet taken, and released at the end."""
        turn = Turn(self)
        try:
            yield turn
        finally:
            turn.release()

    def of(self, subscriber_id: int) -> asyncio.Semaphore:
        semaphore = self._of.get(subscriber_id)
        if semaphore is None:
            semaphore = self._of[subscriber_id] = asyncio.Semaphore(self.OF_ONE_SUBSCRIBER)
        return semaphore


class Turn:
    """The right to have one page in memory. First come, first served."""

    def __init__(self, pages: PagesUnderWay) -> None:
        self._pages = pages
        self._taken: tuple[asyncio.Semaphore, ...] = ()

    def is_free_for(self, subscriber_id: int) -> bool:
        """Whether take() would come back at once."""
        return bool(self._taken) or not (self._pages.all.locked() or self._pages.of(subscriber_id).locked())

    async def take(self, subscriber_id: int) -> None:
        """Wait for it, unless it is taken already. Raises Busy."""
        if self._taken:
            return
        if self.is_free_for(subscriber_id):
            await self._take(subscriber_id)
            return
        try:
            async with asyncio.timeout(self._pages.LONGEST_WAIT_SECONDS):
                await self._take(subscriber_id)
        except TimeoutError:
            self.release()
            raise Busy from None

    async def _take(self, subscriber_id: int) -> None:
        for semaphore in (self._pages.of(subscriber_id), self._pages.all):
            await semaphore.acquire()
            self._taken += (semaphore,)

    def release(self) -> None:
        for semaphore in self._taken:
            semaphore.release()
        self._taken = ()
