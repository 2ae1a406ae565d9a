"""Clients that ask for much and read nothing: what is on its way to them is not kept."""

from collections.abc import Callable

import httpx
import pytest

from tests.attack.victim import Victim, closing, feed
from tests.process.processes import say, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

STREAM, JSON, NDJSON = "text/event-stream", "application/json", "application/x-ndjson"
KILOBYTES_OF_A_CARD = 200


def fill(publish: Callable[..., None], *, megabytes: int) -> None:
    payload = {"front": "x" * KILOBYTES_OF_A_CARD * 1000, "back": "B"}
    publish(*range(1, megabytes * 1000 // KILOBYTES_OF_A_CARD), payload=payload)


@pytest.mark.parametrize("accept", [STREAM, JSON, NDJSON])
def test_whoever_does_not_read_is_not_buffered(
    victim: Victim, token: str, publish: Callable[..., None], accept: str
) -> None:
    """With each of them buffered whole it would be 600 MB for the streams, and 160 for the pages."""
    fill(publish, megabytes=30)
    victim.latency("/api/feed?limit=10000", Authorization=f"Bearer {token}")
    before = victim.memory
    with closing([victim.connect(feed(token, "limit=10000", accept), reads=2048) for _ in range(20)]):
        wait_until(lambda: victim.files >= 20)
        highest = max(victim.memory for _ in range(5) if victim.latency() < 5)
        victim.tell(f"20 readers of {accept} that do not read", before=before)
        assert victim.best_latency() < 1
        assert highest < before + 100


@pytest.mark.slow
def test_pages_of_those_who_do_not_read_are_dropped_and_others_get_theirs(
    victim: Victim, token: str, publish: Callable[..., None]
) -> None:
    """While a token's turns are taken by readers that do not read, that token waits; after the grace it goes on."""
    fill(publish, megabytes=30)
    before = victim.memory
    with closing([victim.connect(feed(token, "limit=10000"), reads=2048) for _ in range(2)]) as clients:
        page = httpx.get(f"{victim.url}/api/feed?limit=10000", headers={"Authorization": f"Bearer {token}"}, timeout=60)
        assert page.status_code == 200
        say(f"memory {before} → {victim.memory} MB with 2 pages dropped")
        # What was broken off is not passed off as whole.
        received = b"".join(iter(lambda: clients[0].recv(1 << 16), b""))
        head, _blank, body = received.partition(b"\r\n\r\n")
        announced = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert len(body) < announced


def test_a_stream_that_is_read_slowly_arrives_whole(victim: Victim, token: str, publish: Callable[..., None]) -> None:
    fill(publish, megabytes=6)
    with closing([victim.connect(feed(token, "", STREAM), reads=2048)]) as [client]:
        received = b""
        while b"event: head" not in received[-4096:]:
            received += client.recv(20_000)
    assert received.count(b"event: item\n") == 29
