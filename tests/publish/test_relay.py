import itertools
import json
import random
import shutil
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from publish import feed, relay
from publish.models import FeedState, PublishedItem, PublishOutbox, SetAside
from publish.relay import Batch, Relay, relay_batch
from publish.subscribers import Reader
from tests.factories import PublishedItemFactory, PublishOutboxFactory

Connect = Callable[..., psycopg.Connection[Any]]
InThread = Callable[..., Future[Any]]

EVERYTHING = Reader(subscriber_id=0, learner_id=None, all_learners=True, kinds=())


def put(source_id: int, text: str | None, **more: Any) -> PublishOutbox:
    """One touch of a card: its front, or None for a tombstone."""
    payload = {} if text is None else {"front": text}
    row: PublishOutbox = PublishOutboxFactory.create(source_id=source_id, payload=payload, deleted=text is None, **more)
    return row


def put_elsewhere(database: psycopg.Connection[Any], source_id: int, front: str) -> None:
    """The same on a connection whose transaction the test ends."""
    database.execute(
        "INSERT INTO publish_outbox (kind, source_id, payload, payload_hash, schema_version, deleted)"
        " SELECT 'card', %s, p, sha256(convert_to(p::text, 'UTF8')), 1, false"
        " FROM json_build_object('front', %s::text) p",
        [source_id, front],
    )


def feed_now() -> list[tuple[int, int, Any]]:
    """(seq, source id, front or None for a tombstone) of all that is published."""
    rows = PublishedItem.objects.order_by("seq").values_list("seq", "source_id", "payload", "deleted")
    return [(seq, source_id, None if deleted else payload["front"]) for seq, source_id, payload, deleted in rows]


class Follower:
    """A consumer that reads page after page and keeps what it was told."""

    def __init__(self, limit: int = 3) -> None:
        self.cursor, self.limit = "", limit
        self.state: dict[int, Any] = {}
        self.seqs: list[int] = []

    def read(self) -> int:
        page = feed.page(EVERYTHING, after=self.cursor, limit=self.limit, separator="\n")
        for line in page.items.splitlines():
            seq, key, front = _fields(line)
            self.seqs.append(seq)
            self.state[key] = front
        self.cursor = page.cursor
        return page.count


def _fields(line: str) -> tuple[int, int, Any]:
    item = json.loads(line)
    return item["seq"], item["id"], item["payload"].get("front")


@pytest.mark.django_db
def test_a_batch_says_what_it_did() -> None:
    put(1, "one")
    put(2, "two")
    put(2, "two")
    put(3, None)
    assert relay_batch() == Batch(drained=4, published=2, unchanged=2, last_seq=2)
    assert relay_batch() == Batch(drained=0, published=0, unchanged=0, last_seq=2)
    assert feed_now() == [(1, 1, "one"), (2, 2, "two")]
    assert FeedState.objects.get().last_seq == 2
    assert not PublishOutbox.objects.exists()


@pytest.mark.django_db
def test_a_batch_takes_the_oldest_rows_up_to_its_limit() -> None:
    for key in range(1, 6):
        put(key, "text")
    assert [relay_batch(2).drained for _ in range(4)] == [2, 2, 1, 0]
    assert [source_id for _seq, source_id, _front in feed_now()] == [1, 2, 3, 4, 5]


@pytest.mark.django_db
@pytest.mark.parametrize("limit", [0, -1])
def test_a_batch_of_no_rows_is_refused(limit: int) -> None:
    put(1, "one")
    with pytest.raises(ValueError, match="at least 1"):
        relay_batch(limit)
    assert PublishOutbox.objects.count() == 1


@pytest.mark.django_db
def test_what_is_published_carries_the_outbox_row_unchanged() -> None:
    row = PublishOutboxFactory.create(kind="card_progress", source_id=9, learner_id=77, payload={"due_at": None})
    relay_batch()
    item = PublishedItem.objects.get()
    assert (item.kind, item.source_id, item.learner_id, item.payload) == ("card_progress", 9, 77, {"due_at": None})
    assert bytes(item.payload_hash) == bytes(row.payload_hash)
    assert (item.outbox_id, item.schema_version, item.deleted) == (row.pk, 1, False)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_commits_late_is_published_after_higher_ids(connect: Connect) -> None:
    """Row 1."""
    late = connect()
    put_elsewhere(late, 1, "late")
    put(2, "early")
    follower = Follower()
    relay_batch()
    follower.read()
    assert follower.state == {2: "early"}
    late.commit()
    assert PublishOutbox.objects.get().pk < PublishedItem.objects.get().outbox_id
    relay_batch()
    follower.read()
    assert follower.state == {2: "early", 1: "late"}
    assert feed_now() == [(1, 2, "early"), (2, 1, "late")]


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_lower_id_holds_nothing_up(connect: Connect) -> None:
    """Row 1."""
    never = connect()
    put_elsewhere(never, 1, "never")
    put(2, "two")
    never.rollback()
    assert relay_batch() == Batch(drained=1, published=1, unchanged=0, last_seq=1)


@pytest.mark.django_db(transaction=True)
def test_a_connection_lost_before_the_commit_took_effect(
    gate: Any, waiting: Any, in_thread: InThread, connect: Connect
) -> None:
    """Row 5. The backend dies inside COMMIT: nothing of the batch is there, and the same worker goes on."""
    put(1, "one")
    put(2, "two")
    open_gate = gate("AFTER INSERT ON publish_item", commit=True)

    def two_batches() -> Batch:
        with pytest.raises(OperationalError):
            relay_batch()
        assert not PublishedItem.objects.exists()
        assert FeedState.objects.get().last_seq == 0
        return relay_batch()

    worker = in_thread(two_batches)
    [pid] = waiting(wait_event="advisory")
    assert connect(autocommit=True).execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)
    open_gate()
    assert worker.result() == Batch(drained=2, published=2, unchanged=0, last_seq=2)
    assert feed_now() == [(1, 1, "one"), (2, 2, "two")]


@pytest.fixture
def cut_after_commit() -> Iterator[Callable[[], None]]:
    """Have this thread's database connection go through a wire that breaks once a COMMIT has been carried out."""
    folder = Path(tempfile.mkdtemp(prefix="wire"))
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / ".s.PGSQL.5432"))
    listening.listen()
    carriers: list[threading.Thread] = []

    def carry(parameters: dict[str, Any]) -> None:
        client, _address = listening.accept()
        host, port = str(parameters["host"]), int(parameters.get("port") or 5432)
        if host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{port}")
        else:
            server = socket.create_connection((host, port))
        committing = threading.Event()

        def to_server() -> None:
            while data := client.recv(65536):
                if b"COMMIT\0" in data:
                    committing.set()
                server.sendall(data)

        forward = threading.Thread(target=to_server)
        forward.start()
        while data := server.recv(65536):
            if committing.is_set():
                break
            client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)
        forward.join()
        client.close()
        server.close()

    def redirect() -> None:
        wrapper = connections["default"]
        parameters = wrapper.get_connection_params()
        carriers.append(threading.Thread(target=carry, args=[parameters]))
        carriers[-1].start()
        wrapper.connection = wrapper.get_new_connection({**parameters, "host": str(folder), "port": "5432"})
        wrapper.set_autocommit(True)

    yield redirect
    for carrier in carriers:
        carrier.join()
    listening.close()
    shutil.rmtree(folder)


@pytest.mark.django_db(transaction=True)
def test_a_connection_lost_after_the_commit_took_effect(
    cut_after_commit: Callable[[], None], in_thread: InThread
) -> None:
    """Row 5. The answer to COMMIT never arrives: the batch is there, once, and the next one is right."""
    put(1, "one")

    def two_batches() -> Batch:
        cut_after_commit()
        with pytest.raises(OperationalError):
            relay_batch()
        put(1, "one")
        put(2, "two")
        return relay_batch()

    assert in_thread(two_batches).result() == Batch(drained=2, published=1, unchanged=1, last_seq=2)
    assert feed_now() == [(1, 1, "one"), (2, 2, "two")]


def write_with_delayed_commits(connect: Connect, keys: Callable[[int], list[int]], rounds: int, seed: int) -> None:
    """Each round leaves several transactions open, then commits them in any order, and rolls some back."""
    shuffle = random.Random(seed)
    open_ones = [connect() for _ in range(4)]
    for turn in range(rounds):
        for database, key in zip(open_ones, keys(turn), strict=True):
            if shuffle.random() < 0.2:
                put_elsewhere(database, key, f"never {turn}")
                database.rollback()
            put_elsewhere(database, key, f"round {turn}")
        for database in shuffle.sample(open_ones, len(open_ones)):
            database.commit()


@pytest.mark.django_db(transaction=True)
def test_three_relays_and_delayed_commits_a_follower_misses_nothing(connect: Connect, in_thread: InThread) -> None:
    """Row 6."""
    rounds, done = 12, threading.Event()

    def relay_until_done() -> int:
        published = 0
        while not done.is_set():
            published += relay_batch(5).published
        return published

    def follow() -> Follower:
        follower = Follower()
        while follower.read() or not done.is_set():
            pass
        return follower

    relays = [in_thread(relay_until_done) for _ in range(3)]
    following = in_thread(follow)
    try:
        writers = [
            in_thread(
                write_with_delayed_commits,
                connect,
                lambda _turn, first=first: [first, first + 1, first + 2, first + 3],
                rounds,
                first,
            )
            for first in (10, 20, 30)
        ]
        for writer in writers:
            writer.result()
    finally:
        done.set()
    published = sum(one.result() for one in relays)
    while batch := relay_batch().published:
        published += batch
    follower: Follower = following.result()
    while follower.read():
        pass
    assert follower.state == {first + n: f"round {rounds - 1}" for first in (10, 20, 30) for n in range(4)}
    assert follower.seqs == sorted(set(follower.seqs))
    assert FeedState.objects.get().last_seq == published


@pytest.mark.django_db(transaction=True)
def test_whoever_sees_a_seq_sees_every_lower_one(connect: Connect, in_thread: InThread) -> None:
    """Row 6. Every key is published once, so every snapshot holds the seqs from 1 to the head, all of them."""
    done = threading.Event()

    def relay_until_done() -> None:
        while not done.is_set():
            relay_batch(3)

    def look() -> int:
        seen = 0
        while not done.is_set():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*), coalesce(max(seq), 0), (SELECT last_seq FROM publish_feed_state)"
                    " FROM publish_item"
                )
                count, highest, head = cursor.fetchone()
            assert count == highest == head
            assert head >= seen
            seen = head
        return seen

    workers = [in_thread(relay_until_done), in_thread(relay_until_done), in_thread(look)]
    fresh = itertools.count(1)
    try:
        write_with_delayed_commits(connect, lambda _turn: [next(fresh) for _ in range(4)], 25, 7)
    finally:
        done.set()
    for worker in workers:
        worker.result()
    while relay_batch().drained:
        pass
    assert [seq for seq, _id, _front in feed_now()] == list(range(1, 101))


@pytest.mark.django_db(transaction=True)
def test_relays_take_turns(gate: Any, waiting: Any, in_thread: InThread) -> None:
    """A second relay waits for the first one's commit, and then finds nothing left of it."""
    put(1, "one")
    open_gate = gate("AFTER INSERT ON publish_item", commit=True)
    first = in_thread(relay_batch)
    waiting(wait_event="advisory")
    second = in_thread(relay_batch)
    waiting(2)
    open_gate()
    assert first.result() == Batch(drained=1, published=1, unchanged=0, last_seq=1)
    assert second.result() == Batch(drained=0, published=0, unchanged=0, last_seq=1)


@pytest.mark.django_db
def test_there_and_back_within_one_batch_is_no_event() -> None:
    """Row 7."""
    put(1, "A")
    relay_batch()
    put(1, "B")
    put(1, "A")
    assert relay_batch() == Batch(drained=2, published=0, unchanged=2, last_seq=1)
    assert feed_now() == [(1, 1, "A")]


@pytest.mark.django_db
def test_there_and_back_in_two_batches_is_two_events() -> None:
    """Row 7."""
    put(1, "A")
    relay_batch()
    put(1, "B")
    assert relay_batch().published == 1
    put(1, "A")
    assert relay_batch().published == 1
    assert feed_now() == [(3, 1, "A")]


@pytest.mark.django_db
def test_the_same_content_in_a_new_schema_version_is_published_again() -> None:
    """Row 8."""
    put(1, "A", schema_version=1)
    relay_batch()
    put(1, "A", schema_version=2)
    assert relay_batch() == Batch(drained=1, published=1, unchanged=0, last_seq=2)
    assert PublishedItem.objects.get().schema_version == 2


@pytest.mark.django_db
@pytest.mark.parametrize(("before", "after"), [(None, 5), (5, None), (5, 6)])
def test_the_same_content_for_another_owner_is_published_again(before: int | None, after: int | None) -> None:
    put(1, "A", learner_id=before)
    relay_batch()
    put(1, "A", learner_id=after)
    assert relay_batch().published == 1
    assert PublishedItem.objects.get().learner_id == after


@pytest.mark.django_db
def test_deleted_then_recreated_with_the_same_payload() -> None:
    """Row 9. In two batches both are events; in one there is none."""
    put(1, "A")
    relay_batch()
    put(1, None)
    assert relay_batch().published == 1
    assert feed_now() == [(2, 1, None)]
    put(1, "A")
    assert relay_batch().published == 1
    assert feed_now() == [(3, 1, "A")]
    put(1, None)
    put(1, "A")
    assert relay_batch().published == 0


@pytest.mark.django_db
def test_a_double_delete_is_one_event() -> None:
    """Row 9."""
    put(1, "A")
    relay_batch()
    put(1, None)
    put(1, None)
    assert relay_batch().published == 1
    put(1, None)
    assert relay_batch() == Batch(drained=1, published=0, unchanged=1, last_seq=2)


@pytest.mark.django_db
def test_a_tombstone_for_what_was_never_published_is_dropped() -> None:
    """Row 10. Created and deleted between two batches included."""
    put(1, None)
    put(2, "short-lived")
    put(2, None)
    assert relay_batch() == Batch(drained=3, published=0, unchanged=3, last_seq=0)
    assert feed_now() == []


@pytest.mark.django_db
@pytest.mark.parametrize("old", ["old", None])
def test_an_older_outbox_row_never_replaces_a_newer_one(old: str | None) -> None:
    """Row 11."""
    PublishedItemFactory.create(source_id=1, payload={"front": "new"}, seq=1, outbox_id=1000)
    put(1, old, id=999)
    assert relay_batch().published == 0
    assert [front for _seq, _id, front in feed_now()] == ["new"]


@pytest.mark.django_db
def test_an_item_that_moves_up_between_two_pages_comes_once_with_its_newest_state() -> None:
    """Row 16."""
    for key in range(1, 5):
        put(key, "old")
    relay_batch()
    follower = Follower(limit=2)
    follower.read()
    put(1, "new")  # read already: it comes again
    put(3, "new")  # not read yet: it comes once
    relay_batch()
    while follower.read():
        pass
    assert follower.seqs == [1, 2, 4, 5, 6]
    assert follower.state == {1: "new", 2: "old", 3: "new", 4: "old"}


@pytest.mark.django_db
def test_kinds_do_not_share_keys() -> None:
    put(1, "A", kind="card")
    put(1, "A", kind="question")
    put(1, None, kind="topic")
    assert relay_batch().published == 2
    assert set(PublishedItem.objects.values_list("kind", flat=True)) == {"card", "question"}


@pytest.mark.django_db(transaction=True)
def test_a_batch_inside_a_transaction_is_refused() -> None:
    put(1, "one")
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        relay_batch()
    assert PublishOutbox.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_batch_takes_the_same_statements_for_one_row_and_for_hundreds() -> None:
    counts = []
    for keys in (range(1, 2), range(2, 300)):
        PublishOutboxFactory.create_batch(len(keys))
        with CaptureQueriesContext(connection) as captured:
            assert relay_batch().published == len(keys)
        counts.append(len(captured))
    assert counts[0] == counts[1]


@pytest.mark.django_db(transaction=True)
def test_waiters_are_notified_once_a_batch_and_only_of_news(connect: Connect) -> None:
    listening = connect(autocommit=True)
    listening.execute(f"LISTEN {relay.CHANNEL}")
    for key in (1, 2, 3):
        put(key, "text")
    relay_batch()
    put(1, "text")
    assert relay_batch() == Batch(drained=1, published=0, unchanged=1, last_seq=3)
    put(4, "text")
    relay_batch()
    heard = [notification.payload for notification in listening.notifies(timeout=15, stop_after=2)]
    assert heard == ["3", "4"]
    assert [notification.payload for notification in listening.notifies(timeout=0)] == []


@pytest.mark.django_db
def test_where_the_feed_was_emptied_the_relay_begins_another_one() -> None:
    """What is still published keeps its place below the new head."""
    old = FeedState.objects.get().epoch
    PublishedItemFactory.create(source_id=500, payload={"front": "kept"}, seq=40, outbox_id=1)
    FeedState.objects.all().delete()
    put(7, "one")
    assert relay_batch().last_seq == 41
    assert FeedState.objects.get().epoch not in {old, uuid.UUID(int=0)}
    assert feed_now() == [(40, 500, "kept"), (41, 7, "one")]


@pytest.mark.django_db
def test_the_outbox_knows_whether_it_is_empty() -> None:
    assert relay.outbox_is_empty()
    put(1, "one")
    assert not relay.outbox_is_empty()


# A relay that keeps its place


@pytest.mark.django_db(transaction=True)
def test_a_worker_finds_what_commits_late_below_its_place(connect: Connect) -> None:
    """Row 1. Its place does not move above a transaction that is still running."""
    late = connect()
    put_elsewhere(late, 1, "late")
    worker = Relay(1)
    for key in range(2, 8):
        put(key, "text")
        assert worker.step().published == 1
    late.commit()
    put(8, "text")
    assert worker.step().published == 1
    assert PublishedItem.objects.filter(source_id=1).exists()


@pytest.mark.django_db(transaction=True)
def test_a_worker_looks_from_the_beginning_before_it_says_that_the_outbox_is_empty(connect: Connect) -> None:
    """An id below its place, of a transaction that drew it before it had a number: no snapshot shows that one."""
    drawn = connect()
    row_id = drawn_without_a_transaction_number(drawn)
    worker = Relay(1)
    for key in range(2, 8):
        put(key, "text")
        worker.step()
    insert_as(drawn, row_id, 1)
    assert worker.step().published == 1
    assert worker.step().drained == 0
    assert PublishedItem.objects.filter(source_id=1).exists()


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_always_has_work_looks_behind_itself_now_and_then(connect: Connect) -> None:
    """Row 22. Otherwise such a row would wait until there is nothing else to do."""
    drawn = connect()
    row_id = drawn_without_a_transaction_number(drawn)
    worker = Relay(1)
    for key in range(2, 8):
        put(key, "text")
        worker.step()
    insert_as(drawn, row_id, 1)
    PublishOutboxFactory.create_batch(300)
    for _ in range(300):
        worker.step()
    assert PublishedItem.objects.filter(source_id=1).exists()


@pytest.mark.django_db(transaction=True)
def test_an_idle_worker_looks_behind_itself_now_and_then(connect: Connect) -> None:
    """Row 22. What lies below its place is found although nothing new comes."""
    drawn = connect()
    row_id = drawn_without_a_transaction_number(drawn)
    worker = Relay(1)
    for key in range(2, 8):
        put(key, "text")
        worker.step()
    assert worker.is_idle()
    insert_as(drawn, row_id, 1)
    assert not all(worker.is_idle() for _ in range(300))
    while worker.step().drained:
        pass
    assert PublishedItem.objects.filter(source_id=1).exists()


def drawn_without_a_transaction_number(database: psycopg.Connection[Any]) -> int:
    """An outbox id whose transaction has no number yet: PostgreSQL logs, and numbers, only every 32nd draw."""
    for _ in range(2):
        row = database.execute("SELECT nextval(pg_get_serial_sequence('publish_outbox', 'id'))").fetchone()
        numbered = database.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
        assert row is not None
        assert numbered is not None
        if numbered[0] is None:
            return int(row[0])
        database.rollback()
    raise AssertionError("Each draw was given a transaction number.")


def insert_as(database: psycopg.Connection[Any], row_id: int, source_id: int) -> None:
    database.execute(
        "INSERT INTO publish_outbox (id, kind, source_id, payload, payload_hash, schema_version, deleted)"
        " OVERRIDING SYSTEM VALUE VALUES (%s, 'card', %s, '{}', sha256('{}'), 1, false)",
        [row_id, source_id],
    )
    database.commit()


@pytest.mark.django_db(transaction=True)
def test_a_worker_drains_a_backlog_whole_and_says_when_it_is_empty() -> None:
    PublishOutboxFactory.create_batch(40)
    worker = Relay(16)
    drained = []
    while batch := worker.step().drained:
        drained.append(batch)
    assert sum(drained) == 40
    assert max(drained) <= 16
    put(1000, "later")
    assert worker.step().drained == 1


@pytest.fixture
def poison() -> Iterator[None]:
    """Source id 13 cannot be published: the database refuses it."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE publish_item ADD CONSTRAINT test_poison CHECK (source_id <> 13)")
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE publish_item DROP CONSTRAINT IF EXISTS test_poison")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", [0, 20, 39])
def test_a_row_that_cannot_be_published_is_set_aside_and_stops_no_other(poison: None, place: int) -> None:
    keys = list(range(100, 139))
    keys.insert(place, 13)
    for key in keys:
        put(key, "text")
    worker = Relay(16)
    drained = 0
    while batch := worker.step().drained:
        drained += batch
    assert drained == 40
    assert [source_id for _seq, source_id, _front in feed_now()] == sorted(key for key in keys if key != 13)
    held = SetAside.objects.get()
    assert (held.kind, held.source_id) == ("card", 13)
    assert "test_poison" in held.error
    assert FeedState.objects.get().last_seq == 39


@pytest.mark.django_db(transaction=True)
def test_a_key_set_aside_twice_is_held_once_with_the_newest_error(poison: None) -> None:
    worker = Relay(4)
    for _ in range(2):
        newest = put(13, "text")
        while worker.step().drained:
            pass
    assert SetAside.objects.get().outbox_id == newest.pk


@pytest.mark.django_db(transaction=True)
def test_a_restored_copy_begins_a_new_epoch_above_all_ids_that_were_applied() -> None:
    PublishedItemFactory.create(source_id=1, payload={"front": "kept"}, seq=4, outbox_id=1_000_000_000)
    before = FeedState.objects.get()
    FeedState.objects.update(system_identifier=before.system_identifier + 1, last_seq=4)
    try:
        relay_batch()
        after = FeedState.objects.get()
        assert after.epoch != before.epoch
        assert after.system_identifier == before.system_identifier
        put(1, "new")
        assert relay_batch().last_seq == 5
        assert feed_now() == [(5, 1, "new")]
    finally:
        FeedState.objects.update(system_identifier=before.system_identifier)
