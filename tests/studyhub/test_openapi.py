"""The document of the API: committed, so that a change shows in a review; and true, which schemathesis tries."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from publish.subscribers import create_subscriber
from studyhub.api import api
from studyhub.wsgi import application
from tests.factories import CardProgressFactory, MemoCardFactory, QuestionFactory, UserFactory

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"

schema = schemathesis.openapi.from_wsgi("/api/openapi.json", application)
# The caller's own credentials hold in every case; who may not call is tested elsewhere.
schema.config.generation.update(with_security_parameters=False)


def test_the_committed_document_is_the_one_that_is_served() -> None:
    served = json.loads(json.dumps(api.get_openapi_schema()))
    assert json.loads(DOCUMENT.read_text(encoding="utf-8")) == served, (
        "The API has changed. Look at the difference, then write docs/openapi.json anew: make openapi"
    )


@pytest.fixture
def caller(transactional_db: None) -> dict[str, Any]:
    """A superuser's session, who is a learner too, and some rows for ids that are guessed."""
    user = User.objects.create_superuser("caller")
    for _ in range(3):
        card = MemoCardFactory.create()
        QuestionFactory.create(topic=card.topic)
        CardProgressFactory.create(card=card, learner=user)
    client = Client()
    client.force_login(user)
    csrf = "x" * 32
    _subscriber, token = create_subscriber(name="caller", learner_id=user.pk)
    return {
        "cookies": {"sessionid": client.cookies["sessionid"].value, "csrftoken": csrf},
        "headers": {"X-CSRFToken": csrf, "Authorization": f"Bearer {token}"},
    }


bounds: dict[str, Any] = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@schema.parametrize()
@settings(max_examples=5, **bounds)
def test_every_operation_keeps_what_the_document_says(case: "schemathesis.Case[Any]", caller: dict[str, Any]) -> None:
    # Whether sound-looking data is accepted depends on what is in the database.
    case.call_and_validate(**caller, excluded_checks=[positive_data_acceptance])


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=60, **bounds)
def test_it_keeps_it_with_much_more_data(case: "schemathesis.Case[Any]", caller: dict[str, Any]) -> None:
    case.call_and_validate(**caller, excluded_checks=[positive_data_acceptance])


@pytest.mark.django_db
def test_whoever_is_logged_in_writes_from_the_documentation() -> None:
    """Its cookie cannot be read by a script, so the page itself has the token."""
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(UserFactory.create())
    page = browser.get("/api/docs").content.decode()
    token = re.search(r'data-csrf-token="(\w+)" data-api-csrf="true"', page)
    assert token
    change: Any = {"data": {"new_per_day": 7}, "content_type": "application/json"}
    assert browser.patch("/api/settings", **change).status_code == 403
    assert browser.patch("/api/settings", **change, headers={"X-CSRFToken": token[1]}).status_code == 200
