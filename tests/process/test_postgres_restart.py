"""Row 25. PostgreSQL dies under load and comes back: relay, feed, views and viewers go on, and nothing is lost."""

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.process.consuming import Consuming
from tests.process.processes import OwnDatabase, Viewer, say, wait_until
from tests.process.writing import Written

TOKENS = """
from django.contrib.auth.models import User
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from publish.subscribers import create_subscriber
learner = User.objects.create_user("learner")
topic = topics.create_topic(name="Rated over HTTP", editor=SYSTEM)
card = cards.create(topic_id=topic.pk, front="F", back="B", needs_review=False, editor=SYSTEM)
print(create_subscriber(name="all", all_learners=True)[1])
print(create_subscriber(name="learner", learner_id=learner.pk)[1])
print(card.pk)
"""


class Rating:
    """A learner who goes on rating one card, through a view of Django's. Use it as a context."""

    def __init__(self, url: str, token: str, *, card_id: int) -> None:
        self.answers: Counter[int] = Counter()
        self.confirmed: set[str] = set()
        self._path = f"/api/study-cards/{card_id}/rate"
        self._client = httpx.Client(base_url=url, timeout=90, headers={"Authorization": f"Bearer {token}"})
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._future = self._pool.submit(self._rate_until_stopped)

    def __enter__(self) -> "Rating":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def goes_on(self) -> None:
        """Wait until three more ratings were accepted."""
        before = len(self.confirmed)
        wait_until(lambda: len(self.confirmed) >= before + 3 or self._future.done(), what="A view that works")

    def stop(self) -> None:
        self._stop.set()
        self._pool.shutdown()
        self._client.close()
        self._future.result()

    def _rate_until_stopped(self) -> None:
        while not self._stop.is_set():
            review = str(uuid.uuid4())
            answer = self._client.post(self._path, json={"review_id": review, "outcome": "good"})
            self.answers[answer.status_code] += 1
            if answer.status_code == httpx.codes.OK:
                self.confirmed.add(review)
            else:
                assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
                assert "Retry-After" in answer.headers
                self._stop.wait(0.05)


def _restart_under_load(hub: OwnDatabase, viewers: Callable[..., Viewer], *, restarts: int, seed: int) -> None:
    chance = random.Random(seed)
    all_token, learner_token, card = hub.prepare(TOKENS)[-3:]
    relay = hub.relay(wait=False)
    server = hub.hub()
    relay.says("Relay: started.")
    viewer = viewers(hub_url=hub.url, token=learner_token)
    sync = viewer.sync()
    writer = hub.python("-m", "tests.process.writing", "600", "4", str(seed), name="writer")
    writer.says("Writing.")
    with (
        Consuming(hub.url, all_token, followers=2) as consuming,
        Rating(hub.url, learner_token, card_id=int(card)) as rating,
    ):
        for _ in range(restarts):
            rating.goes_on()
            # Anywhere in a request, a batch, a commit.
            time.sleep(chance.uniform(0, 0.5))
            items = consuming.items
            hub.kill_postgres()
            rating.goes_on()
            wait_until(
                lambda before=items: consuming.items > before + 20,  # type: ignore[misc]
                what="News for those who wait",
            )
        rating.stop()
        assert writer.stop() is not None
        written = Written.from_json(writer.output.strip().splitlines()[-1])
        wait_until(lambda: hub.program("tests.process.writing", "state")["outbox"] == 0, what="An empty outbox")
        program = hub.program("tests.process.writing", "state")
        wrong = consuming.mismatches(program) + written.lost(dict(program["fronts"]))
        assert wrong == []
        reviews = hub.manage("shell", "-v0", "-c", "print(*Review.objects.values_list('pk', flat=True))").split()
        assert rating.confirmed <= set(reviews)
        assert all(process.is_running for process in (relay, server, sync))
        live = {key for kind, key, _payload, _owner in program["rows"] if kind == "card"}
        wait_until(
            lambda: {key for (key,) in viewer.rows("SELECT id FROM viewer_card")} == live, what="The viewer's rows"
        )
        hub.manage("verify_publish")
        followed = consuming.items
    assert written.interrupted
    say(
        f"{written.writes} writes, {written.interrupted} interrupted, {restarts} restarts, {program['head']} events, "
        f"{followed} items followed, {consuming.failures} polls refused meanwhile, "
        f"ratings answered with {dict(rating.answers)}, {len(wrong)} mismatches"
    )


def test_postgres_killed_under_load(own_hub: OwnDatabase, viewers: Callable[..., Viewer]) -> None:
    _restart_under_load(own_hub, viewers, restarts=1, seed=3)


@pytest.mark.slow
def test_postgres_killed_again_and_again(own_hub: OwnDatabase, viewers: Callable[..., Viewer]) -> None:
    _restart_under_load(own_hub, viewers, restarts=12, seed=random.randrange(1000))
