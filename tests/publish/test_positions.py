import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from publish.cursor import Cursor
from publish.models import FeedState
from publish.positions import WRITE, Positions
from publish.status import publish_status
from tests.factories import SubscriberFactory

pytestmark = pytest.mark.django_db


def write(positions: Positions) -> None:
    with connection.cursor() as cursor:
        cursor.execute(WRITE, positions.take())


def at(seq: int, scan_head: int = 0) -> Cursor:
    return Cursor(epoch=uuid.uuid4(), seq=seq, scan_head=scan_head)


def test_the_last_of_many_positions_is_written_once() -> None:
    one, other = SubscriberFactory.create(), SubscriberFactory.create()
    positions = Positions()
    for seq in range(100):
        positions.note(one.pk, at(seq))
    positions.note(other.pk, None)
    write(positions)
    one.refresh_from_db()
    other.refresh_from_db()
    assert (one.last_seq, other.last_seq) == (99, 0)
    assert one.last_seen_at is not None
    assert positions.take() == [[], [], [], []]


def test_a_later_contact_through_another_process_is_not_overwritten() -> None:
    subscriber = SubscriberFactory.create(last_seq=7, last_seen_at=timezone.now() + timedelta(minutes=1))
    positions = Positions()
    positions.note(subscriber.pk, at(3))
    write(positions)
    subscriber.refresh_from_db()
    assert subscriber.last_seq == 7


def test_status_names_who_will_have_to_start_over() -> None:
    FeedState.objects.update(last_seq=100, tombstone_floor=50)
    SubscriberFactory.create(name="behind", last_seen_at=timezone.now(), last_seq=10)
    SubscriberFactory.create(name="first sync", last_seen_at=timezone.now(), last_seq=10, scan_head=60)
    SubscriberFactory.create(name="there", last_seen_at=timezone.now(), last_seq=100)
    SubscriberFactory.create(name="never seen")
    lags = {row["name"]: (row["lag"], row["must_start_over"]) for row in publish_status()["subscribers"]}
    assert lags == {
        "behind": (90, True),
        "first sync": (90, False),
        "there": (0, False),
        "never seen": (100, False),
    }
