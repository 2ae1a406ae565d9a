"""An ASGI response at the pace of its reader, and work that ends when the reader has gone.

granian takes a body that is sent whole into memory, however slowly it is read. A body that is sent in parts it takes
as the reader does: `send` comes back when there is room. To a connection that is closed `send` does nothing and says
nothing; only `receive` tells.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

Scope = Mapping[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# A body of at most this much is sent whole: the kernel takes it, whoever reads.
WHOLE_BYTES = 1024 * 1024
# What is sent in one part of a larger one.
PART_BYTES = 256 * 1024
# Whoever takes nothing for so long is not waited for. (The kernel's buffer moves on by several parts at a time.)
PATIENCE_SECONDS = 30.0

T = TypeVar("T")


def start(status: int, headers: Mapping[str, str]) -> Message:
    """The message that begins a response."""
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
    }


async def send_body(send: Send, body: bytes, *, more: bool = False) -> "asyncio.Task[None] | None":
    """Send a body, in parts where it is large; `more` is to follow.

    Returns None, or, for a reader that takes nothing any more, the sending of the part that it does not take, which
    ends once that reader goes on or has gone. The rest is not sent then, and nothing but that part is kept.
    """
    if len(body) <= (PART_BYTES if more else WHOLE_BYTES):
        await send({"type": "http.response.body", "body": body, "more_body": more})
        return None
    delivery = _Delivery(body, more)
    del body
    sending = asyncio.create_task(delivery.send_with(send))
    try:
        while not (await asyncio.wait({sending}, timeout=delivery.patience))[0]:
            if delivery.patience <= 0:
                delivery.break_off()
                return sending
    except asyncio.CancelledError:
        sending.cancel()
        raise
    sending.result()
    return None


class _Delivery:
    """A body on its way."""

    def __init__(self, body: bytes, more: bool) -> None:
        self._body = body
        self._moved_at = time.monotonic()
        self._more = more
        self._broken_off = False

    @property
    def patience(self) -> float:
        """Seconds for which its reader is still waited for."""
        return max(self._moved_at + PATIENCE_SECONDS - time.monotonic(), 0)

    async def send_with(self, send: Send) -> None:
        begin, size = 0, len(self._body)
        while begin < size and not self._broken_off:
            part = self._body[begin : begin + PART_BYTES]
            begin += len(part)
            await send({"type": "http.response.body", "body": part, "more_body": self._more or begin < size})
            self._moved_at = time.monotonic()

    def break_off(self) -> None:
        self._broken_off = True
        self._body = b""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of the work; None where the client closed its connection, which cancels the work at that moment."""
    working, gone = asyncio.create_task(work), asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.wait({working, gone})


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # a body, which nobody asked for
