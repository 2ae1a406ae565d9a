import io
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from publish.models import FeedState, PublishedItem, PublishOutbox, SetAside
from publish.relay import relay_batch
from tests.factories import PublishOutboxFactory

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """The command takes signals over, and here it runs inside the tests' own process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def published() -> list[int]:
    return list(PublishedItem.objects.order_by("seq").values_list("seq", flat=True))


@pytest.mark.django_db(transaction=True)
def test_once_drains_the_outbox_in_batches_and_says_what_it_did() -> None:
    PublishOutboxFactory.create_batch(7)
    PublishOutboxFactory.create(source_id=10**6, deleted=True)
    stdout = io.StringIO()
    call_command("run_relay", "--once", "--batch-size", "3", stdout=stdout)
    assert re.fullmatch(r"Relay: 8 outbox rows drained, 7 published, 1 unchanged, [\d,]+ rows/s\.\n", stdout.getvalue())
    assert published() == list(range(1, 8))
    assert not PublishOutbox.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_once_with_an_empty_outbox_is_no_error() -> None:
    stdout = io.StringIO()
    call_command("run_relay", "--once", stdout=stdout)
    assert stdout.getvalue() == "Relay: 0 outbox rows drained, 0 published, 0 unchanged.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--batch-size", "0"], "'0' is not a whole number from 1"),
        (["--interval", "0"], "'0' is not a number of seconds above 0"),
        (["--interval", "nan"], "'nan' is not a number of seconds above 0"),
        (["--interval", "soon"], "'soon' is not a number of seconds above 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_a_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        call_command("run_relay", "--once", *arguments)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("event", "commit"),
    [
        ("AFTER DELETE ON publish_outbox", False),
        ("AFTER INSERT ON publish_item", False),
        ("AFTER UPDATE ON publish_feed_state", False),
        ("AFTER INSERT ON publish_item", True),
    ],
    ids=["after the drain", "after the upsert", "before the commit", "during the commit"],
)
def test_a_relay_killed_at_any_moment_is_followed_by_another(
    event: str, commit: bool, start: Start, gate: Any, waiting: Any, until: Any
) -> None:
    """Row 4. The batch is there whole, or not at all; with the next relay it is there, once, without a gap."""
    PublishOutboxFactory.create_batch(5)
    open_gate = gate(event, commit=commit)
    process = start("run_relay", "--once")
    [backend] = waiting(wait_event="advisory")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert published() == []
    open_gate()
    until(lambda: backend not in waiting(0))
    relay_batch()
    assert published() == [1, 2, 3, 4, 5]
    assert FeedState.objects.get().last_seq == 5
    assert relay_batch().drained == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_batch_in_hand(number: signal.Signals, start: Start, gate: Any, waiting: Any) -> None:
    PublishOutboxFactory.create_batch(5)
    open_gate = gate("AFTER INSERT ON publish_item")
    process = start("run_relay", "--batch-size", "2")
    waiting(wait_event="advisory")
    process.send_signal(number)
    open_gate()
    stdout, _stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert stdout == "Relay: 2 outbox rows drained, 2 published, 0 unchanged.\n"
    assert published() == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_a_second_signal_forces_the_exit_and_leaves_no_half_batch(
    start: Start, gate: Any, waiting: Any, until: Any
) -> None:
    PublishOutboxFactory.create_batch(3)
    open_gate = gate("AFTER INSERT ON publish_item")
    process = start("run_relay")
    [backend] = waiting(wait_event="advisory")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) in {-signal.SIGTERM, -signal.SIGINT}
    open_gate()
    until(lambda: backend not in waiting(0))
    assert published() == []
    assert PublishOutbox.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_it_follows_the_outbox_through_a_lost_connection_until_it_is_stopped(
    start: Start, until: Any, connect: Callable[..., psycopg.Connection[Any]]
) -> None:
    """Row 25. It says that the database was away and that it is back, and misses nothing."""
    PublishOutboxFactory.create_batch(2)
    process = start("run_relay", "--interval", "0.02")
    until(lambda: published() == [1, 2])
    killed = connect(autocommit=True).execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid NOT IN (pg_backend_pid(), %s)",
        [connection.connection.info.backend_pid],
    )
    assert killed.fetchall() == [(True,)]
    PublishOutboxFactory.create_batch(3)
    until(lambda: published() == [1, 2, 3, 4, 5])
    process.terminate()
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert stdout.startswith("Relay: 5 outbox rows drained")
    assert stderr.count("the database is away") == 1
    assert stderr.count("the database is back") == 1


@pytest.mark.django_db(transaction=True)
def test_it_sets_aside_what_cannot_be_published_and_says_so(
    manage: Callable[..., subprocess.CompletedProcess[str]], connect: Callable[..., psycopg.Connection[Any]]
) -> None:
    keeper = connect(autocommit=True)
    keeper.execute("ALTER TABLE publish_item ADD CONSTRAINT test_poison CHECK (source_id <> 13)")
    try:
        for key in (1, 13, 2):
            PublishOutboxFactory.create(source_id=key)
        done = manage("run_relay", "--once")
    finally:
        keeper.execute("ALTER TABLE publish_item DROP CONSTRAINT test_poison")
    assert done.returncode == 0
    assert done.stdout.startswith("Relay: 3 outbox rows drained, 2 published")
    assert "card 13 cannot be published and was set aside" in done.stderr
    assert SetAside.objects.get().source_id == 13
