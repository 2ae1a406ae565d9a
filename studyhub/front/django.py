"""Django in a few threads: it gets a request that has come whole, and gives an answer that is sent without it.

Neither a slow sender nor a slow reader has one of the threads meanwhile.
"""

from typing import IO, Any

from a2wsgi import WSGIMiddleware

from publish.delivery import PART_BYTES, Message, Receive, Scope, Send, send_body
from studyhub.front.bodies import Bodies, Gone, Refused, has_body
from studyhub.front.refusals import REFUSAL


class Django:
    """The ASGI application. `wsgi` is Django's own."""

    def __init__(self, wsgi: Any, bodies: Bodies, *, threads: int) -> None:
        self._wsgi: Any = WSGIMiddleware(wsgi, workers=threads)
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if has_body(scope):
                async with self._bodies.received(scope, receive) as body:
                    answer = await self._ask(_with_size(scope, body), body)
            else:
                answer = await self._ask(_with_size(scope, None), None)
        except Gone:
            return
        except Refused as refused:
            answer = await self._ask({**_with_size(scope, None), REFUSAL: refused.status}, None)
            # What is left of the body will not be read.
            answer[0]["headers"].append((b"connection", b"close"))
        await _deliver(send, *answer)

    async def _ask(self, scope: Scope, body: IO[bytes] | None) -> tuple[Message, bytes]:
        """Django's answer, whole: the message that begins it, and its body."""
        messages: list[Message] = []

        async def receive() -> Message:
            part = body.read(PART_BYTES) if body else b""
            return {"type": "http.request", "body": part, "more_body": len(part) == PART_BYTES}

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._wsgi(scope, receive, keep)
        start, *parts = messages
        return start, b"".join(part["body"] for part in parts)


async def _deliver(send: Send, start: Message, body: bytes) -> None:
    await send(start)
    unread = await send_body(send, body)
    del body
    if unread:
        await unread


def _with_size(scope: Scope, body: IO[bytes] | None) -> dict[str, Any]:
    """The request with the size that its body has, and without headers that WSGI cannot tell from others."""
    headers = [
        (name, value)
        for name, value in scope["headers"]
        # X_Forwarded_Proto would be X-Forwarded-Proto to Django.
        if b"_" not in name and name not in {b"content-length", b"transfer-encoding"}
    ]
    if body is not None:
        size = body.seek(0, 2)
        body.seek(0)
        headers.append((b"content-length", str(size).encode()))
    return {**scope, "headers": headers}
