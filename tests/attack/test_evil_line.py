"""Two viewer processes at once behind a line that lies: they end equal to the hub, and are never emptied meanwhile."""

import json
import os
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from kit.scheduling import Outcome
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.questions import questions
from memocards.errors import DomainError
from memocards.learning import rating
from memocards.models import Review
from publish.relay import relay_batch
from publish.subscribers import authenticate
from tests.attack.evil_line import EvilLine
from tests.factories import UserFactory
from tests.oracles.expected import expected, seen_by
from tests.oracles.following import Key
from tests.process.processes import Installation, Process, Viewer, say

Viewers = Callable[..., Viewer]

# Rates unseen cards, one after the other, as someone does who studies in the viewer all the time.
STUDIES = """
import os, random, sys, time, uuid
os.environ["DJANGO_SETTINGS_MODULE"] = "viewer.settings"
import django
django.setup()
from django.utils import timezone
from viewer.models import Card, Outcome
from viewer.ratings import record_rating, try_at_once
chance = random.Random(int(sys.argv[1]))
print("Studying.", flush=True)
while True:
    card = chance.choice([*Card.objects.values_list("pk", flat=True), 0])
    record_rating(
        review_id=uuid.uuid4(), card_id=card, outcome=chance.choice(list(Outcome)),
        reviewed_at=timezone.now(), duration_ms=None,
    )
    try_at_once(seconds=1)
    time.sleep(0.2)
"""


class Writer:
    """Changes everything a viewer sees, but for the cards under `untouched`."""

    def __init__(self, learner: User, seed: int) -> None:
        self.learner = learner
        self.random = random.Random(seed)
        self.topic = topics.create_topic(name="Topic", editor=SYSTEM).pk
        self.untouched = [self._card(f"untouched {number}") for number in range(20)]
        self.cards = [self._card(f"{number}") for number in range(30)]
        self.questions = [
            questions.create(topic_id=self.topic, stem=f"{n}?", choices=["a", "b"], answer=1, editor=SYSTEM).pk
            for n in range(4)
        ]
        self.writes = self.epochs = 0
        relay_batch()

    def write(self) -> None:
        """Once, and publish it. Now and then the feed begins another epoch."""
        chance = self.random.random()
        try:
            if chance < 0.35:
                cards.update(key=self.random.choice(self.cards), changes={"back": f"v{self.writes}"}, editor=SYSTEM)
            elif chance < 0.55:
                cards.delete(keys=self.random.sample(self.cards, 3), editor=SYSTEM)
            elif chance < 0.75:
                cards.restore(keys=self.random.sample(self.cards, 6), editor=SYSTEM)
            elif chance < 0.8:
                questions.set_explanation(key=self.random.choice(self.questions), body=f"e{self.writes}", editor=SYSTEM)
            elif chance < 0.9:
                self._rate()
            elif chance < 0.95:
                rating.undo_review(learner_id=self.learner.pk, card_id=self.random.choice(self.cards))
            else:
                call_command("new_feed_epoch", verbosity=0)
                self.epochs += 1
            self.writes += 1
        except DomainError:
            pass
        relay_batch()

    def _card(self, front: str) -> int:
        return cards.create(topic_id=self.topic, front=front, back="B", needs_review=False, editor=SYSTEM).pk

    def _rate(self) -> None:
        rating.rate_card(
            learner_id=self.learner.pk,
            card_id=self.random.choice(self.cards),
            review_id=uuid.UUID(int=self.random.getrandbits(128)),
            outcome=self.random.choice(list(Outcome)),
        )


_COLUMNS: dict[str, tuple[str, ...]] = {
    "topic": ("name", "description", "position"),
    "question": ("topic_id", "stem", "choices", "answer", "source"),
    "explanation": ("question_id", "body"),
    "card": ("topic_id", "question_id", "front", "back", "tags"),
    "card_progress": ("card_id", "topic_id", "last_outcome", "last_reviewed_at", "due_at", "review_stage"),
}


def held_by(viewer: Viewer) -> dict[Key, dict[str, Any]]:
    """Every row of a viewer, as the payload that it was."""
    rows = {}
    for kind, columns in _COLUMNS.items():
        table = f"viewer_{kind.replace('_', '')}"
        for key, *values in viewer.rows(f"SELECT id, {', '.join(columns)} FROM {table}"):
            rows[kind, key] = _comparable(dict(zip(columns, values, strict=True)))
    return rows


def _comparable(payload: dict[str, Any]) -> dict[str, Any]:
    """With moments and lists that may be written in two ways as what they mean."""
    means = dict(payload)
    for name, value in payload.items():
        if name.endswith("_at") and value is not None:
            means[name] = datetime.fromisoformat(value).replace(tzinfo=None)
        elif name in {"choices", "tags"} and isinstance(value, str):
            means[name] = json.loads(value)
    return means


def published_for(token: str) -> dict[Key, dict[str, Any]]:
    reader = authenticate(token)
    assert reader is not None
    return {key: _comparable(held.payload) for key, held in seen_by(reader, expected()).items()}


@pytest.fixture
def line(hub_here: Installation) -> Iterator[EvilLine]:
    """To a hub that is up."""
    hub_here.hub()
    line = EvilLine(hub_here.url, seed=0)
    yield line
    line.close()


@pytest.mark.parametrize(
    ("seconds", "seed"),
    [
        (8.0, 18),
        pytest.param(float(os.environ.get("EVIL_LINE_SECONDS", "600")), None, marks=pytest.mark.slow),
    ],
)
def test_behind_a_line_that_lies_viewers_end_equal_to_the_hub_and_are_never_emptied(
    line: EvilLine, viewers: Viewers, subscribe: Callable[..., str], seconds: float, seed: int | None
) -> None:
    seed = random.randrange(2**32) if seed is None else seed
    chance = line._random = random.Random(seed)
    learner: User = UserFactory.create()
    writer = Writer(learner, seed)
    token = subscribe(learner_id=learner.pk)
    viewer = viewers(hub_url=line.url, token=token)
    viewer.sync_once()
    untouched = {(key,) for key in writer.untouched}

    def assert_not_emptied() -> None:
        left = set(viewer.rows("SELECT id FROM viewer_card WHERE front LIKE 'untouched %'"))
        assert left == untouched, f"seed {seed}: {len(left)} of {len(untouched)} cards are left that nobody touched"

    line.is_evil = True
    syncs: list[Process] = [viewer.sync(), viewer.sync()]
    student = viewer.python("-c", STUDIES, str(seed), name="student")
    student.says("Studying.", seconds=60)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        writer.write()
        assert_not_emptied()
        if chance.random() < 0.01:
            number = chance.randrange(2)
            syncs[number].kill()
            syncs[number] = viewer.sync()
        time.sleep(0.05)
    student.kill()
    line.is_evil = False
    for sync in syncs:
        assert sync.is_running, f"seed {seed}: {sync.output}"
        # One that was started a moment ago may be told so before it listens.
        assert sync.stop() in {0, -signal.SIGTERM}, f"seed {seed}: {sync.output}"
        assert "Traceback" not in sync.output
    while viewer.rows("SELECT id FROM viewer_rating WHERE state = 'waiting'"):
        viewer.sync_once()
    relay_batch()
    viewer.sync_once()

    held, published = held_by(viewer), published_for(token)
    different = [key for key in held.keys() | published.keys() if held.get(key) != published.get(key)]
    assert different == [], f"seed {seed}: {[(held.get(key), published.get(key)) for key in different[:3]]}"
    reviews = dict(Review.objects.values_list("pk", "outcome"))
    made_here = viewer.rows("SELECT id, outcome, state, problem FROM viewer_rating")
    for key, outcome, state, problem in made_here:
        # Accepted is what the hub has; refused is what only the hub itself can have refused.
        assert reviews.get(uuid.UUID(key)) == (outcome if state == "accepted" else None), f"seed {seed}"
        assert state == "accepted" or "deleted" in problem, f"seed {seed}: {problem}"
    harms = {name: number for name, number in sorted(line.done.items()) if name != "none"}
    say(
        f"seed {seed}: {writer.writes} writes, {writer.epochs} epochs, {len(made_here)} ratings, "
        f"{line.done['none']} answers as they were, {sum(harms.values())} not: {harms}"
    )
    assert sum(harms.values()) > 20
