"""The guards of Django's SecurityMiddleware and of ALLOWED_HOSTS, also for what Django does not answer."""

from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.security import SecurityMiddleware

from publish.delivery import Message, Scope, Send


class Security(SecurityMiddleware):
    """Django's, but a name under which the hub may not be called is refused further in, within all the headers."""

    def process_request(self, request: HttpRequest) -> Any:
        try:
            return super().process_request(request)
        except DisallowedHost:
            return None


def is_welcome(scope: Scope) -> bool:
    """Whether what was asked for may be answered: under this name, and without HTTPS. Otherwise Django says why not."""
    return _is_welcome(*_what_counts(scope))


def with_security_headers(scope: Scope, send: Send) -> Send:
    """A `send` that gives the answer the headers which every answer of Django's has."""
    headers = _security_headers(*_what_counts(scope))

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return guarded


def _nothing(request: HttpRequest) -> HttpResponseBase:
    return HttpResponse()


_security = Security(_nothing)


def _what_counts(scope: Scope) -> tuple[str, str]:
    """The host, and what the proxy says of HTTPS. Of a header that comes twice nothing is believed."""
    proxy_header = _proxy_header()
    hosts, words = [], []
    for name, value in scope["headers"]:
        if name == b"host":
            hosts.append(value)
        elif name == proxy_header:
            words.append(value)
    return (
        hosts[0].decode("latin-1") if len(hosts) == 1 else "",
        words[0].decode("latin-1") if len(words) == 1 else "",
    )


@lru_cache(maxsize=1)
def _proxy_header() -> bytes | None:
    header = settings.SECURE_PROXY_SSL_HEADER
    return header[0].removeprefix("HTTP_").replace("_", "-").lower().encode() if header else None


# Few of these differ, and the feed is asked often.
@lru_cache(maxsize=64)
def _is_welcome(host: str, proxy_says: str) -> bool:
    request = _request(host, proxy_says)
    try:
        request.get_host()
    except DisallowedHost:
        return False
    return _security.process_request(request) is None


@lru_cache(maxsize=64)
def _security_headers(host: str, proxy_says: str) -> tuple[tuple[bytes, bytes], ...]:
    answer = _security.process_response(_request(host, proxy_says), HttpResponse())
    del answer["Content-Type"]
    return tuple((name.lower().encode(), value.encode()) for name, value in answer.items())


def _request(host: str, proxy_says: str) -> HttpRequest:
    request = HttpRequest()
    request.META = {"HTTP_HOST": host}
    if settings.SECURE_PROXY_SSL_HEADER:
        request.META[settings.SECURE_PROXY_SSL_HEADER[0]] = proxy_says
    return request
