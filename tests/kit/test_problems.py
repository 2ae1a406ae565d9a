"""Errors as problem+json: a stable word for programs, a sentence for people, and the headers that go with them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg
import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError

from kit.problems.description import describe
from memocards import errors
from publish.cursor import CursorExpired
from publish.stream import refusal
from publish.subscribers import Unauthenticated

CHANGED = errors.ChangedRow(42, "The card", {"topic_id": "topic"})
EVERY_REFUSAL: Sequence[tuple[errors.DomainError, int, str]] = [
    (errors.NotFound("card", 42), 404, "not-found"),
    (errors.Conflict("Not now."), 409, "conflict"),
    (errors.TopicHasContent(questions=1, cards=2), 409, "topic-has-content"),
    (errors.WaitsForReview(), 409, "card-waits-for-review"),
    (errors.ReviewIdReused(), 409, "review-id-reused"),
    (errors.ChangedSince([CHANGED]), 409, "changed-since-read"),
    (errors.PreconditionFailed([CHANGED]), 412, "changed-since-read"),
    (errors.CardDeleted(datetime(2024, 1, 1, tzinfo=UTC)), 410, "card-deleted"),
    (errors.Invalid({"front": ["Too long."]}), 422, "invalid"),
]


def subclasses(kind: type[errors.DomainError]) -> set[type[errors.DomainError]]:
    return {kind for sub in kind.__subclasses__() for kind in {sub} | subclasses(sub)}


def test_every_refusal_of_the_domain_has_its_status() -> None:
    declared = {kind for kind in subclasses(errors.DomainError) if kind.__module__ == errors.__name__}
    assert {type(error) for error, *_ in EVERY_REFUSAL} == declared
    for error, status, slug in EVERY_REFUSAL:
        body = describe(error)
        assert body is not None
        assert (body["status"], body["type"]) == (status, f"urn:studyhub:problem:{slug}")
        assert body["detail"] == str(error)


def test_field_errors_are_named() -> None:
    body = describe(errors.Invalid({"front": ["Too long.", "Too loud."], "tags": ["Too many."]}))
    assert body is not None
    assert body["errors"] == {"front": ["Too long.", "Too loud."], "tags": ["Too many."]}


@pytest.mark.parametrize(
    "error", [OperationalError("host db1"), InterfaceError("host db1"), psycopg.OperationalError("host db1")]
)
def test_a_database_that_is_away_is_503_with_a_time_to_try_again_and_without_its_address(error: Exception) -> None:
    response = refusal(error, {})
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert response.headers["Content-Type"] == "application/problem+json"
    assert b"db1" not in response.body


def test_an_expired_cursor_tells_the_consumer_to_start_over() -> None:
    body = describe(CursorExpired("Start over."))
    assert body is not None
    assert (body["status"], body["resync"]) == (410, True)


def test_a_caller_without_credentials_is_told_which_would_do() -> None:
    response = refusal(Unauthenticated(), {"after": "a cursor"})
    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    body = json.loads(response.body)
    assert "Bearer" in body["detail"]
    assert "after" not in body


def test_forbidden_says_what_is_missing() -> None:
    body = describe(PermissionDenied("This needs a key."))
    assert body is not None
    assert (body["status"], body["detail"]) == (403, "This needs a key.")


def test_what_only_we_can_mend_is_no_problem_of_the_callers() -> None:
    for error in (ValueError("x"), KeyError("x"), AssertionError()):
        assert describe(error) is None
        with pytest.raises(type(error)):
            refusal(error, {})
