"""What came over the line, and whether to believe it.

A proxy, a cache or a router's login page may answer in the hub's stead, or with what the hub once said to another
request. So an answer counts only where it names what was asked: a page and a refusal the cursor and a word that was new
with the request, a rating its review. Whatever else comes is one of the failures below, and changes nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import pairwise
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, InstanceOf

from viewer.identity import Identity

LARGEST = 2**63 - 1
LARGEST_SILENCE_SECONDS = 1e9
# Whatever the line says, the hub is asked again after this long.
LONGEST_REST_SECONDS = 300.0
_PROBLEM = "urn:studyhub:problem:"
# A rating refused for want of a permission, or because it cannot be read, is not named in the refusal.
_REFUSED_BEFORE_IT_WAS_READ = {f"{_PROBLEM}forbidden", f"{_PROBLEM}invalid"}


class HubAway(Exception):
    """The hub gave no usable answer: out of reach, failing, or busy. Trying again later may help.

    `str()` is a sentence for the learner. `retry_after` is in seconds, where the hub named it, and no longer than
    LONGEST_REST_SECONDS; `slow` says that the failure took its whole time limit; `answered` that it was this very
    request the hub failed over.
    """

    def __init__(
        self, sentence: str, *, retry_after: float | None = None, slow: bool = False, answered: bool = False
    ) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
        self.slow = slow
        self.answered = answered


class TokenRefused(Exception):
    """The hub does not take this token. `str()` is a sentence for the learner."""


class LearnerErased(TokenRefused):
    """The hub has erased the learner whose token this was: what is held of `identity`'s learner is to be forgotten."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(
            "The hub has erased the learner of this HUB_TOKEN: answers and progress are deleted there, and here where "
            "they were held. The token opens nothing any more."
        )
        self.identity = identity


class ResyncRequired(Exception):
    """The cursor is of another history, or older than what the hub still knows. Start from nothing."""


@dataclass(frozen=True)
class Response:
    """A whole HTTP response. The names of the headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class PageRequest:
    """What a page has to answer: the cursor, a word that was never used before, and the seq above which it goes on."""

    after: str
    request_id: str
    above: int


Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
# What a database can hold: no NUL, and no half of a character, which pydantic refuses by itself.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
STRICT = ConfigDict(strict=True, frozen=True)


class Item(BaseModel):
    """An event of the feed. What its payload may be is its kind's affair."""

    model_config = STRICT

    seq: Whole
    kind: Text
    id: Whole
    learner_id: Whole | None
    schema_version: Whole
    deleted: bool
    hash: Text
    payload: InstanceOf[dict[str, Any]]


class _Names(BaseModel):
    """Which hub speaks, and to whom."""

    model_config = STRICT

    hub: str
    subscriber: Whole
    learner_id: Whole | None

    @property
    def identity(self) -> Identity:
        return Identity(hub=UUID(self.hub), subscriber_id=self.subscriber, learner_id=self.learner_id)


class _PageBody(_Names):
    items: list[Item]
    cursor: Text
    head: Whole
    has_more: bool
    relay_silent_seconds: Annotated[float, Field(ge=0, lt=LARGEST_SILENCE_SECONDS, allow_inf_nan=False)] | None = None


@dataclass(frozen=True)
class Page:
    # The cursor that was asked with. A page applies only where that is still the state's cursor.
    after: str
    items: list[Item]
    cursor: str
    head: int
    has_more: bool
    identity: Identity
    # For how long nothing was published at the hub, because no relay runs there; None: it does not say, or never was.
    relay_silent_seconds: float | None = None


@dataclass(frozen=True)
class Accepted:
    """The hub has the rating."""


@dataclass(frozen=True)
class Refused:
    """The hub will never take the rating."""

    problem: str


def read_page(response: Response, request: PageRequest) -> Page:
    """The page in a response. Raises ResyncRequired, TokenRefused, LearnerErased or HubAway."""
    if response.status == HTTPStatus.OK:
        return _page(response, request)
    problem = _problem_of(response)
    if problem is None:
        raise _unexpected(response)
    match response.status, problem["type"].removeprefix(_PROBLEM):
        case HTTPStatus.UNAUTHORIZED, _:
            raise _token_refused(problem)
        case HTTPStatus.FORBIDDEN, "learner-erased" if _answers(problem, request):
            raise LearnerErased(_erased_identity(problem))
        case HTTPStatus.FORBIDDEN, _:
            raise _token_refused(problem)
        case (HTTPStatus.GONE, "cursor-expired") | (HTTPStatus.UNPROCESSABLE_ENTITY, "malformed-cursor"):
            _require_answer(problem, request)
            if not request.after:
                raise HubAway("The hub refuses to begin its feed from the start. Its log should say why.")
            raise ResyncRequired
    raise _unexpected(response)


def read_rating(response: Response, review_id: UUID) -> Accepted | Refused:
    """What became of one rating. Raises TokenRefused, and HubAway for everything that may be better later."""
    if response.status == HTTPStatus.OK:
        if _document(response).get("review_id") == str(review_id):
            return Accepted()
        raise _not_the_answer()
    problem = _final_refusal(response)
    names_none = "review_id" not in problem and problem["type"] in _REFUSED_BEFORE_IT_WAS_READ
    if problem.get("review_id") != str(review_id) and not names_none:
        raise _not_the_answer()
    return Refused(_sentence(problem))


def read_ratings(response: Response, review_ids: list[UUID]) -> dict[UUID, Accepted | Refused]:
    """What became of each of several ratings. Raises as read_rating() does."""
    if response.status != HTTPStatus.OK:
        raise _unexpected(response) if _problem_of(response) is None else HubAway(_sentence(_final_refusal(response)))
    try:
        results = {UUID(result["review_id"]): _result(result) for result in _document(response)["results"]}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _not_the_answer() from error
    if results.keys() != set(review_ids):
        raise _not_the_answer()
    return results


def unreadable() -> HubAway:
    return HubAway(f"What answers at {settings.HUB_URL} is not a StudyHub feed. Is HUB_URL right?", answered=True)


def _result(result: Mapping[str, Any]) -> Accepted | Refused:
    match result["status"]:
        case "stored" | "repeated":
            return Accepted()
        case "refused":
            return Refused(_sentence(result["problem"]))
    raise ValueError


def _final_refusal(response: Response) -> Mapping[str, Any]:
    """The problem for which the hub will never take what was sent. Raises TokenRefused, HubAway."""
    problem = _problem_of(response)
    may_pass_later = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    if problem is None or not _is_client_error(response) or response.status in may_pass_later:
        raise _unexpected(response)
    if response.status == HTTPStatus.UNAUTHORIZED or problem["type"] == f"{_PROBLEM}learner-erased":
        # The feed says the same, and names whom it means.
        raise _token_refused(problem)
    return problem


def _problem_of(response: Response) -> Mapping[str, Any] | None:
    """The body, if it is a problem as the hub writes them; None for what something else on the line has to say."""
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/problem+json":
        return None
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(body, dict) and isinstance(body.get("type"), str) and body["type"].startswith(_PROBLEM)
    return body if is_ours else None


def _document(response: Response) -> dict[str, Any]:
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError) as error:
        raise unreadable() from error
    if not isinstance(body, dict):
        raise unreadable()
    return body


def _answers(body: Mapping[str, Any], request: PageRequest) -> bool:
    return (body.get("after"), body.get("request_id")) == (request.after, request.request_id)


def _require_answer(body: Mapping[str, Any], request: PageRequest) -> None:
    if _answers(body, request):
        return
    if "request_id" not in body:
        raise HubAway(
            f"The hub at {settings.HUB_URL} is older than this viewer: it does not say which request it answers, so "
            "nothing of it is applied. Update the hub; nothing here is lost."
        )
    raise _not_the_answer()


def _not_the_answer() -> HubAway:
    return HubAway(
        f"What came from {settings.HUB_URL} answers another request than ours, as a proxy between us may do. "
        "Nothing of it was applied."
    )


def _page(response: Response, request: PageRequest) -> Page:
    body = _document(response)
    if not {"items", "cursor", "head", "has_more"} <= body.keys():
        raise unreadable()
    _require_answer(body, request)
    try:
        read = _PageBody.model_validate(body)
        page = Page(
            after=request.after,
            items=read.items,
            cursor=read.cursor,
            head=read.head,
            has_more=read.has_more,
            identity=read.identity,
            relay_silent_seconds=read.relay_silent_seconds,
        )
    except ValueError as error:
        raise unreadable() from error
    _require_consistency(page, request)
    if page.has_more and page.cursor == request.after:
        raise HubAway("The hub's feed does not move on: it repeats its cursor.", answered=True)
    return page


def _require_consistency(page: Page, request: PageRequest) -> None:
    """A page brings each place of the feed once, in order, after what came before it and up to its head; and what one
    learner may see has nobody else's progress in it."""
    places = [request.above, *(item.seq for item in page.items)]
    in_order = all(earlier < later for earlier, later in pairwise(places)) and places[-1] <= page.head
    may_see = {None, page.identity.learner_id}
    of_others = len(may_see) > 1 and any(item.learner_id not in may_see for item in page.items)
    if not in_order or of_others:
        raise HubAway("A page of the feed contradicts itself, so nothing of it was applied.", answered=True)


def _erased_identity(problem: Mapping[str, Any]) -> Identity:
    try:
        return _Names.model_validate(problem).identity
    except ValueError as error:
        raise unreadable() from error


def _sentence(problem: Mapping[str, Any]) -> str:
    """What a problem says to a person."""
    for key in ("detail", "title"):
        if isinstance(problem.get(key), str) and problem[key].strip():
            # It goes into a page and a database: no longer than a sentence, and storable.
            return str(problem[key]).encode(errors="replace").decode().replace("\0", "")[:500].strip()
    return "It does not say why."


def _token_refused(problem: Mapping[str, Any]) -> TokenRefused:
    return TokenRefused(f"The hub at {settings.HUB_URL} does not take this HUB_TOKEN. It says: {_sentence(problem)}")


def _unexpected(response: Response) -> HubAway:
    status = response.status
    if status in {301, 302, 303, 307, 308}:
        # Not followed: the token is for this address only.
        return HubAway(
            f"{settings.HUB_URL} sends us on to {response.headers.get('location', 'another address')}. "
            "HUB_URL should be the hub's own address."
        )
    if status == HTTPStatus.NOT_FOUND:
        return unreadable()
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        sentence = "The hub asks for a pause: it got too many requests."
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        sentence = f"The hub at {settings.HUB_URL} is in trouble: it answered {status}."
    else:
        problem = _problem_of(response)
        says = f" It says: {_sentence(problem)}" if problem else " Perhaps it was something between us and the hub."
        sentence = f"{settings.HUB_URL} answered {status}, which is not expected.{says}"
    return HubAway(
        sentence,
        retry_after=_rest_seconds(response.headers.get("retry-after", "").strip()),
        answered=status == HTTPStatus.INTERNAL_SERVER_ERROR
        or (_is_client_error(response) and status != HTTPStatus.TOO_MANY_REQUESTS),
    )


def _is_client_error(response: Response) -> bool:
    return HTTPStatus.BAD_REQUEST <= response.status < HTTPStatus.INTERNAL_SERVER_ERROR


def _rest_seconds(text: str) -> float | None:
    """The seconds that a Retry-After asks for, from 0 to LONGEST_REST_SECONDS; None where it says nothing."""
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_REST_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    seconds = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_REST_SECONDS)
