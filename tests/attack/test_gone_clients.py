"""Clients that leave without a word: nothing in the hub goes on for them."""

import socket
import time

import pytest

from tests.attack.conftest import FEW_WAITS
from tests.attack.victim import Victim, closing, feed, status_of, wait_for_files, wait_until_nobody_reads
from tests.process.processes import say, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

STREAM = "text/event-stream"


@pytest.mark.parametrize(("query", "accept"), [("", STREAM), ("wait=60", "application/json")])
def test_whoever_has_gone_makes_room_at_once(small_victim: Victim, token: str, query: str, accept: str) -> None:
    head = feed(token, query, accept)
    with closing([small_victim.connect(head) for _ in range(FEW_WAITS + 5)]) as clients:
        waiting = list(clients)
        while len(waiting) > FEW_WAITS:
            waiting = [client for client in waiting if not _is_refused(client)]
    started = time.monotonic()
    wait_until(lambda: _has_room(small_victim, head), seconds=10, what="Room for another consumer")
    # Sooner than a heartbeat would find out.
    assert time.monotonic() - started < 5


def test_streams_of_gone_clients_cost_nothing(victim: Victim, token: str) -> None:
    memory, files = victim.memory, victim.files
    for _ in range(3):
        with closing([victim.connect(feed(token, "", STREAM)) for _ in range(60)]) as clients:
            assert {status_of(client) for client in clients} == {200}
    wait_for_files(victim, files + 30)
    load = victim.load(seconds=2)
    say(f"180 streams have gone: {load:.0%} of a core; memory {memory} → {victim.memory} MB")
    wait_until_nobody_reads()
    assert load < 0.05


@pytest.mark.slow
def test_polls_that_are_opened_and_closed_by_the_thousand_leave_nothing(victim: Victim, token: str) -> None:
    memory, files = victim.memory, victim.files
    for turn in range(2000):
        victim.connect(feed(token, "wait=60")).close()
        if turn % 500 == 0:
            assert victim.best_latency(tries=3) < 1
    wait_for_files(victim, files + 30)
    victim.tell("2,000 aborted polls", before=memory)
    wait_until_nobody_reads()
    assert victim.memory < memory + 50


def _has_room(victim: Victim, head: str) -> bool:
    with closing([victim.connect(head)]) as [client]:
        return not _is_refused(client)


def _is_refused(client: socket.socket) -> bool:
    """Whether 429 has come, or comes in a moment."""
    client.settimeout(0.2)
    try:
        return status_of(client) == 429
    except (TimeoutError, ValueError, IndexError):
        return False  # it waits, or what has come is further on in a stream
