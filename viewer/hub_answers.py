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
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings

from viewer.identity import Identity

T = TypeVar("T")
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
class Answer:
    """A whole HTTP response. The names of the headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Question:
    """What a page has to answer: the cursor, a word that was never used before, and the seq above which it goes on."""

    after: str
    request_id: str
    above: int


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


def read_page(answer: Answer, question: Question) -> Page:
    """The page in an answer. Raises ResyncRequired, TokenRefused, LearnerErased or HubAway."""
    if answer.status == HTTPStatus.OK:
        return _page(answer, question)
    problem = _problem_of(answer)
    if problem is None:
        raise _unexpected(answer)
    match answer.status, problem["type"].removeprefix(_PROBLEM):
        case HTTPStatus.UNAUTHORIZED, _:
            raise _token_refused(problem)
        case HTTPStatus.FORBIDDEN, "learner-erased" if _answers(problem, question):
            raise LearnerErased(_erased_identity(problem))
        case HTTPStatus.FORBIDDEN, _:
            raise _token_refused(problem)
        case (HTTPStatus.GONE, "cursor-expired") | (HTTPStatus.UNPROCESSABLE_ENTITY, "malformed-cursor"):
            _require_answer(problem, question)
            if not question.after:
                raise HubAway("The hub refuses to begin its feed from the start. Its log should say why.")
            raise ResyncRequired
    raise _unexpected(answer)


def read_rating(answer: Answer, review_id: UUID) -> Accepted | Refused:
    """What became of one rating. Raises TokenRefused, and HubAway for everything that may be better later."""
    if answer.status == HTTPStatus.OK:
        if _document(answer).get("review_id") == str(review_id):
            return Accepted()
        raise _not_the_answer()
    problem = _final_refusal(answer)
    names_none = "review_id" not in problem and problem["type"] in _REFUSED_BEFORE_IT_WAS_READ
    if problem.get("review_id") != str(review_id) and not names_none:
        raise _not_the_answer()
    return Refused(_sentence(problem))


def read_ratings(answer: Answer, review_ids: list[UUID]) -> dict[UUID, Accepted | Refused]:
    """What became of each of several ratings. Raises as read_rating() does."""
    if answer.status != HTTPStatus.OK:
        raise _unexpected(answer) if _problem_of(answer) is None else HubAway(_sentence(_final_refusal(answer)))
    try:
        results = {UUID(result["review_id"]): _result(result) for result in _document(answer)["results"]}
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


def _final_refusal(answer: Answer) -> Mapping[str, Any]:
    """The problem for which the hub will never take what was sent. Raises TokenRefused, HubAway."""
    problem = _problem_of(answer)
    may_pass_later = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    if problem is None or not _is_client_error(answer) or answer.status in may_pass_later:
        raise _unexpected(answer)
    if answer.status == HTTPStatus.UNAUTHORIZED or problem["type"] == f"{_PROBLEM}learner-erased":
        # The feed says the same, and names whom it means.
        raise _token_refused(problem)
    return problem


def _problem_of(answer: Answer) -> Mapping[str, Any] | None:
    """The body, if it is a problem as the hub writes them; None for what something else on the line has to say."""
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/problem+json":
        return None
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(body, dict) and isinstance(body.get("type"), str) and body["type"].startswith(_PROBLEM)
    return body if is_ours else None


def _document(answer: Answer) -> dict[str, Any]:
    try:
        return _of(dict, json.loads(answer.body))
    except (ValueError, TypeError, RecursionError) as error:
        raise unreadable() from error


def _answers(body: Mapping[str, Any], question: Question) -> bool:
    return (body.get("after"), body.get("request_id")) == (question.after, question.request_id)


def _require_answer(body: Mapping[str, Any], question: Question) -> None:
    if _answers(body, question):
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


def _page(answer: Answer, question: Question) -> Page:
    body = _document(answer)
    if not {"items", "cursor", "head", "has_more"} <= body.keys():
        raise unreadable()
    _require_answer(body, question)
    try:
        page = Page(
            after=question.after,
            items=[_item(raw) for raw in body["items"]],
            cursor=_plain(body["cursor"]),
            head=_whole(body["head"]),
            has_more=_of(bool, body["has_more"]),
            identity=_identity(body),
            relay_silent_seconds=_seconds_or_none(body.get("relay_silent_seconds")),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise unreadable() from error
    _require_consistency(page, question)
    if page.has_more and page.cursor == question.after:
        raise HubAway("The hub's feed does not move on: it repeats its cursor.", answered=True)
    return page


def _seconds_or_none(value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 <= value < LARGEST_SILENCE_SECONDS:
        raise ValueError
    return float(value)


def _require_consistency(page: Page, question: Question) -> None:
    """A page brings each place of the feed once, in order, after what came before it and up to its head; and what one
    learner may see has nobody else's progress in it."""
    places = [question.above, *(item.seq for item in page.items)]
    in_order = all(earlier < later for earlier, later in pairwise(places)) and places[-1] <= page.head
    may_see = {None, page.identity.learner_id}
    of_others = len(may_see) > 1 and any(item.learner_id not in may_see for item in page.items)
    if not in_order or of_others:
        raise HubAway("A page of the feed contradicts itself, so nothing of it was applied.", answered=True)


def _identity(body: Mapping[str, Any]) -> Identity:
    learner_id = body["learner_id"]
    return Identity(
        hub=UUID(_of(str, body["hub"])),
        subscriber_id=_whole(body["subscriber"]),
        learner_id=None if learner_id is None else _whole(learner_id),
    )


def _erased_identity(problem: Mapping[str, Any]) -> Identity:
    try:
        return _identity(problem)
    except (ValueError, TypeError, KeyError) as error:
        raise unreadable() from error


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


def _sentence(problem: Mapping[str, Any]) -> str:
    """What a problem says to a person."""
    for key in ("detail", "title"):
        if isinstance(problem.get(key), str) and problem[key].strip():
            # It goes into a page and a database: no longer than a sentence, and storable.
            return str(problem[key]).encode(errors="replace").decode().replace("\0", "")[:500].strip()
    return "It does not say why."


def _token_refused(problem: Mapping[str, Any]) -> TokenRefused:
    return TokenRefused(f"The hub at {settings.HUB_URL} does not take this HUB_TOKEN. It says: {_sentence(problem)}")


def _unexpected(answer: Answer) -> HubAway:
    status = answer.status
    if status in {301, 302, 303, 307, 308}:
        # Not followed: the token is for this address only.
        return HubAway(
            f"{settings.HUB_URL} sends us on to {answer.headers.get('location', 'another address')}. "
            "HUB_URL should be the hub's own address."
        )
    if status == HTTPStatus.NOT_FOUND:
        return unreadable()
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        sentence = "The hub asks for a pause: it got too many requests."
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        sentence = f"The hub at {settings.HUB_URL} is in trouble: it answered {status}."
    else:
        problem = _problem_of(answer)
        says = f" It says: {_sentence(problem)}" if problem else " Perhaps it was something between us and the hub."
        sentence = f"{settings.HUB_URL} answered {status}, which is not expected.{says}"
    return HubAway(
        sentence,
        retry_after=_rest_seconds(answer.headers.get("retry-after", "").strip()),
        answered=status == HTTPStatus.INTERNAL_SERVER_ERROR
        or (_is_client_error(answer) and status != HTTPStatus.TOO_MANY_REQUESTS),
    )


def _is_client_error(answer: Answer) -> bool:
    return HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR


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
