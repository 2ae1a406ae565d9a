"""Thousands who wait: all are answered, nobody is refused for want of a connection, and others do not notice."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from publish.models import Subscriber
from publish.news import POLL_SECONDS
from publish.subscribers import create_subscriber
from tests.attack.victim import Victim, closing, feed, status_of, wait_for_files, wait_until_nobody_reads
from tests.process.processes import say, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Waiters:
    """So many consumers that wait on one connection each, and what they were answered, and when."""

    def __init__(self, victim: Victim, tokens: list[str], *, count: int, accept: str = "application/json") -> None:
        self.statuses: Counter[int] = Counter()
        self.moments: list[float] = []
        self.connected = 0
        self._victim, self._tokens, self._count, self._accept = victim, tokens, count, accept

    async def run(self) -> None:
        await asyncio.gather(*(self._one(self._tokens[number % len(self._tokens)]) for number in range(self._count)))

    async def _one(self, token: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._victim.port)
        writer.write(feed(token, "wait=60", self._accept).replace("\n", "\r\n").encode())
        self.connected += 1
        line = await reader.readline()
        self.moments.append(time.monotonic())
        self.statuses[int(line.split()[1])] += 1
        writer.close()


def woken(
    victim: Victim, publish: Callable[..., None], in_thread: Callable[..., Future[Any]], *, count: int, tokens: int
) -> tuple[Waiters, list[float]]:
    """Let so many wait, publish something, and see how long each took to hear, in seconds."""
    opened = [create_subscriber(name=f"consumer {number}")[1] for number in range(tokens)]
    waiters = Waiters(victim, opened, count=count)
    memory, files = victim.memory, victim.files
    done = in_thread(asyncio.run, waiters.run())
    wait_until(lambda: waiters.connected == count and victim.files >= files + count, seconds=60)
    wait_until(lambda: victim.load(seconds=0.5) < 0.1, what="That all wait")
    idle = victim.load(seconds=2)
    started = time.monotonic()
    publish(1)
    latency = victim.latency()
    done.result(timeout=60)
    heard = sorted(moment - started for moment in waiters.moments)
    say(
        f"{count} wait: {idle:.0%} of a core; woken: median {heard[count // 2]:.2f} s, last "
        f"{heard[-1]:.2f} s, GET /login/ meanwhile {latency:.2f} s; memory {memory} → {victim.memory} MB"
    )
    return waiters, heard


def test_many_waiters_share_one_read(
    victim: Victim, publish: Callable[..., None], in_thread: Callable[..., Future[Any]]
) -> None:
    waiters, heard = woken(victim, publish, in_thread, count=400, tokens=4)
    assert waiters.statuses == {200: 400}
    # Sooner than by the look that would come in any case.
    assert heard[-1] < POLL_SECONDS


@pytest.mark.slow
def test_two_thousand_waiters_are_all_answered(
    victim: Victim, publish: Callable[..., None], in_thread: Callable[..., Future[Any]]
) -> None:
    waiters, _heard = woken(victim, publish, in_thread, count=2000, tokens=10)
    assert waiters.statuses == {200: 2000}


def test_a_revoked_token_ends_its_waits_without_any_news(victim: Victim, token: str) -> None:
    with closing([victim.connect(feed(token, "wait=60")) for _ in range(3)]) as clients:
        wait_until_nobody_reads()
        started = time.monotonic()
        Subscriber.objects.update(revoked_at=timezone.now())
        assert [status_of(client) for client in clients] == [401] * 3
        assert time.monotonic() - started < 3 * POLL_SECONDS


@pytest.mark.slow
def test_streams_beyond_what_a_token_may_keep_are_refused_and_others_are_served(victim: Victim, token: str) -> None:
    memory, files = victim.memory, victim.files
    with closing([victim.connect(feed(token, "", "text/event-stream")) for _ in range(1100)]) as clients:
        statuses = Counter(status_of(client) for client in clients)
        assert statuses == {200: 256, 429: 1100 - 256}
        victim.tell("1,100 streams of one token", before=memory)
        assert victim.best_latency() < 1
        other = create_subscriber(name="another")[1]
        assert victim.latency("/api/feed?limit=1", Authorization=f"Bearer {other}") < 1
    wait_for_files(victim, files + 30)


def test_a_waiter_costs_no_connection(
    victim: Victim, publish: Callable[..., None], in_thread: Callable[..., Future[Any]]
) -> None:
    woken(victim, publish, in_thread, count=50, tokens=1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        # The pool's four, the one that listens, Django's four, those that tell callers, and the test's own two.
        assert cursor.fetchone()[0] <= 13
