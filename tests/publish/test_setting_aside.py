from collections.abc import Iterator

import pytest
from django.db import connection

from kit.transactions import in_transaction
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.models import MemoCard
from publish.models import PublishedItem, PublishOutbox, SetAside
from publish.relay import Relay
from publish.services import enqueue_card_publish
from publish.setting_aside import requeue
from publish.status import publish_status
from tests.factories import MemoCardFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def poison() -> Iterator[str]:
    """A text that `publish_item` refuses, as a rule added by hand would."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE publish_item ADD CONSTRAINT poison CHECK (payload::text NOT LIKE '%%poison%%')")
    yield "poison"
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE publish_item DROP CONSTRAINT poison")


def drained(relay: Relay) -> int:
    total = 0
    while step := relay.step().drained:
        total += step
    return total


@pytest.mark.parametrize("place", [0, 7, 19])
def test_a_row_that_cannot_be_published_is_set_aside_and_stops_nobody(
    poison: str, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    cards = MemoCardFactory.create_batch(20)
    MemoCard.objects.filter(pk=cards[place].pk).update(front=poison)
    in_transaction(enqueue_card_publish)(*cards)
    assert drained(Relay()) == 20
    assert PublishedItem.objects.count() == 19
    held = SetAside.objects.get()
    assert (held.kind, held.source_id) == ("card", cards[place].pk)
    assert "poison" in held.error
    assert f"card {cards[place].pk} cannot be published" in caplog.text
    assert [row["source_id"] for row in publish_status()["set_aside"]] == [cards[place].pk]


def test_requeue_publishes_what_the_source_is_now_and_never_the_old_payload(poison: str) -> None:
    card = MemoCardFactory.create(front=poison)
    in_transaction(enqueue_card_publish)(card)
    drained(Relay())
    MemoCard.objects.filter(pk=card.pk).update(front="mended")
    assert requeue([SetAside.objects.get().pk]) == 1
    assert not SetAside.objects.exists()
    drained(Relay())
    assert PublishedItem.objects.get().payload["front"] == "mended"


def test_requeue_of_a_source_that_is_gone_leaves_no_trace(poison: str) -> None:
    card = MemoCardFactory.create(front=poison)
    in_transaction(enqueue_card_publish)(card)
    drained(Relay())
    card.delete()
    requeue([SetAside.objects.get().pk])
    drained(Relay())
    assert not PublishedItem.objects.exists()
    assert not PublishOutbox.objects.exists()


def test_a_row_that_is_still_poison_is_set_aside_again(poison: str) -> None:
    card = MemoCardFactory.create(front=poison)
    in_transaction(enqueue_card_publish)(card)
    drained(Relay())
    requeue([SetAside.objects.get().pk])
    drained(Relay())
    assert SetAside.objects.get().source_id == card.pk


def test_a_key_that_is_mended_and_published_is_named_no_more(poison: str) -> None:
    card = MemoCardFactory.create(front=poison)
    in_transaction(enqueue_card_publish)(card)
    drained(Relay())
    cards.update(key=card.pk, changes={"front": "mended"}, editor=SYSTEM)
    drained(Relay())
    assert PublishedItem.objects.get().payload["front"] == "mended"
    assert not SetAside.objects.exists()
