"""One port for everything: the feed natively, so that waiting costs no thread; the rest is Django under WSGI."""

import os
from typing import Any, cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studyhub.settings")

from a2wsgi import WSGIMiddleware

from studyhub.wsgi import application as django_application

# Only after the settings are there.
from django.conf import settings  # isort: skip
from publish.delivery import Message, Receive, Scope, Send  # isort: skip
from publish.limits import WaitLimits  # isort: skip
from publish.stream import FeedApplication  # isort: skip
from studyhub.problems import answer_for  # isort: skip

DJANGO_THREADS = 4

_feed = FeedApplication(
    answer_for,
    WaitLimits(
        of_one_subscriber=settings.WAITS_PER_SUBSCRIBER,
        from_one_address=settings.WAITS_PER_ADDRESS,
        in_all=settings.WAITS_IN_ALL,
    ),
)
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
