"""One port for everything: the feed natively, so that waiting costs no thread; the rest is Django under WSGI."""

import os
import re

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studyhub.settings")

from studyhub.wsgi import application as django_application

# Only after the settings are there.
from django.conf import settings  # isort: skip
from publish.delivery import Message, Receive, Scope, Send  # isort: skip
from publish.limits import WaitLimits  # isort: skip
from publish.stream import FeedApplication  # isort: skip
from studyhub.front.addresses import address_of  # isort: skip
from studyhub.front.bodies import Bodies, BodyLimits  # isort: skip
from studyhub.front.callers import Callers  # isort: skip
from studyhub.front.descriptors import raise_descriptor_limit  # isort: skip
from studyhub.front.django import Django  # isort: skip
from studyhub.front import guards  # isort: skip

DJANGO_THREADS = 4

raise_descriptor_limit()
_feed = FeedApplication(
    WaitLimits(
        of_one_subscriber=settings.WAITS_PER_SUBSCRIBER,
        from_one_address=settings.WAITS_PER_ADDRESS,
        in_all=settings.WAITS_IN_ALL,
    ),
)
_bodies = Bodies(
    BodyLimits(
        known_bytes=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
        upload_bytes=settings.UPLOAD_BYTES,
        uploads=re.compile(settings.UPLOAD_PATHS),
        uploads_at_once=settings.UPLOADS_AT_ONCE,
        from_one_address=settings.BODIES_PER_ADDRESS,
    ),
    settings.DATA_DIR / "incoming",
    Callers().tell,
)
_django = Django(django_application, _bodies, threads=DJANGO_THREADS)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI entry point."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/api/feed" and guards.is_welcome(scope):
        # Behind a proxy all connections are the proxy's.
        client = (address_of(scope), 0)
        await _feed({**scope, "client": client}, receive, guards.with_security_headers(scope, send))
    else:
        await _django(scope, receive, send)


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
