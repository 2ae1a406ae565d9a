import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from publish.subscribers import create_subscriber
from tests.factories import MemoCardFactory, UserFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nothing_counted_yet() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def rate(token: str, card_id: int) -> Any:
    return Client().post(
        f"/api/study-cards/{card_id}/rate",
        json.dumps({"review_id": str(uuid.uuid4()), "outcome": "good"}),
        content_type="application/json",
        headers={"authorization": f"Bearer {token}"},
    )


def send_batch(token: str, card_id: int) -> Any:
    review = {
        "card_id": card_id,
        "review_id": str(uuid.uuid4()),
        "outcome": "good",
        "reviewed_at": "2026-01-05T09:00:00Z",
    }
    return Client().post(
        "/api/reviews",
        json.dumps({"reviews": [review]}),
        content_type="application/json",
        headers={"authorization": f"Bearer {token}"},
    )


def token_of(name: str) -> str:
    learner = UserFactory.create(username=name)
    return create_subscriber(name=name, learner_id=learner.pk)[1]


def test_ratings_beyond_the_limit_wait_and_other_tokens_do_not(settings: Any) -> None:
    settings.RATINGS_PER_MINUTE = 2
    card, one, other = MemoCardFactory.create(), token_of("one"), token_of("other")
    assert [rate(one, card.pk).status_code for _ in range(3)] == [200, 200, 429]
    refused = rate(one, card.pk)
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert refused["Content-Type"] == "application/problem+json"
    assert refused.json()["type"] == "urn:studyhub:problem:too-many-requests"
    assert rate(other, card.pk).status_code == 200


def test_batches_have_a_limit_of_their_own(settings: Any) -> None:
    settings.RATINGS_PER_MINUTE, settings.RATING_BATCHES_PER_MINUTE = 1, 1
    card, token = MemoCardFactory.create(), token_of("one")
    assert rate(token, card.pk).status_code == 200
    assert [send_batch(token, card.pk).status_code for _ in range(2)] == [200, 429]
