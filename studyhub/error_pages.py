"""What Django answers by itself, before or after the API: problems below /api/, pages elsewhere."""

import sys
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.defaults import bad_request, page_not_found, server_error

from kit.problems.description import (
    CONTENT_TYPE,
    DATABASE_ERRORS,
    describe,
    headers_for,
    problem,
    response,
    slug_of,
    title_of,
)

_SENTENCES = {
    400: "This request cannot be read.",
    405: "This method is not possible here.",
    413: "This request is too large.",
    500: "Something failed here. It is in the log of the hub.",
}


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
    body = next((describe(cause) for cause in _causes(error) if isinstance(cause, DATABASE_ERRORS)), None)
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
        answered = get_response(request)
        if not request.path.startswith("/api/"):
            return answered
        below_api = _as_problem(answered)
        # What a learner has answered is nothing for a cache, and neither is what was refused.
        below_api.setdefault("Cache-Control", "no-store")
        return below_api

    return answer


def _as_problem(answered: HttpResponse) -> HttpResponse:
    status = answered.status_code
    if (
        status < HTTPStatus.BAD_REQUEST
        or answered["Content-Type"] == CONTENT_TYPE
        or (settings.DEBUG and status == HTTPStatus.INTERNAL_SERVER_ERROR)
    ):
        return answered
    replacement = response(problem(status, slug_of(status), _SENTENCES.get(status, title_of(status))))
    # Or Django logs the same answer once more.
    replacement._has_been_logged = getattr(answered, "_has_been_logged", False)  # type: ignore[attr-defined]
    if answered.has_header("Allow"):
        replacement["Allow"] = answered["Allow"]
    return replacement
