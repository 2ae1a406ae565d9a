"""Refusals of what was not even received, answered by Django: in the reader's language, with every page's headers."""

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from kit.problems.description import problem, response, slug_of

# In the ASGI scope: the status of the refusal.
REFUSAL = "studyhub.refusal"

_SENTENCES = {
    408: _("This request came too slowly, so the rest was not waited for. Send it again."),
    413: _("This request is larger than is accepted here. Without a login only a little is accepted."),
    429: _("Too many requests are on their way from this address. Try again in a few seconds."),
    503: _("Too much is being uploaded just now. Try again in a minute."),
}


def answer_refusals(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: answers a request that was refused before its body was received."""

    def answer(request: HttpRequest) -> HttpResponse:
        status = request.META.get("asgi.scope", {}).get(REFUSAL)
        if status is None:
            return get_response(request)
        sentence = _SENTENCES[status]
        if request.path.startswith("/api/"):
            return response(problem(status, slug_of(status), str(sentence)))
        page = render(
            request, "refusal.html", {"title": _("This was not received"), "sentence": sentence}, status=status
        )
        if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            page["Retry-After"] = "10"
        return page

    return answer
