"""Errors as RFC 9457 problem+json: the one place that gives what went wrong a status and a stable `type`."""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy
from django.views.defaults import bad_request, page_not_found, server_error
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from pydantic import Field

from memocards import errors
from publish.cursor import CursorExpired, MalformedCursor
from publish.feed import FeedNotBegun, InvalidParameter
from publish.kinds import UnknownKind
from publish.limits import Busy, TooManyWaits
from publish.stream import Answer, MethodNotAllowed
from publish.subscribers import LearnerErased, Unauthenticated

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

_DATABASES = (
    OperationalError,
    InterfaceError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,  # this process stood still meanwhile
    psycopg.errors.ReadOnlySqlTransaction,  # a replica that is about to be the server
)
_DATABASE_AWAY = (
    "database-away",
    gettext_lazy("The database cannot be reached just now. Try again in a few seconds."),
)
_ROW_LOCKED = (
    "row-locked",
    gettext_lazy(
        "Somebody else is changing the same thing just now, so nothing was changed. Try again in a few seconds."
    ),
)
_TOOK_TOO_LONG = (
    "took-too-long",
    gettext_lazy("This takes the database longer than a request may, so it was stopped and nothing was changed."),
)
# By PostgreSQL's code of an error: lock_not_available, deadlock_detected, serialization_failure, query_canceled.
_DATABASE_STATES = {
    "55P03": _ROW_LOCKED,
    "40P01": _ROW_LOCKED,
    "40001": _ROW_LOCKED,
    "57014": _TOOK_TOO_LONG,
}

# The most special first: the first entry that fits an error is taken.
_KNOWN: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.NotFound, 404, "not-found"),
    (errors.TopicHasContent, 409, "topic-has-content"),
    (errors.PreconditionFailed, 412, "changed-since-read"),
    (errors.ChangedSince, 409, "changed-since-read"),
    (errors.WaitsForReview, 409, "card-waits-for-review"),
    (errors.ReviewIdReused, 409, "review-id-reused"),
    (errors.Conflict, 409, "conflict"),
    (errors.CardDeleted, 410, "card-deleted"),
    (errors.Invalid, 422, "invalid"),
    (MalformedCursor, 422, "malformed-cursor"),
    (UnknownKind, 422, "unknown-kind"),
    (CursorExpired, 410, "cursor-expired"),
    (FeedNotBegun, 503, "feed-not-begun"),
    (PermissionDenied, 403, "forbidden"),
    (LearnerErased, 403, "learner-erased"),
    (RequestDataTooBig, 413, "too-large"),
    (Unauthenticated, 401, "unauthorized"),
    (AuthenticationError, 401, "unauthorized"),
    (InvalidParameter, 422, "invalid"),
    (MethodNotAllowed, 405, "method-not-allowed"),
    (TooManyWaits, 429, "too-many-waits"),
    (Busy, 503, "busy"),
    *((kind, 503, _DATABASE_AWAY[0]) for kind in _DATABASES),
)

# What the error itself says is for the log, or says nothing.
_SENTENCES = {
    "unauthorized": "Log in, or send a valid token as `Authorization: Bearer TOKEN`.",
}

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    412: "Precondition Failed",
    413: "Content Too Large",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

# What Django answers by itself, before or after the API.
_DJANGOS = {
    400: "This request cannot be read.",
    405: "This method is not possible here.",
    413: "This request is too large.",
    500: "Something failed here. It is in the log of the hub.",
}


def _title(status: int) -> str:
    return TITLES.get(status) or HTTPStatus(status).phrase


def problem(status: int, slug: str, detail: str, **more: Any) -> dict[str, Any]:
    """The body of a problem: `detail` is a sentence for a person, `type` a stable word for a program."""
    return {
        "type": f"urn:studyhub:problem:{slug}",
        "title": _title(status),
        "status": status,
        "detail": detail,
        **more,
    }


def describe(error: Exception) -> dict[str, Any] | None:
    """The problem that an error is to whoever asked; None for one that only we can mend."""
    for kind, status, slug in _KNOWN:
        if isinstance(error, kind):
            if kind in _DATABASES:
                logger.error("The database did not answer: %s", error)
                return _database_problem(error)
            sentence = _SENTENCES.get(slug) or str(error) or _title(status)
            return problem(status, slug, sentence, **_particulars(error), **_review_in(error))
    return None


def _database_problem(error: Exception) -> dict[str, Any]:
    # Django's own errors have PostgreSQL's, with its code, as their cause.
    state = getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
    slug, sentence = _DATABASE_STATES.get(state or "", _DATABASE_AWAY)
    return problem(503, slug, str(sentence))


def _particulars(error: Exception) -> dict[str, Any]:
    """What a program needs besides the type: the fields that are wrong, or that it must start over."""
    match error:
        case errors.Invalid():
            return {"errors": error.fields}
        case errors.ChangedSince():
            return {"changed": [{"id": row.key, "fields": list(row.fields)} for row in error.rows]}
        case InvalidParameter():
            return {"errors": {error.name: [str(error)]}}
        case MalformedCursor():
            return {"errors": {"after": [str(error)]}}
        case UnknownKind():
            return {"errors": {"kinds": [str(error)]}}
        case CursorExpired():
            return {"resync": True}
        case LearnerErased():
            return {"hub": str(error.hub), "subscriber": error.subscriber_id, "learner_id": error.learner_id}
    return {}


def _review_in(error: Exception) -> dict[str, str]:
    """Which answer of a learner was refused: a line that tells an old refusal again is found out by it."""
    review_id = error.review_id if isinstance(error, errors.DomainError) else None
    return {} if review_id is None else {"review_id": str(review_id)}


def headers_for(body: Mapping[str, Any]) -> dict[str, str]:
    """The headers that go with a problem's status."""
    if body["status"] == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if body["status"] == HTTPStatus.METHOD_NOT_ALLOWED:
        return {"Allow": "GET"}
    if body["status"] in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return {}


def slug_of(status: int) -> str:
    """The word in the `type` of a problem that has no better one than its status."""
    return {413: "too-large"}.get(status) or _title(status).lower().replace(" ", "-")


def answer_for(error: Exception, named: Mapping[str, Any]) -> Answer | None:
    """The feed's answer to an error, with what it repeats of the request; None for an error not named here."""
    body = describe(error)
    if body is None:
        return None
    if body["status"] != HTTPStatus.UNAUTHORIZED:  # to nobody in particular, nothing is repeated
        body |= named
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store", **headers_for(body)}
    return Answer(body["status"], headers, json.dumps(body).encode())


def response(body: Mapping[str, Any]) -> JsonResponse:
    """A problem as a response of Django's."""
    return JsonResponse(body, status=body["status"], content_type=CONTENT_TYPE, headers=headers_for(body))


class Changed(Schema):
    """A row that is no longer as it was read."""

    id: int = Field(examples=[42])
    fields: list[str] = Field(examples=[["front", "tags"]], description="What changed; empty where `version` is none.")


class Problem(Schema):
    """RFC 9457 problem+json."""

    type: str = Field(description="A stable word for programs.", examples=["urn:studyhub:problem:not-found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="A sentence for a person.", examples=["There is no memo card 42."])
    errors: dict[str, list[str]] | None = Field(None, description="Field → sentences, where fields are wrong.")
    changed: list[Changed] | None = Field(None, description="The rows that changed since they were read.")


def problems(*statuses: int) -> dict[Any, Any]:
    """What a view declares as its error responses."""
    return dict.fromkeys(statuses, Problem)


def register(api: NinjaAPI) -> None:
    """Make the API answer every error with a problem."""

    def known(request: HttpRequest, error: Exception) -> JsonResponse:
        body = describe(error)
        assert body is not None  # noqa: S101
        return response(body)

    for kind, _status, _slug in _KNOWN:
        api.exception_handler(kind)(known)

    @api.exception_handler(LearnerErased)
    def erased(request: HttpRequest, error: LearnerErased) -> JsonResponse:
        # A viewer believes it only as the answer to its own request.
        named = {"after": request.GET.get("after", ""), "request_id": request.GET.get("request_id")}
        return response({**(describe(error) or {}), **named})

    @api.exception_handler(ValidationError)
    def invalid(request: HttpRequest, error: ValidationError) -> JsonResponse:
        return response(_validation_problem(error))

    @api.exception_handler(HttpError)
    def http_error(request: HttpRequest, error: HttpError) -> JsonResponse:
        return response(problem(error.status_code, slug_of(error.status_code), str(error)))

    @api.exception_handler(Http404)
    def not_found(request: HttpRequest, error: Http404) -> JsonResponse:
        return response(problem(404, "not-found", f"There is nothing at {request.path}."))


def _validation_problem(error: ValidationError) -> dict[str, Any]:
    """Field → sentences, with the field's path in the request: `choices.2`."""
    fields: dict[str, list[str]] = {}
    for entry in error.errors:
        path = [str(part) for part in entry["loc"][1:]]
        # ninja names the parameter that holds the body first; the client has never heard of it.
        if entry["loc"][0] == "body" and len(path) > 1:
            path = path[1:]
        fields.setdefault(".".join(path) or "__all__", []).append(str(entry["msg"]))
    names = ", ".join(fields)
    return problem(422, "invalid", f"Some of what was sent cannot be accepted: {names}.", errors=fields)


def not_found_page(request: HttpRequest, exception: Exception) -> Any:
    """handler404: problem+json below /api/, Django's own page elsewhere."""
    if request.path.startswith("/api/"):
        return response(problem(404, "not-found", f"There is nothing at {request.path}."))
    return page_not_found(request, exception)


def bad_request_page(request: HttpRequest, exception: Exception) -> Any:
    """handler400. A session that the database did not take is a bad request to Django; it is none of the caller's."""
    return _unavailable(request, exception) or bad_request(request, exception)


def server_error_page(request: HttpRequest) -> Any:
    """handler500: 503 where the error, which is being handled, is the database's; else Django's own page."""
    return _unavailable(request, sys.exc_info()[1]) or server_error(request)


def _unavailable(request: HttpRequest, error: BaseException | None) -> HttpResponse | None:
    """503 with a sentence, as a problem below /api/ and elsewhere as a page, if the database is what is wrong."""
    body = next((describe(cause) for cause in _causes(error) if isinstance(cause, _DATABASES)), None)
    if body is None:
        return None
    if request.path.startswith("/api/"):
        return response(body)
    # Without the request: whoever it is from stands in the database.
    html = render_to_string("503.html", {"sentence": body["detail"]})
    return HttpResponse(html, status=body["status"], headers={**headers_for(body), "Cache-Control": "no-store"})


def _causes(error: BaseException | None) -> Iterator[Exception]:
    """An error, what it was raised from, and so on."""
    while isinstance(error, Exception):
        yield error
        error = error.__cause__ or error.__context__


def problems_below_api(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: below /api/ the errors that Django answers by itself are problems too, and nothing is stored."""

    def answer(request: HttpRequest) -> HttpResponse:
        found = get_response(request)
        if not request.path.startswith("/api/"):
            return found
        told = _as_problem(found)
        # What a learner has answered is nothing for a cache, and neither is what was refused.
        told.setdefault("Cache-Control", "no-store")
        return told

    return answer


def _as_problem(found: HttpResponse) -> HttpResponse:
    status = found.status_code
    if (
        status < HTTPStatus.BAD_REQUEST
        or found["Content-Type"] == CONTENT_TYPE
        or (settings.DEBUG and status == HTTPStatus.INTERNAL_SERVER_ERROR)
    ):
        return found
    told = response(problem(status, slug_of(status), _DJANGOS.get(status, _title(status))))
    # Or Django logs the same answer once more.
    told._has_been_logged = getattr(found, "_has_been_logged", False)  # type: ignore[attr-defined]
    if found.has_header("Allow"):
        told["Allow"] = found["Allow"]
    return told
