from collections.abc import Callable
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from kit.transactions import in_transaction
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from publish import feed
from publish.cursor import CursorExpired
from publish.models import FeedState, PublishedItem
from publish.relay import Batch
from publish.retention import new_feed_epoch, prune_tombstones
from publish.services import enqueue_card_publish
from publish.subscribers import Reader
from tests.factories import MemoCardFactory

pytestmark = pytest.mark.django_db(transaction=True)

Drain = Callable[[], Batch]
EVERYONE = Reader(subscriber_id=1, learner_id=None, all_learners=False, kinds=())


def publish(count: int) -> list[int]:
    cards = MemoCardFactory.create_batch(count)
    in_transaction(enqueue_card_publish)(*cards)
    return [card.pk for card in cards]


def prune(limit: int = 5000) -> int:
    return prune_tombstones(published_before=timezone.now() + timedelta(seconds=1), limit=limit).deleted


def held_by(pages: list[feed.Page]) -> set[int]:
    import json

    held: set[int] = set()
    for page in pages:
        for item in json.loads(f"[{page.items}]"):
            (held.discard if item["deleted"] else held.add)(item["id"])
    return held


def test_pruning_takes_the_oldest_tombstones_and_raises_the_floor_to_them(drain: Drain) -> None:
    ids = publish(5)
    drain()
    for key in ids[:3]:
        cards.delete(keys=[key], editor=SYSTEM)
        drain()
    head = FeedState.objects.get().last_seq
    step = prune_tombstones(published_before=timezone.now() + timedelta(seconds=1), limit=2)
    assert (step.deleted, step.tombstone_floor) == (2, head - 1)
    assert list(PublishedItem.objects.filter(deleted=True).values_list("seq", flat=True)) == [head]
    assert PublishedItem.objects.filter(deleted=False).count() == 2
    assert FeedState.objects.get().last_seq == head


def test_a_young_tombstone_stays(drain: Drain) -> None:
    [key] = publish(1)
    drain()
    cards.delete(keys=[key], editor=SYSTEM)
    drain()
    assert prune_tombstones(published_before=timezone.now() - timedelta(days=1)).deleted == 0
    assert FeedState.objects.get().tombstone_floor == 0


def test_who_had_not_read_a_pruned_tombstone_is_told_to_start_over(drain: Drain) -> None:
    """Row 18."""
    ids = publish(3)
    drain()
    before = feed.page(EVERYONE)
    cards.delete(keys=ids[:1], editor=SYSTEM)
    drain()
    prune()
    with pytest.raises(CursorExpired):
        feed.page(EVERYONE, after=before.cursor)
    assert held_by([feed.page(EVERYONE)]) == set(ids[1:])


def test_a_first_sync_slower_than_pruning_finishes_and_is_right(drain: Drain) -> None:
    """Row 18: what was pruned before its scan began it has never held, so it may go on."""
    ids = publish(6)
    drain()
    cards.delete(keys=ids[4:], editor=SYSTEM)
    drain()
    pages = [feed.page(EVERYONE, limit=1)]
    prune()
    while pages[-1].has_more:
        pages.append(feed.page(EVERYONE, after=pages[-1].cursor, limit=1))
    assert held_by(pages) == set(ids[:4])


def test_a_first_sync_that_may_hold_what_was_deleted_and_pruned_meanwhile_is_told(drain: Drain) -> None:
    """Row 18: this one read a card that was deleted, and its tombstone pruned, after its scan had begun."""
    ids = publish(4)
    drain()
    page = feed.page(EVERYONE, limit=1)
    cards.delete(keys=ids[:1], editor=SYSTEM)
    drain()
    prune()
    with pytest.raises(CursorExpired):
        feed.page(EVERYONE, after=page.cursor, limit=1)


def test_a_key_whose_tombstone_was_pruned_can_be_published_again(drain: Drain) -> None:
    [key] = publish(1)
    drain()
    cards.delete(keys=[key], editor=SYSTEM)
    drain()
    prune()
    cards.restore(keys=[key], editor=SYSTEM)
    assert drain().published == 1
    assert held_by([feed.page(EVERYONE)]) == {key}


def test_a_new_epoch_makes_every_consumer_start_over_and_the_outbox_go_on_above(drain: Drain) -> None:
    ids = publish(2)
    drain()
    cursor = feed.page(EVERYONE).cursor
    with connection.cursor() as database:
        # As a backup from before the items were published would have it.
        database.execute("SELECT setval(pg_get_serial_sequence('publish_outbox', 'id'), 1)")
    new_feed_epoch()
    with pytest.raises(CursorExpired):
        feed.page(EVERYONE, after=cursor)
    cards.update(key=ids[0], changes={"front": "changed"}, editor=SYSTEM)
    assert drain().published == 1


def test_a_copy_in_another_cluster_begins_a_new_epoch_by_itself_and_serves_nothing_before(drain: Drain) -> None:
    publish(1)
    drain()
    epoch = FeedState.objects.get().epoch
    FeedState.objects.update(system_identifier=1)
    with pytest.raises(feed.FeedNotBegun, match="relay"):
        feed.page(EVERYONE)
    drain()
    assert FeedState.objects.get().epoch != epoch
    assert feed.page(EVERYONE).count == 1


def test_the_commands_do_it_and_say_so(drain: Drain) -> None:
    ids = publish(3)
    drain()
    cards.delete(keys=ids, editor=SYSTEM)
    drain()
    out = StringIO()
    call_command("prune_tombstones", "--older-than", "1", stdout=out, stderr=StringIO())
    assert out.getvalue().startswith("0 tombstones deleted")
    call_command("prune_tombstones", "--older-than", "0", stdout=out, stderr=StringIO())
    assert "3 tombstones deleted; the floor is at seq 6." in out.getvalue()
    with pytest.raises(CommandError):
        call_command("prune_tombstones", "--older-than", "-1", stdout=out, stderr=StringIO())
    epoch = FeedState.objects.get().epoch
    call_command("new_feed_epoch", stdout=out)
    assert str(FeedState.objects.get().epoch) in out.getvalue()
    assert FeedState.objects.get().epoch != epoch
