"""What a problem says: the body for each error, ours and those of Django, PostgreSQL and the REST framework."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import psycopg
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import JsonResponse
from django.utils.translation import gettext_lazy
from ninja.errors import AuthenticationError

from kit.problems import LOG_IN, ProblemError

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5

DATABASE_ERRORS: Final = (
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

# Errors that are not ours: what each is over HTTP, and the sentence where its own is for the log.
_FOREIGN: Final[tuple[tuple[type[Exception], int, str, str], ...]] = (
    (PermissionDenied, 403, "forbidden", ""),
    (RequestDataTooBig, 413, "too-large", ""),
    (AuthenticationError, 401, "unauthorized", LOG_IN),
)
KNOWN: Final[tuple[type[Exception], ...]] = (ProblemError, *(kind for kind, *_rest in _FOREIGN), *DATABASE_ERRORS)

TITLES: Final = {
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


def problem(status: int, slug: str, detail: str, **more: Any) -> dict[str, Any]:
    """The body of a problem: `detail` is a sentence for a person, `type` a stable word for a program."""
    return {
        "type": f"urn:studyhub:problem:{slug}",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        **more,
    }


def describe(error: BaseException) -> dict[str, Any] | None:
    """The problem that an error is to whoever asked; None for one that only we can mend."""
    if isinstance(error, ProblemError):
        return problem(error.status, error.slug, str(error) or title_of(error.status), **error.particulars())
    if isinstance(error, DATABASE_ERRORS):
        logger.error("The database did not answer: %s", error)
        return _database_problem(error)
    for kind, status, slug, sentence in _FOREIGN:
        if isinstance(error, kind):
            return problem(status, slug, sentence or str(error) or title_of(status))
    return None


def _database_problem(error: BaseException) -> dict[str, Any]:
    # Django's own errors have PostgreSQL's, with its code, as their cause.
    state = getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
    slug, sentence = _DATABASE_STATES.get(state or "", _DATABASE_AWAY)
    return problem(503, slug, str(sentence))


def headers_for(body: Mapping[str, Any]) -> dict[str, str]:
    """The headers that go with a problem's status."""
    if body["status"] == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if body["status"] == HTTPStatus.METHOD_NOT_ALLOWED:
        return {"Allow": "GET"}
    if body["status"] in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return {}


def title_of(status: int) -> str:
    """The phrase that goes with a status."""
    return TITLES.get(status) or HTTPStatus(status).phrase


def slug_of(status: int) -> str:
    """The word in the `type` of a problem that has no better one than its status."""
    return {413: "too-large"}.get(status) or title_of(status).lower().replace(" ", "-")


def response(body: Mapping[str, Any]) -> JsonResponse:
    """A problem as a response of Django's."""
    return JsonResponse(body, status=body["status"], content_type=CONTENT_TYPE, headers=headers_for(body))
