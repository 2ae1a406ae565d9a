"""Ratings a second through the real server, beside a bare view that updates one row: with 1 and with 16 clients."""

import argparse
import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

import httpx

from tests.process.processes import own_database, say

PREPARE = """
from django.contrib.auth import get_user_model
from memocards.content.cards import create_card
from memocards.content.topics import create_topic
from publish.subscribers import create_subscriber
topic = create_topic(name="bench")
for number in range({cards}):
    create_card(topic_id=topic.pk, front=f"Front {{number}}", back="Back", needs_review=False)
for number in range({clients}):
    user = get_user_model()._default_manager.create_user(f"learner-{{number}}")
    print(create_subscriber(name=user.username, learner_id=user.pk)[1])
"""
CARDS = 400

Call = Callable[[httpx.AsyncClient, str, int], Awaitable[None]]


async def rate(client: httpx.AsyncClient, token: str, number: int) -> None:
    answer = await client.post(
        f"/api/study-cards/{number % CARDS + 1}/rate",
        json={"review_id": str(uuid.uuid4()), "outcome": ("good", "again", "hard")[number % 3]},
        headers={"Authorization": f"Bearer {token}"},
    )
    answer.raise_for_status()


async def bare(client: httpx.AsyncClient, token: str, number: int) -> None:
    (await client.post(f"/bare/{number % CARDS + 1}", json={"review_id": str(uuid.uuid4())})).raise_for_status()


async def a_second(url: str, call: Call, tokens: list[str], *, seconds: float) -> float:
    """Requests a second by one client for each token, each sending the next when it has its answer."""
    done = 0
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        end = time.monotonic() + seconds

        async def one(place: int, token: str) -> None:
            nonlocal done
            number = place * 25
            while time.monotonic() < end:
                await call(client, token, number)
                number, done = number + 1, done + 1

        started = time.monotonic()
        await asyncio.gather(*(one(place, token) for place, token in enumerate(tokens)))
        return done / (time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    with own_database() as hub:
        tokens = hub.prepare(PREPARE.format(cards=CARDS, clients=16))[-16:]
        hub.environment["DJANGO_SETTINGS_MODULE"] = "bench.settings"
        hub.hub()
        calls: dict[str, Call] = {"rating": rate, "bare": bare}
        for clients in (1, 16):
            # In turns, so that both see the same machine.
            rates: dict[str, list[float]] = {name: [] for name in calls}
            for _round in range(3):
                for name, call in calls.items():
                    second = a_second(hub.url, call, tokens[:clients], seconds=options.seconds / 3)
                    rates[name].append(asyncio.run(second))
            rating, least = (sorted(rates[name])[1] for name in ("rating", "bare"))
            say(f"{clients:>2} clients: {rating:,.0f} ratings/s, {least:,.0f} bare updates/s: {rating / least:.2f}")


if __name__ == "__main__":
    main()
