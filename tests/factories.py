"""Plain rows of every model, written past the services: nothing is enqueued, so a test sees only its own touches.

Call `XFactory.create(…)`: the bare call does the same, but no type checker knows.
"""

# The declarations of factory-boy carry no types.
# mypy: disable-error-code="no-untyped-call"

import hashlib
import json
import secrets
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone
from factory.declarations import LazyAttribute, LazyFunction, SelfAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory

from memocards.models import CardProgress, LearnerSettings, MemoCard, Question, Review, Topic
from publish.models import PublishedItem, PublishOutbox, Subscriber


class UserFactory(DjangoModelFactory[User]):
    """A learner, unless `is_staff`."""

    class Meta:
        model = User

    username = Sequence(lambda n: f"learner{n}")


class TopicFactory(DjangoModelFactory[Topic]):
    class Meta:
        model = Topic

    name = Sequence(lambda n: f"Topic {n}")


class LearnerSettingsFactory(DjangoModelFactory[LearnerSettings]):
    class Meta:
        model = LearnerSettings

    learner = SubFactory(UserFactory)


class QuestionFactory(DjangoModelFactory[Question]):
    """A live question without an explanation."""

    class Meta:
        model = Question

    topic = SubFactory(TopicFactory)
    stem = Sequence(lambda n: f"Question {n}?")
    choices = LazyFunction(lambda: ["Yes", "No"])
    answer = 1


class MemoCardFactory(DjangoModelFactory[MemoCard]):
    """A live card: approved, unless `needs_review`."""

    class Meta:
        model = MemoCard

    topic = SubFactory(TopicFactory)
    front = Sequence(lambda n: f"Front {n}")
    back = Sequence(lambda n: f"Back {n}")
    needs_review = False


class CardProgressFactory(DjangoModelFactory[CardProgress]):
    """A card answered once, and due tomorrow."""

    class Meta:
        model = CardProgress

    learner = SubFactory(UserFactory)
    card = SubFactory(MemoCardFactory)
    topic = SelfAttribute("card.topic")
    last_outcome = "good"
    last_reviewed_at = LazyFunction(timezone.now)
    due_at = LazyAttribute(lambda row: row.last_reviewed_at + timedelta(days=1))
    review_count = 1


class ReviewFactory(DjangoModelFactory[Review]):
    class Meta:
        model = Review

    learner = SubFactory(UserFactory)
    card = SubFactory(MemoCardFactory)
    outcome = "good"
    reviewed_at = LazyFunction(timezone.now)
    stage_after = 0


class _SnapshotFactory(DjangoModelFactory[Any]):
    class Meta:
        abstract = True

    kind = "card"
    source_id = Sequence(lambda n: n + 1)
    payload = LazyAttribute(lambda row: {} if row.deleted else {"front": f"Front {row.source_id}", "back": "Back"})
    payload_hash = LazyAttribute(lambda row: hashlib.sha256(json.dumps(row.payload).encode()).digest())
    schema_version = 1
    deleted = False


class PublishOutboxFactory(_SnapshotFactory):
    class Meta:
        model = PublishOutbox


class PublishedItemFactory(_SnapshotFactory):
    class Meta:
        model = PublishedItem

    seq = Sequence(lambda n: n + 1)
    outbox_id = SelfAttribute("seq")


class SubscriberFactory(DjangoModelFactory[Subscriber]):
    """`SubscriberFactory(token="sh_…")`; without one, a random token that nobody knows."""

    class Meta:
        model = Subscriber

    class Params:
        token = LazyFunction(lambda: f"sh_{secrets.token_urlsafe(32)}")

    name = Sequence(lambda n: f"subscriber {n}")
    token_prefix = LazyAttribute(lambda row: row.token[:12])
    token_hash = LazyAttribute(lambda row: hashlib.sha256(row.token.encode()).digest())
