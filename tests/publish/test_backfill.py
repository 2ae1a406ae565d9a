import signal
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.utils import timezone

from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.versions import versions_of
from memocards.errors import ChangedSince, Conflict
from memocards.models import MemoCard
from publish import backfill
from publish.backfill import Page, PublishingDisabled, backfill_page
from publish.kinds import CATALOGUE, UnknownKind
from publish.models import BackfillPosition, PublishedItem, PublishOutbox
from publish.relay import Batch
from publish.services import enqueue_tombstone_publish
from tests.factories import (
    CardProgressFactory,
    MemoCardFactory,
    QuestionFactory,
    TopicFactory,
)

Connect = Callable[..., psycopg.Connection[Any]]
InThread = Callable[..., Future[Any]]
Drain = Callable[[], Batch]


def published_fronts() -> dict[int, Any]:
    """What a consumer of the feed holds: card → front; tombstones are gone."""
    items = PublishedItem.objects.filter(kind="card", deleted=False)
    return {item.source_id: item.payload["front"] for item in items}


def source_fronts() -> dict[int, Any]:
    """What it should hold."""
    return dict(MemoCard.objects.filter(deleted_at=None, needs_review=False).values_list("pk", "front"))


@pytest.mark.django_db
def test_pages_follow_each_other_until_an_empty_one() -> None:
    keys = [card.pk for card in MemoCardFactory.create_batch(5, topic=TopicFactory.create())]
    pages = []
    after_id = 0
    while (page := backfill_page("card", after_id=after_id, limit=2)).enqueued:
        pages.append(page)
        after_id = page.last_id
    assert pages == [Page(2, keys[1]), Page(2, keys[3]), Page(1, keys[4])]
    assert page == Page(enqueued=0, last_id=keys[4])
    assert list(PublishOutbox.objects.order_by("id").values_list("source_id", flat=True)) == keys


@pytest.mark.django_db
def test_every_kind_can_be_backfilled_with_its_owner_and_its_tombstones(drain: Drain) -> None:
    progress = CardProgressFactory.create()
    MemoCardFactory.create(needs_review=True)
    QuestionFactory.create(explanation="e", explanation_status="ready")
    for kind in CATALOGUE:
        assert backfill_page(kind).enqueued
    drain()
    items = PublishedItem.objects.all()
    assert set(items.values_list("kind", flat=True)) == set(CATALOGUE)
    assert items.get(kind="card_progress").learner_id == progress.learner_id
    assert not items.filter(deleted=True).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("limit", [0, -5])
def test_a_page_of_no_rows_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="at least 1 row"):
        backfill_page("card", limit=limit)


@pytest.mark.django_db
def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UnknownKind, match="cards"):
        backfill_page("cards")


@pytest.mark.django_db(transaction=True)
def test_while_publishing_is_off_a_backfill_says_so(settings: Any) -> None:
    settings.PUBLISH_ENABLED = False
    MemoCardFactory.create()
    with pytest.raises(PublishingDisabled, match="PUBLISH_ENABLED=true"):
        backfill_page("card")
    assert not PublishOutbox.objects.exists()


@pytest.mark.django_db
def test_a_second_backfill_of_unchanged_rows_is_no_event(drain: Drain) -> None:
    """Row 13."""
    MemoCardFactory.create_batch(3)
    backfill_page("card")
    assert drain().published == 3
    backfill_page("card")
    assert drain() == Batch(drained=3, published=0, unchanged=3, last_seq=3)


@pytest.mark.django_db(transaction=True)
def test_a_page_waits_for_a_row_being_written_and_reads_what_was_committed(
    connect: Connect, in_thread: InThread, waiting: Any, drain: Drain
) -> None:
    """Row 12."""
    first, second, third = MemoCardFactory.create_batch(3)
    writer = connect()
    writer.execute("UPDATE memocards_memocard SET front = 'newest' WHERE id = %s", [second.pk])
    page = in_thread(backfill_page, "card")
    waiting()
    # Read by the page's snapshot already, but not yet its turn: it is read again.
    MemoCard.objects.filter(pk=third.pk).update(front="also new")
    writer.commit()
    assert page.result() == Page(3, third.pk)
    drain()
    assert published_fronts() == {first.pk: first.front, second.pk: "newest", third.pk: "also new"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("hard", [False, True])
def test_a_row_deleted_under_a_page_is_not_resurrected(
    hard: bool, in_thread: InThread, waiting: Any, drain: Drain
) -> None:
    """Row 12."""
    kept, gone = MemoCardFactory.create_batch(2)
    backfill_page("card")
    drain()
    with transaction.atomic():
        if hard:
            enqueue_tombstone_publish("card", [gone.pk])
            MemoCard.objects.filter(pk=gone.pk).delete()
        else:
            cards.delete(keys=[gone.pk], editor=SYSTEM)
        page = in_thread(backfill_page, "card")
        waiting()
    assert page.result().enqueued == (1 if hard else 2)
    drain()
    assert published_fronts() == {kept.pk: kept.front}
    assert PublishedItem.objects.get(source_id=gone.pk).deleted


@pytest.mark.django_db(transaction=True)
def test_a_page_whose_rows_all_vanish_is_not_taken_for_the_end(in_thread: InThread, waiting: Any, drain: Drain) -> None:
    """Row 12. LIMIT counts the rows that were locked, not those that were looked at."""
    gone = MemoCardFactory.create_batch(2)
    last = MemoCardFactory.create()
    with transaction.atomic():
        MemoCard.objects.filter(pk__in=[card.pk for card in gone]).delete()
        page = in_thread(backfill_page, "card", limit=2)
        waiting()
    assert page.result() == Page(enqueued=1, last_id=last.pk)


@pytest.mark.django_db(transaction=True)
def test_backfill_among_writers_ends_with_what_the_sources_say(in_thread: InThread, drain: Drain) -> None:
    """Row 12. Edits, deletes and approvals run against pages and relays; nothing is stale, nothing resurrected."""
    topic = TopicFactory.create()
    keys = [card.pk for card in MemoCardFactory.create_batch(60, topic=topic)]

    def edit(offset: int) -> None:
        for turn in range(40):
            key = keys[(turn * 7 + offset) % len(keys)]
            step = (turn + offset) % 5
            if step == 0:
                cards.delete(keys=[key, keys[turn]], editor=SYSTEM)
            elif step == 1:
                cards.restore(keys=[key, keys[turn]], editor=SYSTEM)
            elif step == 2:
                cards.unapprove(keys=keys[turn : turn + 9], editor=SYSTEM)
            elif step == 3:
                approve(keys[turn : turn + 9][::-1])
            elif MemoCard.objects.filter(pk=key, deleted_at=None).exists():
                rewrite(key, f"{offset}-{turn}")

    def approve(given: list[int]) -> None:
        # Somebody may rewrite one of them right after it was read.
        with suppress(ChangedSince):
            cards.approve(versions=versions_of(MemoCard, given), editor=SYSTEM)

    def rewrite(key: int, front: str) -> None:
        try:
            cards.update(key=key, changes={"front": front}, editor=SYSTEM)
        except Conflict:
            return  # another thread has deleted it meanwhile

    def pages() -> None:
        for _ in range(6):
            after_id = 0
            while (page := backfill_page("card", after_id=after_id, limit=13)).enqueued:
                after_id = page.last_id

    def relays() -> None:
        for _ in range(40):
            drain()

    for work in [in_thread(edit, 0), in_thread(edit, 3), in_thread(pages), in_thread(relays)]:
        work.result()
    drain()
    shown = published_fronts()
    # What no service and no page touched since is published, too: the pages have seen every row.
    assert shown == source_fronts()


@pytest.mark.django_db(transaction=True)
def test_a_page_that_meets_a_deadlock_is_tried_again(
    connect: Connect, in_thread: InThread, waiting: Any, drain: Drain
) -> None:
    """Somebody locks in another order than ours: PostgreSQL ends one of the two, and the page is whole in the end."""
    first, second = MemoCardFactory.create_batch(2)
    rude = connect()
    rude.execute("UPDATE memocards_memocard SET front = 'rude' WHERE id = %s", [second.pk])

    # Who waits looks for a deadlock once, after a second, and is ended if there is one: the page.
    rude.execute("SET LOCAL deadlock_timeout = '60s'")
    page = in_thread(backfill_page, "card")
    waiting()  # it holds the first row and wants the second
    rude.execute("UPDATE memocards_memocard SET front = 'rude' WHERE id = %s", [first.pk])
    rude.commit()
    assert page.result() == Page(2, second.pk)
    assert PublishOutbox.objects.count() == 2
    drain()
    assert published_fronts() == {first.pk: "rude", second.pk: "rude"}


@pytest.mark.django_db(transaction=True)
def test_bulk_changes_and_pages_take_their_locks_in_one_order(in_thread: InThread, until: Any) -> None:
    """Not one deadlock, in whatever order the keys are given. PostgreSQL counts them."""
    keys = [card.pk for card in MemoCardFactory.create_batch(40, topic=TopicFactory.create())]
    before = deadlocks()

    def change(backwards: bool) -> None:
        for turn in range(12):
            keys_in_order = keys[::-1] if backwards else keys
            if turn % 2:
                cards.approve(versions=versions_of(MemoCard, keys_in_order), editor=SYSTEM)
            else:
                cards.unapprove(keys=keys_in_order, editor=SYSTEM)

    def pages() -> None:
        for _ in range(12):
            backfill_page("card", limit=100)

    for work in [in_thread(change, False), in_thread(change, True), in_thread(pages), in_thread(pages)]:
        work.result()
    until(lambda: others() == 0)  # a backend reports its deadlocks at its end
    assert deadlocks() == before


def others() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return int(cursor.fetchone()[0])


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot(), pg_stat_force_next_flush()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


# Positions


@pytest.mark.django_db
def test_a_remembered_backfill_goes_on_where_the_last_page_ended() -> None:
    keys = [card.pk for card in MemoCardFactory.create_batch(3)]
    backfill.begin(["card"])
    assert backfill.backfill_next("card", limit=2) == Page(2, keys[1])
    assert backfill.unfinished(CATALOGUE) == {"card": keys[1]}
    assert backfill.backfill_next("card", limit=2) == Page(1, keys[2])
    assert backfill.backfill_next("card", limit=2) == Page(0, keys[2])
    assert backfill.unfinished(CATALOGUE) == {}


@pytest.mark.django_db(transaction=True)
def test_a_page_and_its_position_are_committed_together(gate: Any, waiting: Any, start: Any) -> None:
    """Row 13. Killed after the rows went into the outbox, before the commit: neither is there."""
    MemoCardFactory.create_batch(3)
    open_gate = gate("AFTER UPDATE ON publish_backfill_position")
    process = start("backfill_publish", "--kind", "card", "--page-size", "2")
    waiting(wait_event="advisory")
    process.send_signal(signal.SIGKILL)
    process.wait()
    open_gate()
    backfill.begin(["topic"])  # whatever else is remembered is not touched
    assert not PublishOutbox.objects.exists()
    assert BackfillPosition.objects.get(kind="card").last_id == 0


@pytest.mark.django_db(transaction=True)
def test_a_backfill_killed_mid_page_is_resumed_and_a_rerun_is_no_event(
    gate: Any, waiting: Any, start: Any, manage: Any, until: Any, drain: Drain
) -> None:
    """Row 13."""
    topic = TopicFactory.create()
    keys = [card.pk for card in MemoCardFactory.create_batch(25, topic=topic)]
    process = start("backfill_publish", "--kind", "card", "--page-size", "5", "--max-pending", "12")
    until(lambda: PublishOutbox.objects.count() == 15)  # and now it waits, since nobody drains
    open_gate = gate("AFTER INSERT ON publish_outbox")
    PublishOutbox.objects.all().delete()
    waiting(wait_event="advisory")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    open_gate()
    position = BackfillPosition.objects.get(kind="card")
    assert (position.last_id, position.finished) == (keys[14], False)
    backfill_page("card", limit=15)  # those that this test took away
    resumed = manage("backfill_publish", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert drain().published == 25
    assert published_fronts() == source_fronts()
    again = manage("backfill_publish", "--kind", "card")
    assert again.returncode == 0, again.stderr
    assert drain() == Batch(drained=25, published=0, unchanged=25, last_seq=25)


@pytest.mark.django_db
def test_what_remains_is_counted_above_an_id() -> None:
    keys = [card.pk for card in MemoCardFactory.create_batch(3)]
    MemoCard.objects.filter(pk=keys[2]).update(deleted_at=timezone.now())
    assert backfill.remaining("card", after_id=keys[0]) == 2


@pytest.mark.django_db
def test_the_outbox_is_deeper_than_a_number_only_beyond_it() -> None:
    MemoCardFactory.create_batch(3)
    backfill_page("card")
    assert [backfill.is_deeper_than(rows) for rows in (2, 3, 4)] == [True, False, False]
