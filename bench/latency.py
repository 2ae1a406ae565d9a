"""From COMMIT in the hub to a consumer that waits over HTTP: median and p99, with 1 and with 200 waiting."""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from tests.process.processes import CHECKOUT, OwnDatabase, own_database, say

SUBSCRIBER = """
from publish.subscribers import create_subscriber
print(create_subscriber(name="latency", all_learners=True)[1])
"""
# Reads a line, creates and commits a topic, and says when: a process of its own, as an author would be.
AUTHOR = """
import sys, time, uuid, django
django.setup()
from memocards.content.topics import create_topic
for line in sys.stdin:
    create_topic(name=uuid.uuid4().hex)
    print(time.time(), flush=True)
"""


class Consumer:
    """One connection that asks again and again. By hand: a client library would be most of what is measured."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._headers = f"Host: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, query: str) -> tuple[float, dict[str, Any]]:
        """When the answer had come, and the page in it."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"GET /api/feed?{query} HTTP/1.1\r\n{self._headers}".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if " 200 " not in head.partition("\r\n")[0]:
            raise RuntimeError(head)
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        body = await reader.readexactly(length)
        answered_at = time.time()
        return answered_at, json.loads(body)


async def measure(hub: OwnDatabase, token: str, *, waiting: int, rounds: int) -> list[float]:
    """Seconds between the commit and each consumer's answer."""
    author = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AUTHOR),
        cwd=CHECKOUT,
        env=hub.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if author.stdin is None or author.stdout is None:
        raise RuntimeError("An author without pipes.")
    seconds: list[float] = []
    consumers = [Consumer(hub.port, token) for _ in range(waiting)]
    _at, page = await consumers[0].get("limit=10000")
    cursor = page["cursor"]
    # The first rounds open connections, and wake everything up.
    for number in range(-3, rounds):
        waiters = [asyncio.create_task(consumer.get(f"after={cursor}&wait=50")) for consumer in consumers]
        # Until the hub holds all their requests.
        await asyncio.sleep(0.3 + waiting * 0.005)
        if any(waiter.done() for waiter in waiters):
            raise RuntimeError("A consumer was answered before there was news.")
        author.stdin.write(b"\n")
        await author.stdin.drain()
        committed_at = float(await author.stdout.readline())
        answers = await asyncio.gather(*waiters)
        if {len(page["items"]) for _at, page in answers} != {1}:
            raise RuntimeError("One item was published, and not everybody got one.")
        cursor = answers[0][1]["cursor"]
        if number >= 0:
            seconds += [answered_at - committed_at for answered_at, _page in answers]
    author.stdin.close()
    await author.wait()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    with own_database() as hub:
        token = hub.prepare(SUBSCRIBER)[-1]
        relay = hub.relay(wait=False)
        hub.hub()
        relay.says("Relay: started.")
        for waiting, rounds in ((1, options.rounds), (200, max(options.rounds // 10, 5))):
            seconds = sorted(asyncio.run(measure(hub, token, waiting=waiting, rounds=rounds)))
            median, p99 = statistics.median(seconds), seconds[int(len(seconds) * 0.99)]
            say(
                f"{waiting:>3} waiting: median {median * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms from COMMIT to the "
                f"consumer ({len(seconds):,} answers; the relay looks every 50 ms)"
            )


if __name__ == "__main__":
    main()
