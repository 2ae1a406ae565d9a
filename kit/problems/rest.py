"""Problems in a REST API: their schema, what a view declares, and the handlers that answer with them."""

from typing import Any

from django.http import Http404, HttpRequest, JsonResponse
from ninja import NinjaAPI, Schema
from ninja.errors import HttpError, ValidationError
from pydantic import Field

from kit.problems import ProblemError
from kit.problems.description import KNOWN, describe, problem, response, slug_of


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
        repeats = error.repeats if isinstance(error, ProblemError) else {}
        return response({**body, **{name: request.GET.get(name, default) for name, default in repeats.items()}})

    for kind in KNOWN:
        api.exception_handler(kind)(known)

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
