"""One port for everything: the feed natively, so that waiting costs no thread; the rest is Django under WSGI."""

import os
from typing import Any, cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studyhub.settings")

from a2wsgi import WSGIMiddleware

from studyhub.wsgi import application as django_application

# Only after the settings are there.
from publish.stream import FeedApplication, Message, Receive, Scope, Send  # isort: skip
from studyhub.problems import answer_for  # isort: skip

DJANGO_THREADS = 4

_feed = FeedApplication(answer_for)
_django: Any = WSGIMiddleware(cast(Any, django_application), workers=DJANGO_THREADS)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI entry point."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/api/feed":
        await _feed(scope, receive, send)
    else:

        async def received() -> Message:
            # a2wsgi wants a coroutine, where granian gives another kind of awaitable.
            return await receive()

        await _django(scope, received, send)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message: Message = await receive()
        if message["type"] == "lifespan.startup":
            await _feed.startup()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await _feed.shutdown()
            await send({"type": "lifespan.shutdown.complete"})
            return
