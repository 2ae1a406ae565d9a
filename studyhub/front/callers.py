"""Who sends a large request: asked before it is received, by Django's own machinery, in a thread."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.db import close_old_connections
from django.http import HttpRequest, parse_cookie

from publish.delivery import Scope
from publish.subscribers import LearnerErased, authenticate

# Each has a connection to the database.
_THREADS = 2


class Caller(IntEnum):
    """How far somebody is known."""

    NOBODY = 0
    KNOWN = 1
    STAFF = 2


class Callers:
    """Tells callers by their session or their token."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="callers")

    async def tell(self, scope: Scope) -> Caller:
        """Who calls. Raises OperationalError where the database is away."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, caller_of, scope)


def caller_of(scope: Scope) -> Caller:
    """Who calls, asked on this thread's connection. Raises OperationalError."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    close_old_connections()
    try:
        scheme, _blank, token = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _by_token(token.strip())
        return _by_session(parse_cookie(headers.get(b"cookie", "")).get(settings.SESSION_COOKIE_NAME))
    finally:
        close_old_connections()


def _by_token(token: str) -> Caller:
    try:
        return Caller.KNOWN if authenticate(token) else Caller.NOBODY
    except LearnerErased:
        # Their viewer still sends what was rated in it; the answer is what tells it to forget the learner.
        return Caller.KNOWN


def _by_session(key: str | None) -> Caller:
    if not key:
        return Caller.NOBODY
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)
    if not user.is_authenticated:
        return Caller.NOBODY
    return Caller.STAFF if user.is_staff else Caller.KNOWN
