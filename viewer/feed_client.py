"""The hub over HTTP: one page of the feed, one rating. Every way it can fail is one of three errors."""

import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from django.conf import settings
from django.utils import timezone

from viewer.models import Rating

T = TypeVar("T")
PAGE_SIZE = 1000
LARGEST = 2**63 - 1


class HubAway(Exception):
    """The hub gave no usable answer: out of reach, failing, or busy. Trying again later may help.

    `str()` is a sentence for the learner. `retry_after` is in seconds, where the hub named it; `slow` says
    that the failure took its whole time limit; `answered` that it was this very request the hub failed over.
    """

    def __init__(
        self, sentence: str, *, retry_after: float | None = None, slow: bool = False, answered: bool = False
    ) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
        self.slow = slow
        self.answered = answered


class TokenRefused(Exception):
    """401 or 403: the hub does not take this token. `str()` is a sentence for the learner."""


class ResyncRequired(Exception):
    """410: the cursor is of another history, or older than what the hub still knows. Start from nothing."""


@dataclass(frozen=True)
class Item:
    seq: int
    kind: str
    id: int
    learner_id: int | None
    schema_version: int
    deleted: bool
    hash: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    # The cursor that was asked with. A page applies only where that is still the state's cursor.
    after: str
    items: list[Item]
    cursor: str
    head: int
    has_more: bool


@dataclass(frozen=True)
class Accepted:
    """The hub has the rating."""


@dataclass(frozen=True)
class Refused:
    """The hub will never take the rating."""

    problem: str


class FeedClient:
    """A connection to the hub for one thread.

    `timeout` is in seconds and is added to the wait of a long poll. Every wait for the network happens inside
    `while_waiting()`, so that a process can be told to stop there and nowhere else.
    """

    def __init__(
        self,
        *,
        timeout: float = 15.0,
        while_waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._timeout = timeout
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

    def fetch_page(self, cursor: str, *, wait: int = 0, limit: int = PAGE_SIZE) -> Page:
        """The page after `cursor`. With `wait`, an empty page waits up to that many seconds for news.

        Raises ResyncRequired, TokenRefused or HubAway.
        """
        response = self._send(
            "GET",
            "/api/feed",
            params={"after": cursor, "limit": limit, "wait": wait},
            timeout=httpx.Timeout(self._timeout, read=self._timeout + wait),
        )
        if response.status_code == httpx.codes.GONE or (
            # A cursor the hub cannot even read is no better than an expired one.
            response.status_code == httpx.codes.UNPROCESSABLE_ENTITY and cursor
        ):
            if not cursor:
                raise HubAway("The hub refuses to begin its feed from the start. Its log should say why.")
            raise ResyncRequired
        if response.status_code == httpx.codes.FORBIDDEN:
            raise _token_refused(response)
        if response.status_code != httpx.codes.OK:
            raise _unexpected(response)
        return _page(response, cursor)

    def send_rating(self, rating: Rating) -> Accepted | Refused:
        """Hand one rating to the hub, as often as needed: the hub counts a review_id once.

        Raises TokenRefused for 401 and HubAway for everything that may be better later.
        """
        response = self._send(
            "POST",
            f"/api/study-cards/{rating.card_id}/rate",
            json={
                "review_id": str(rating.id),
                "outcome": rating.outcome,
                "reviewed_at": _written(rating.reviewed_at),
                "client_now": _written(timezone.now()),
                "duration_ms": rating.duration_ms,
            },
        )
        if response.is_success:
            return Accepted()
        may_pass_later = {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS}
        if response.is_client_error and response.status_code not in may_pass_later:
            return Refused(_problem(response))
        raise _unexpected(response)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        if not settings.HUB_TOKEN:
            raise TokenRefused(
                "HUB_TOKEN is not set, so the hub cannot be asked. Make a token on the hub with "
                "`manage.py create_subscriber NAME --learner USERNAME` and set HUB_TOKEN to it."
            )
        try:
            with self._while_waiting():
                response = self._http.request(method, settings.HUB_URL + path, **options)
        except httpx.TimeoutException as error:
            raise HubAway(f"The hub at {settings.HUB_URL} did not answer in time.", slow=True) from error
        except httpx.DecodingError as error:
            raise _unreadable() from error
        except httpx.TransportError as error:
            raise HubAway(f"The hub at {settings.HUB_URL} cannot be reached.") from error
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise _token_refused(response)
        return response


@cache
def _tls() -> ssl.SSLContext:
    # Reading the certificates of the authorities takes longer than a rating does.
    return ssl.create_default_context()


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _problem(response: httpx.Response) -> str:
    """The sentence of a problem+json answer, or one about its status."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        for key in ("detail", "title"):
            if isinstance(body.get(key), str) and body[key].strip():
                # It goes into a page and a database: no longer than a sentence, and storable.
                return str(body[key]).encode(errors="replace").decode().replace("\0", "")[:500].strip()
    return f"The hub answered {response.status_code}."


def _token_refused(response: httpx.Response) -> TokenRefused:
    return TokenRefused(f"The hub at {settings.HUB_URL} does not take this HUB_TOKEN. It says: {_problem(response)}")


def _unreadable() -> HubAway:
    return HubAway(f"What answers at {settings.HUB_URL} is not a StudyHub feed. Is HUB_URL right?", answered=True)


def _unexpected(response: httpx.Response) -> HubAway:
    status = response.status_code
    if response.is_redirect:
        # Not followed: the token is for this address only.
        return HubAway(
            f"{settings.HUB_URL} sends us on to {response.headers.get('location', 'another address')}. "
            "HUB_URL should be the hub's own address."
        )
    if status == httpx.codes.NOT_FOUND:
        return _unreadable()
    if status == httpx.codes.TOO_MANY_REQUESTS:
        sentence = "The hub asks for a pause: it got too many requests."
    elif response.is_server_error:
        sentence = f"The hub at {settings.HUB_URL} is in trouble: it answered {status}."
    else:
        sentence = f"The hub at {settings.HUB_URL} answered {status}, which is not expected. {_problem(response)}"
    return HubAway(
        sentence,
        retry_after=_seconds(response.headers.get("retry-after", "")),
        answered=status == httpx.codes.INTERNAL_SERVER_ERROR,
    )


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _page(response: httpx.Response, after: str) -> Page:
    try:
        body = response.json()
        page = Page(
            after=after,
            items=[_item(raw) for raw in body["items"]],
            cursor=_plain(body["cursor"]),
            head=_whole(body["head"]),
            has_more=_of(bool, body["has_more"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _unreadable() from error
    if page.has_more and page.cursor == after:
        raise HubAway("The hub's feed does not move on: it repeats its cursor.", answered=True)
    return page


def _item(raw: Any) -> Item:
    return Item(
        seq=_whole(raw["seq"]),
        kind=_plain(raw["kind"]),
        id=_whole(raw["id"]),
        learner_id=None if raw["learner_id"] is None else _whole(raw["learner_id"]),
        schema_version=_whole(raw["schema_version"]),
        deleted=_of(bool, raw["deleted"]),
        hash=_plain(raw["hash"]),
        payload=_of(dict, raw["payload"]),
    )


def _of(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _plain(value: Any) -> str:
    """A text the database can hold; the encoding raises a ValueError for half a character."""
    text = _of(str, value)
    text.encode()
    if "\0" in text:
        raise ValueError
    return text


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -LARGEST <= value <= LARGEST:
        raise TypeError
    return value
