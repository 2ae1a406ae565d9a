"""Row 22. A large backlog while a transaction elsewhere keeps every drained row from being vacuumed away."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from publish import relay
from publish.models import PublishedItem, PublishOutbox
from publish.relay import Relay
from tests.oracles.expected import drift
from tests.process.processes import say

BATCH, BATCHES = 250, 60


class Work:
    """How many buffers PostgreSQL touches in each look at the outbox: explained just before it is asked."""

    def __init__(self) -> None:
        self.buffers: list[int] = []

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if sql == relay._BATCH_BOUNDS or "publish_outbox WHERE id >=" in sql:
            self.buffers.append(buffers_of(context["cursor"].connection, sql, params))
        return execute(sql, params, many, context)


def buffers_of(database: Any, sql: str, params: Any) -> int:
    """The buffers that a statement touches."""
    answer = database.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params).fetchone()
    [explained] = answer[0] if isinstance(answer[0], list) else json.loads(answer[0])
    plan = explained["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.fixture
def elsewhere(transactional_db: None) -> Iterator[psycopg.Connection[Any]]:
    parameters = connection.get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    with psycopg.connect(**parameters) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield other


def _fill_outbox(rows: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO publish_outbox (kind, source_id, payload, payload_hash, schema_version, deleted)"
            " SELECT 'card', n, p, sha256(convert_to(p::text, 'UTF8')), 1, false"
            " FROM generate_series(1, %s) n, LATERAL json_build_object('front', 'front ' || n) p",
            [rows],
        )
        cursor.execute("ANALYZE publish_outbox")


def _drain(worker: Relay) -> list[int]:
    """Fill the outbox and drain it; the buffers of each look at it."""
    _fill_outbox(BATCH * BATCHES)
    work = Work()
    with connection.execute_wrapper(work):
        # As the command does: ask whether there is anything, then take a batch.
        for _ in range(BATCHES):
            assert not worker.is_idle()
            assert worker.step().drained == BATCH
        assert all(worker.is_idle() for _ in range(10))
    return work.buffers


def test_a_held_vacuum_horizon_does_not_make_a_batch_dearer(
    elsewhere: psycopg.Connection[Any],
) -> None:
    elsewhere.execute("SELECT count(*) FROM publish_outbox")  # while it lasts, nothing that is drained is vacuumed away
    worker = Relay(BATCH)
    late, from_the_beginning = 1, 0
    # What other tests write in this cluster holds the relay's place up for as long as that lasts: so more than once,
    # and each time there is more behind it.
    for _ in range(10):
        late = int(median(_drain(worker)[-20:]))
        connection.ensure_connection()
        from_the_beginning = buffers_of(connection.connection, relay._BATCH_BOUNDS, [0, BATCH])
        say(f"buffers a look: {late} at the end; {from_the_beginning} from the beginning of the outbox")
        if from_the_beginning > 10 * late:
            break
    # The control: without its place, the last look would have walked over everything that was drained before.
    assert from_the_beginning > 10 * late
    assert PublishedItem.objects.count() == BATCH * BATCHES
    # It looks behind itself before it says that nothing is left: a row below its place is found.
    first = PublishedItem.objects.order_by("outbox_id").values_list("outbox_id", flat=True)[0]
    elsewhere.rollback()
    PublishOutbox.objects.create(
        id=first - 1, kind="card", source_id=10**6, payload={}, payload_hash=bytes(32), schema_version=1, deleted=False
    )
    assert worker.step().published == 1
    assert worker.step().drained == 0


def test_a_place_is_not_given_up_to_a_transaction_that_may_still_fill_it(elsewhere: psycopg.Connection[Any]) -> None:
    """A writer in flight holds a lower id: the relay keeps looking from there until it has ended."""
    elsewhere.execute(
        "INSERT INTO publish_outbox (kind, source_id, payload, payload_hash, schema_version, deleted)"
        " VALUES ('card', 1000000, '{\"front\": \"late\"}', sha256('late'), 1, false)"
    )
    _fill_outbox(BATCH * 8)
    worker = Relay(BATCH)
    for _ in range(4):
        assert worker.step().drained == BATCH
    elsewhere.commit()
    # Not at the end of the backlog: in the very next batch.
    worker.step()
    assert PublishedItem.objects.filter(source_id=10**6).exists()


class Transaction:
    """A transaction of another connection, which goes on step by step while the test does other things."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._atomic = self._thread.submit(self._begin).result()

    def run(self, function: Callable[..., Any], **arguments: Any) -> Any:
        return self._thread.submit(function, **arguments).result()

    def commit(self) -> None:
        self._thread.submit(self._atomic.__exit__, None, None, None).result()
        self._thread.submit(_close_connection).result()
        self._thread.shutdown()

    @staticmethod
    def _begin() -> transaction.Atomic:
        atomic = transaction.atomic()
        atomic.__enter__()
        # Its number, by which it is older than all that begin later.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")
        return atomic


def _close_connection() -> None:
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_late_transaction_is_not_overlooked_when_an_older_one_ended_after_it_began() -> None:
    """Deleted late, then restored: a relay that looked past the deletion would take it for newer than what it shows.

    The restored card is what is published already, so its row is dropped and leaves no trace of its id. Were the
    deletion found only then, the card would be gone for ever.
    """
    topic = topics.create_topic(name="Topic", editor=SYSTEM)
    card = cards.create(topic_id=topic.pk, front="F", back="B", needs_review=False, editor=SYSTEM)
    worker = Relay()
    while worker.step().drained:
        pass
    older, late = Transaction(), Transaction()
    late.run(cards.delete, keys=[card.pk], editor=SYSTEM)
    older.run(topics.create_topic, name="Older transaction, higher outbox id", editor=SYSTEM)
    older.commit()
    # The late transaction is now newer than every one that has ended, yet its outbox id is below what is drained.
    for number in range(4):
        assert worker.step().published == 1
        topics.create_topic(name=f"Meanwhile {number}", editor=SYSTEM)
    late.commit()
    cards.restore(keys=[card.pk], editor=SYSTEM)
    while worker.step().drained:
        pass
    assert PublishedItem.objects.get(kind="card", source_id=card.pk).deleted is False
    assert drift() == []
