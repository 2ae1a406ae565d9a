"""A hub with two learners, some content and a member of staff, and a session of PostgreSQL beside it."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg

from studyhub.embedded_postgres.layout import OWNER, PORT
from tests.process.processes import OwnDatabase, own_database

_PEOPLE = """
from django.contrib.auth.models import User
from django.test import Client
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.models import LearnerSettings
from publish.subscribers import create_subscriber
topic = topics.create_topic(name="Capitals", editor=SYSTEM)
card, unseen = [
    cards.create(topic_id=topic.pk, front=front, back="Paris", needs_review=False, editor=SYSTEM).pk
    for front in ("France?", "What lies on the Seine?")
]
staff = User.objects.create_superuser("staff")
client = Client()
client.force_login(staff)
learners = [User.objects.create_user(name) for name in ("learner", "other")]
for user in learners:
    LearnerSettings.objects.create(learner=user)
tokens = [create_subscriber(name=user.username, learner_id=user.pk)[1] for user in learners]
print(topic.pk, card, unseen, client.cookies["sessionid"].value, *[user.pk for user in learners], *tokens)
"""


@dataclass(frozen=True)
class Scene:
    hub: OwnDatabase
    topic: int
    card: int
    unseen: int
    session: str
    learner: int
    other: int
    learners_token: str
    others_token: str

    def as_learner(self) -> httpx.Client:
        return self._client(headers={"Authorization": f"Bearer {self.learners_token}"})

    def as_other(self) -> httpx.Client:
        return self._client(headers={"Authorization": f"Bearer {self.others_token}"})

    def as_staff(self) -> httpx.Client:
        """With a session, and with what the CSRF check wants of a form."""
        client = self._client(cookies={"sessionid": self.session, "csrftoken": "a" * 32})
        client.headers["X-CSRFToken"] = "a" * 32
        return client

    def connect(self, name: str = "") -> "psycopg.Connection[Any]":
        host = str(self.hub.directory / "postgres")
        return psycopg.connect(host=host, port=PORT, user=OWNER, dbname=OWNER, application_name=name, autocommit=True)

    @contextlib.contextmanager
    def held(self, statement: str) -> Iterator[None]:
        """Inside, an idle transaction holds what this statement locks."""
        with self.connect() as database, database.transaction(force_rollback=True):
            database.execute(statement)
            yield

    def _client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.hub.url, timeout=30, **options)


@contextlib.contextmanager
def scene(start: Callable[[OwnDatabase], object] = OwnDatabase.hub) -> Iterator[Scene]:
    """The scene with a running hub, until the end."""
    with own_database() as hub:
        topic, card, unseen, session, learner, other, *tokens = hub.prepare(_PEOPLE)[-1].split()
        start(hub)
        yield Scene(hub, int(topic), int(card), int(unseen), session, int(learner), int(other), *tokens)
