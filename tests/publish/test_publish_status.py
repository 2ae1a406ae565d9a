import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from publish.models import FeedState, PublishOutbox, SetAside, Subscriber
from publish.relay import relay_batch
from publish.status import publish_status
from tests.factories import PublishOutboxFactory, SubscriberFactory


def said(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("publish_status", *arguments, stdout=stdout)
    return stdout.getvalue()


@pytest.fixture
def some_of_everything(db: None) -> None:
    """Three published, one of them a tombstone; two wait, the older for an hour; one set aside; three subscribers."""
    for key in (1, 2):
        PublishOutboxFactory.create(kind="card", source_id=key)
    PublishOutboxFactory.create(kind="topic", source_id=1)
    relay_batch()
    PublishOutboxFactory.create(kind="card", source_id=1, deleted=True)
    relay_batch()
    waiting = PublishOutboxFactory.create_batch(2)
    PublishOutbox.objects.filter(pk=waiting[0].pk).update(created_at=timezone.now() - timedelta(hours=1))
    SetAside.objects.create(kind="card", source_id=13, outbox_id=1, error="refused")
    SubscriberFactory.create(name="behind", last_seq=1, last_seen_at=timezone.now())
    SubscriberFactory.create(name="new")
    SubscriberFactory.create(name="out", revoked_at=timezone.now())


@pytest.mark.django_db
def test_it_counts_what_waits_what_is_published_and_who_is_behind(some_of_everything: None) -> None:
    status = publish_status()
    assert status["enabled"] is True
    assert status["outbox"]["depth"] == 2
    assert 3600 <= status["outbox"]["oldest_seconds"] < 3660
    assert status["feed"] == {"epoch": str(FeedState.objects.get().epoch), "head": 4, "tombstone_floor": 0}
    assert status["kinds"] == {"card": {"items": 1, "tombstones": 1}, "topic": {"items": 1, "tombstones": 0}}
    assert [row["source_id"] for row in status["set_aside"]] == [13]
    assert [(who["name"], who["lag"], who["revoked"]) for who in status["subscribers"]] == [
        ("behind", 3, False),
        ("new", 4, False),
        ("out", 4, True),
    ]


@pytest.mark.django_db
def test_who_will_have_to_start_over_is_named(some_of_everything: None) -> None:
    FeedState.objects.update(tombstone_floor=2)
    must = {who["name"]: who["must_start_over"] for who in publish_status()["subscribers"]}
    assert must == {"behind": True, "new": False, "out": False}
    Subscriber.objects.filter(name="behind").update(scan_head=3)
    assert not publish_status()["subscribers"][0]["must_start_over"]


@pytest.mark.django_db
def test_the_json_form_is_the_same_for_programs(some_of_everything: None) -> None:
    status, again = json.loads(said("--json")), publish_status()
    for either in (status, again):
        either["outbox"].pop("oldest_seconds")
    assert len(status.pop("troubles")) == 2
    assert status == again


@pytest.mark.django_db
def test_the_text_form_is_for_a_person(some_of_everything: None) -> None:
    text = said()
    for line in (
        "publishing   on",
        "outbox       2 rows",
        "feed         head 4, tombstone floor 0",
        "set aside    card 13: refused",
        "subscriber   behind: 3 behind, last seen 20",
        "subscriber   new: 4 behind, last seen never",
        "subscriber   out: revoked",
    ):
        assert line in text


@pytest.mark.django_db
def test_an_empty_hub_has_a_status_too(settings: Any) -> None:
    settings.PUBLISH_ENABLED = False
    assert "publishing   off (PUBLISH_ENABLED is false)" in said()
    assert publish_status()["kinds"] == {}
    FeedState.objects.all().delete()
    assert "not begun: start the relay with manage.py run_relay" in said()
    assert json.loads(said("--json"))["feed"] is None
