"""The body of a request, received before anybody begins to work on it: in memory, then in a file, within limits."""

import asyncio
import logging
import re
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from django.db import InterfaceError, OperationalError

from publish.delivery import Receive, Scope
from studyhub.front.addresses import address_of
from studyhub.front.callers import Caller

logger = logging.getLogger(__name__)

# What anybody may send: a login, a form.
SMALL_BYTES = 64 * 1024
# Beyond this a body is kept in a file.
_MEMORY_BYTES = 1024 * 1024
# A body may come as slowly as this, after the grace, and with silences no longer than this.
_PACE_BYTES_PER_SECOND = 16 * 1024
_GRACE_SECONDS = 15.0
_LONGEST_SILENCE_SECONDS = 10.0


class Refused(Exception):
    """A body that is not received to its end; `status` says why."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


class Gone(Exception):
    """The client has closed its connection before its request was complete."""


@dataclass(frozen=True)
class BodyLimits:
    """`known_bytes`: by whoever has a login or a token; `upload_bytes`: by staff, to the paths of `uploads`.

    `uploads_at_once`: so many of these in all; `from_one_address`: so many bodies on their way.
    """

    known_bytes: int
    upload_bytes: int
    uploads: re.Pattern[str]
    uploads_at_once: int
    from_one_address: int


class Bodies:
    """Receives them. `tell` says who calls. Belongs to one event loop."""

    def __init__(self, limits: BodyLimits, directory: Path, tell: Callable[[Scope], Awaitable[Caller]]) -> None:
        self._limits = limits
        self._directory = directory
        self._tell = tell
        self._on_their_way: Counter[str] = Counter()
        self._uploads = 0

    @asynccontextmanager
    async def received(self, scope: Scope, receive: Receive) -> AsyncIterator[IO[bytes]]:
        """The whole body, to be read from its beginning; forgotten afterwards. Raises Refused, Gone."""
        with ExitStack() as held, self._file() as file:
            with self._place_for(address_of(scope)):
                await self._receive(scope, receive, file, held)
            file.seek(0)
            yield file

    async def _receive(self, scope: Scope, receive: Receive, file: IO[bytes], held: ExitStack) -> None:
        limit, size, more = SMALL_BYTES, 0, True
        declared = _declared_bytes(scope)
        if declared > limit:
            limit = await self._higher_limit(scope, declared, held)
        started = time.monotonic()
        while more:
            allowed = started + _GRACE_SECONDS + size / _PACE_BYTES_PER_SECOND - time.monotonic()
            try:
                async with asyncio.timeout(min(allowed, _LONGEST_SILENCE_SECONDS)):
                    message = await receive()
            except TimeoutError:
                raise Refused(408) from None
            if message["type"] == "http.disconnect":
                raise Gone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                limit = await self._higher_limit(scope, size, held)
            try:
                file.write(part)
            except OSError as error:
                logger.error("What is uploaded cannot be kept in %s: %s", self._directory, error)
                raise Refused(503) from error
            more = message.get("more_body", False)

    async def _higher_limit(self, scope: Scope, size: int, held: ExitStack) -> int:
        try:
            caller = await self._tell(scope)
        except (OperationalError, InterfaceError) as error:
            logger.error("The database did not answer: %s", error)
            raise Refused(503) from error
        if caller >= Caller.KNOWN and size <= self._limits.known_bytes:
            return self._limits.known_bytes
        if (
            caller >= Caller.STAFF
            and size <= self._limits.upload_bytes
            and self._limits.uploads.fullmatch(scope["path"])
        ):
            held.enter_context(self._upload())
            return self._limits.upload_bytes
        raise Refused(413)

    @contextmanager
    def _place_for(self, address: str) -> Iterator[None]:
        if self._on_their_way[address] >= self._limits.from_one_address:
            raise Refused(429)
        self._on_their_way[address] += 1
        try:
            yield
        finally:
            self._on_their_way[address] -= 1
            if not self._on_their_way[address]:
                del self._on_their_way[address]

    @contextmanager
    def _upload(self) -> Iterator[None]:
        if self._uploads >= self._limits.uploads_at_once:
            raise Refused(503)
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    def _file(self) -> IO[bytes]:
        """In memory until it is large; then a file without a name, which does not outlive its process."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cast(IO[bytes], tempfile.SpooledTemporaryFile(_MEMORY_BYTES, dir=str(self._directory)))


def has_body(scope: Scope) -> bool:
    """Whether the head announces a body."""
    return any(name in {b"content-length", b"transfer-encoding"} for name, _value in scope["headers"])


def _declared_bytes(scope: Scope) -> int:
    """What Content-Length says; 0 where it is not sent, or is no number."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0
