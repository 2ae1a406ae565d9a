"""How often one caller may do what writes: requests in a minute, counted in the cache of this process."""

import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from ninja.throttling import BaseThrottle

from publish.subscribers import Reader

_WINDOW_SECONDS = 60


class CallerThrottle(BaseThrottle):
    """At most so many requests a minute by one token or one user; keeps nothing on itself, so threads may share it."""

    def __init__(self, scope: str, setting: str) -> None:
        self._scope, self._setting = scope, setting

    def allow_request(self, request: HttpRequest) -> bool:
        caller: Any = request.auth  # type: ignore[attr-defined]
        who = f"token-{caller.subscriber_id}" if isinstance(caller, Reader) else f"user-{caller.pk}"
        key = f"throttle-{self._scope}-{who}-{int(time.time() // _WINDOW_SECONDS)}"
        cache.add(key, 0, 2 * _WINDOW_SECONDS)
        return bool(cache.incr(key) <= getattr(settings, self._setting))

    def wait(self) -> float:
        """Seconds until the next window."""
        return _WINDOW_SECONDS - time.time() % _WINDOW_SECONDS
