"""From COMMIT in the hub to a consumer that waits over HTTP: median and p99, with 1 and with 200 waiting."""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time

import httpx

from tests.process.processes import CHECKOUT, OwnDatabase, own_database, say

SUBSCRIBER = """
from publish.subscribers import create_subscriber
print(create_subscriber(name="latency", all_learners=True)[1])
"""
# Reads a line, creates and commits a topic, and says when: a process of its own, as an author would be.
AUTHOR = """
import sys, time, uuid, django
django.setup()
from memocards.topics import create_topic
for line in sys.stdin:
    create_topic(name=uuid.uuid4().hex)
    print(time.time(), flush=True)
"""


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
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(
        base_url=hub.url, timeout=90, limits=limits, headers={"Authorization": f"Bearer {token}"}
    ) as client:

        async def wait(cursor: str) -> tuple[float, str]:
            answer = await client.get("/api/feed", params={"after": cursor, "wait": 50})
            answered_at = time.time()
            page = answer.json()
            if len(page["items"]) != 1:
                raise RuntimeError(f"One item was published, not {page}.")
            return answered_at, page["cursor"]

        cursor = (await client.get("/api/feed", params={"limit": 10_000})).json()["cursor"]
        # The first rounds open connections, and wake everything up.
        for number in range(-3, rounds):
            waiters = [asyncio.create_task(wait(cursor)) for _ in range(waiting)]
            # Until all of them wait: the hub holds their requests.
            await asyncio.sleep(0.2 + waiting * 0.003)
            if any(waiter.done() for waiter in waiters):
                raise RuntimeError("A consumer was answered before there was news.")
            author.stdin.write(b"\n")
            await author.stdin.drain()
            committed_at = float(await author.stdout.readline())
            answers = await asyncio.gather(*waiters)
            cursor = answers[0][1]
            if number >= 0:
                seconds += [answered_at - committed_at for answered_at, _cursor in answers]
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
