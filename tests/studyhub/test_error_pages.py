"""Errors as problem+json: a stable word for programs, a sentence for people, and the headers that go with them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg
import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.utils.translation import override

from memocards import errors
from publish.cursor import CursorExpired
from publish.subscribers import Unauthenticated
from studyhub.problems import answer_for, describe
from tests.factories import UserFactory

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
    assert {type(refusal) for refusal, *_ in EVERY_REFUSAL} == declared
    for refusal, status, slug in EVERY_REFUSAL:
        body = describe(refusal)
        assert body is not None
        assert (body["status"], body["type"]) == (status, f"urn:studyhub:problem:{slug}")
        assert body["detail"] == str(refusal)


def test_field_errors_are_named() -> None:
    body = describe(errors.Invalid({"front": ["Too long.", "Too loud."], "tags": ["Too many."]}))
    assert body is not None
    assert body["errors"] == {"front": ["Too long.", "Too loud."], "tags": ["Too many."]}


@pytest.mark.parametrize(
    "error", [OperationalError("host db1"), InterfaceError("host db1"), psycopg.OperationalError("host db1")]
)
def test_a_database_that_is_away_is_503_with_a_time_to_try_again_and_without_its_address(error: Exception) -> None:
    answer = answer_for(error, {})
    assert answer is not None
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert b"db1" not in answer.body


def test_an_expired_cursor_tells_the_consumer_to_start_over() -> None:
    body = describe(CursorExpired("Start over."))
    assert body is not None
    assert (body["status"], body["resync"]) == (410, True)


def test_a_caller_without_credentials_is_told_which_would_do() -> None:
    answer = answer_for(Unauthenticated(), {})
    assert answer is not None
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "Bearer" in json.loads(answer.body)["detail"]


def test_forbidden_says_what_is_missing() -> None:
    body = describe(PermissionDenied("This needs a key."))
    assert body is not None
    assert (body["status"], body["detail"]) == (403, "This needs a key.")


def test_what_only_we_can_mend_is_no_problem_of_the_callers() -> None:
    for error in (ValueError("x"), KeyError("x"), AssertionError()):
        assert describe(error) is None
        assert answer_for(error, {}) is None


def test_pages_for_people_stay_pages(db: None) -> None:
    response = Client().get("/nothing")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


# Pages with one sentence


@pytest.mark.parametrize(
    ("language", "sentence"), [("en", "Your account may not do this."), ("ko", "할 수 없는 작업입니다")]
)
@pytest.mark.django_db
def test_a_page_that_is_not_allowed_says_so(language: str, sentence: str) -> None:
    client = Client(headers={"Accept-Language": language})
    client.force_login(UserFactory.create(is_staff=True))
    with override("en"):
        answer = client.get("/admin/publish/setaside/")
    assert answer.status_code == 403
    assert sentence in answer.content.decode()


@pytest.mark.django_db
def test_a_form_without_its_token_is_refused_in_a_sentence() -> None:
    answer = Client(enforce_csrf_checks=True).post("/login/", {"username": "a", "password": "b"})
    assert answer.status_code == 403
    assert "Go back, load it anew and try again." in answer.content.decode()


@pytest.mark.django_db
def test_a_page_that_failed_says_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("memocards.admin.dashboard.figures_for", fail)
    client = Client(raise_request_exception=False)
    client.force_login(UserFactory.create(is_staff=True))
    answer = client.get("/admin/")
    assert answer.status_code == 500
    assert "It is in the log of the hub." in answer.content.decode()
    assert "broken" not in answer.content.decode()
