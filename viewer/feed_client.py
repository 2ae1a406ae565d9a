"""The hub over HTTP: one page of the feed, one rating or several. All its errors are those of hub_responses.py."""

import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import cache
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx
from django.conf import settings
from django.utils import timezone

from viewer.hub_responses import (
    Accepted,
    HubAway,
    Page,
    PageRequest,
    Refused,
    Response,
    TokenRefused,
    read_page,
    read_rating,
    read_ratings,
    unreadable,
)
from viewer.identity import Identity
from viewer.models import Rating

PAGE_SIZE = 1000
# The hub's pages have about 8 MiB at most; this also bounds what a small answer may unpack to.
LARGEST_ANSWER_BYTES = 64 * 1024 * 1024


class FeedClient:
    """A connection to the hub for one thread.

    `timeout` is in seconds: for the connection, and for each piece of an answer; it is added to the wait of a long
    poll. `patience` is how long a whole answer may take, in seconds, again without that wait. Every wait for the
    network happens inside `while_waiting()`, so that a process can be told to stop there and nowhere else.
    """

    def __init__(
        self,
        *,
        timeout: float = 15.0,
        patience: float = 240.0,
        while_waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._timeout = timeout
        self._patience = patience
        self._while_waiting = while_waiting
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {settings.HUB_TOKEN}", "Accept": "application/json"},
            timeout=timeout,
            verify=_tls(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def ask_identity(self) -> Identity:
        """Who the token is. Raises TokenRefused, LearnerErased or HubAway."""
        return self.fetch_page("", limit=1).identity

    def fetch_page(self, cursor: str, *, above: int = 0, wait: int = 0, limit: int = PAGE_SIZE) -> Page:
        """The page after `cursor`. With `wait`, an empty page waits up to that many seconds for news.

        `above`: the highest seq that came before `cursor`. Raises ResyncRequired, TokenRefused, LearnerErased or
        HubAway.
        """
        request = PageRequest(after=cursor, request_id=secrets.token_urlsafe(16), above=above)
        response = self._send(
            "GET",
            "/api/feed",
            wait=wait,
            params={"after": cursor, "limit": limit, "wait": wait, "request_id": request.request_id},
        )
        return read_page(response, request)

    def send_rating(self, rating: Rating) -> Accepted | Refused:
        """Hand one rating to the hub, as often as needed: the hub counts a review_id once.

        Raises TokenRefused, and HubAway for everything that may be better later.
        """
        response = self._send(
            "POST",
            f"/api/study-cards/{rating.card_id}/rate",
            json={**_written(rating), "client_now": _moment(timezone.now())},
        )
        return read_rating(response, rating.pk)

    def send_ratings(self, ratings: Sequence[Rating]) -> dict[UUID, Accepted | Refused]:
        """Hand several ratings to the hub at once, a thousand at most. What became of each; raises as for one."""
        reviews = [{**_written(rating), "card_id": rating.card_id} for rating in ratings]
        response = self._send("POST", "/api/reviews", json={"client_now": _moment(timezone.now()), "reviews": reviews})
        return read_ratings(response, [rating.pk for rating in ratings])

    def _send(self, method: str, path: str, *, wait: int = 0, **options: Any) -> Response:
        if not settings.HUB_TOKEN:
            raise TokenRefused(
                "HUB_TOKEN is not set, so the hub cannot be asked. Make a token on the hub with "
                "`manage.py create_subscriber NAME --learner USERNAME` and set HUB_TOKEN to it."
            )
        timeout = httpx.Timeout(self._timeout, read=self._timeout + wait)
        deadline = time.monotonic() + self._patience + wait
        try:
            with (
                self._while_waiting(),
                self._http.stream(method, settings.HUB_URL + path, timeout=timeout, **options) as response,
            ):
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Response(response.status_code, headers, _body(response, deadline))
        except httpx.TimeoutException as error:
            raise _too_slow() from error
        except httpx.DecodingError as error:
            raise unreadable() from error
        except httpx.TransportError as error:
            raise HubAway(f"The hub at {settings.HUB_URL} cannot be reached.") from error


def _body(response: httpx.Response, deadline: float) -> bytes:
    """The whole body. A read's own limit is no help against a line that drips."""
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > LARGEST_ANSWER_BYTES:
            raise unreadable()
        if time.monotonic() > deadline:
            raise _too_slow()
    return bytes(body)


def _too_slow() -> HubAway:
    return HubAway(f"The hub at {settings.HUB_URL} did not answer in time.", slow=True)


@cache
def _tls() -> ssl.SSLContext:
    # Reading the certificates of the authorities takes longer than a rating does.
    return ssl.create_default_context()


def _written(rating: Rating) -> dict[str, Any]:
    """A rating as the hub reads it: the same each time, or the hub would see another one under a used id."""
    return {
        "review_id": str(rating.pk),
        "outcome": rating.outcome,
        "reviewed_at": _moment(rating.reviewed_at),
        "duration_ms": rating.duration_ms,
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
