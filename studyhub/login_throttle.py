"""Guessing passwords is slow: after some failures from one address for one name, the login waits."""

import hashlib
from collections.abc import Callable

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

FAILURES = 5
WINDOW_SECONDS = 300


class FailedLoginThrottle:
    """Middleware: answers 429 with Retry-After once there were FAILURES failed logins within WINDOW_SECONDS."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST" or request.path not in {reverse("admin:login"), reverse("login")}:
            return self._get_response(request)
        key = _key(request)
        if cache.get(key, 0) >= FAILURES:
            return HttpResponse(
                _("Too many failed logins. Try again in a few minutes."),
                status=429,
                content_type="text/plain; charset=utf-8",
                headers={"Retry-After": str(WINDOW_SECONDS)},
            )
        response = self._get_response(request)
        # A login page that is shown again is a failure; success redirects.
        if response.status_code == 200:
            cache.add(key, 0, WINDOW_SECONDS)
            cache.incr(key)
        elif response.status_code == 302:
            cache.delete(key)
        return response


def _key(request: HttpRequest) -> str:
    # Hashed: whatever somebody types as a name makes a valid key, and no name is kept.
    who = f"{request.META.get('REMOTE_ADDR', '')}\n{request.POST.get('username', '')}"
    return f"failed-logins-{hashlib.sha256(who.encode(errors='replace')).hexdigest()}"
