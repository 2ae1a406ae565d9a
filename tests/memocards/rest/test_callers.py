"""Who is calling: tokens and sessions, and where they end."""

import secrets
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from publish.models import Subscriber
from publish.subscribers import create_subscriber
from tests.factories import MemoCardFactory, UserFactory

pytestmark = pytest.mark.django_db(transaction=True)


def rate(client: Client, token: str | None = None) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return client.post(
        f"/api/study-cards/{MemoCardFactory.create().pk}/rate",
        {"review_id": str(uuid4()), "outcome": "good"},
        content_type="application/json",
        headers=headers,
    )


@pytest.fixture
def token(learner: User) -> str:
    return create_subscriber(name="phone", learner_id=learner.pk)[1]


def test_a_token_works_without_cookies_and_without_csrf(token: str) -> None:
    client = Client(enforce_csrf_checks=True)
    assert rate(client, token).status_code == 200
    assert not client.cookies
    assert not Session.objects.exists()


def test_a_revoked_token_opens_nothing(token: str) -> None:
    Subscriber.objects.update(revoked_at=timezone.now())
    assert rate(Client(), token).status_code == 401


def test_a_token_is_known_by_all_of_it(token: str) -> None:
    for wrong in (token[:-1], token + "x", token.lower(), token[:12], token[:12] + secrets.token_urlsafe(30)):
        assert rate(Client(), wrong).status_code == 401


def test_a_token_is_kept_nowhere(token: str) -> None:
    row = Subscriber.objects.values().get()
    assert token not in str(row)
    assert token.encode() not in bytes(row["token_hash"])


def test_other_schemes_are_no_credentials(token: str) -> None:
    for header in (f"Basic {token}", f"Token {token}", token, "Bearer"):
        response = Client().post("/api/study-cards/1/rate", headers={"Authorization": header})
        assert response.status_code == 401


def test_a_session_that_ended_is_no_login(learner: User) -> None:
    client = Client()
    client.force_login(learner)
    assert rate(client).status_code == 200
    Session.objects.all().delete()
    assert rate(client).status_code == 401


def test_whoever_has_logged_in_is_not_asked_to_again(learner: User) -> None:
    client = Client()
    assert client.get("/login/").status_code == 200
    client.force_login(learner)
    assert client.get("/login/").headers["Location"] == "/api/docs"


def test_a_session_ends_with_the_account(learner: User) -> None:
    client = Client()
    client.force_login(learner)
    User.objects.update(is_active=False)
    assert rate(client).status_code == 401


def test_a_permission_taken_away_is_gone_at_once() -> None:
    user = UserFactory.create(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_topic"))
    client = Client()
    client.force_login(user)
    assert client.get("/api/topics").status_code == 200
    user.user_permissions.clear()
    assert client.get("/api/topics").status_code == 403


def test_the_documentation_of_the_api_can_be_read_and_knows_both_ways_in() -> None:
    document = Client().get("/api/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"SubscriberToken", "Session"}
    rate_operation = document["paths"]["/api/study-cards/{card_id}/rate"]["post"]
    assert {name for entry in rate_operation["security"] for name in entry} == {"SubscriberToken", "Session"}
    approve = document["paths"]["/api/study-cards/approve"]["post"]
    assert {name for entry in approve["security"] for name in entry} == {"Session"}
