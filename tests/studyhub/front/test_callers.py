"""Who sends a large request is told from its head alone, whatever that says."""

from http import HTTPStatus
from typing import Any

import pytest
from django.test import Client

from publish.models import Subscriber
from publish.subscribers import create_subscriber, revoke, revoke_tokens_of_erased
from studyhub.front.callers import Caller, caller_of
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)

NUL_IN_THE_COOKIE = 'sessionid="\\000' + "a" * 31 + '"'


def tell(**headers: str) -> Caller:
    return caller_of({"headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]})


def test_a_token_is_known_and_a_revoked_one_is_nobodys() -> None:
    subscriber, token = create_subscriber(name="consumer")
    assert tell(authorization=f"Bearer {token}") is Caller.KNOWN
    revoke(Subscriber.objects.filter(pk=subscriber.pk))
    assert tell(authorization=f"Bearer {token}") is Caller.NOBODY


def test_the_token_of_an_erased_learner_gets_as_far_as_the_answer_that_says_so() -> None:
    learner = UserFactory.create()
    _subscriber, token = create_subscriber(name="viewer", learner_id=learner.pk)
    revoke_tokens_of_erased(learner.pk)
    assert tell(authorization=f"Bearer {token}") is Caller.KNOWN


def test_a_session_that_no_database_could_hold_is_nobodys(client: Client) -> None:
    options: Any = {"HTTP_COOKIE": NUL_IN_THE_COOKIE}
    assert client.get("/admin/", **options).status_code == HTTPStatus.FOUND
    assert tell(cookie=NUL_IN_THE_COOKIE) is Caller.NOBODY
