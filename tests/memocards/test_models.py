"""What the database refuses by itself, whoever writes: raw SQL, a shell, a bulk update."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import ProtectedError

from memocards.models import CardProgress, LearnerSettings, MemoCard, Question, Review, Topic
from tests.factories import (
    CardProgressFactory,
    LearnerSettingsFactory,
    MemoCardFactory,
    QuestionFactory,
    ReviewFactory,
    TopicFactory,
)

pytestmark = pytest.mark.django_db

TOO_LONG = "x" * 20_001


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (Topic, {"name": " \t"}),
        (Topic, {"description": TOO_LONG}),
        (Topic, {"scheduler": "SM 2"}),
        (Question, {"stem": "\n"}),
        (Question, {"stem": TOO_LONG}),
        (Question, {"explanation": TOO_LONG}),
        (Question, {"choices": ["a"]}),
        (Question, {"choices": ["a"] * 11}),
        (Question, {"choices": ["a", ""]}),
        (Question, {"choices": ["x" * 10_001, "y" * 10_000]}),
        (Question, {"answer": 0}),
        (Question, {"answer": 3}),
        (Question, {"explanation_status": "done"}),
        (Question, {"explanation_status": "ready", "explanation": " "}),
        (MemoCard, {"front": ""}),
        (MemoCard, {"back": " "}),
        (MemoCard, {"front": TOO_LONG}),
        (MemoCard, {"back": TOO_LONG}),
        (MemoCard, {"tags": ["t"] * 51}),
        (LearnerSettings, {"rollover_hour": 24}),
        (LearnerSettings, {"desired_retention": 0.69}),
        (LearnerSettings, {"desired_retention": 1.0}),
        (CardProgress, {"last_outcome": "maybe"}),
        (CardProgress, {"lapse_count": 2}),
        (Review, {"outcome": "maybe"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else ",".join(value),
)
def test_a_row_that_makes_no_sense_is_refused(model: type[models.Model], change: dict[str, Any]) -> None:
    TopicFactory.create()
    QuestionFactory.create()
    MemoCardFactory.create()
    LearnerSettingsFactory.create()
    CardProgressFactory.create()
    ReviewFactory.create()
    with pytest.raises(IntegrityError), transaction.atomic():
        model._base_manager.update(**change)


def test_a_text_of_exactly_the_limit_is_taken_whatever_its_bytes() -> None:
    card = MemoCardFactory.create(front="강" * 20_000, back="😀" * 20_000)
    card.refresh_from_db()
    assert (len(card.front), len(card.back)) == (20_000, 20_000)


def test_a_name_is_taken_only_while_its_topic_is_live() -> None:
    gone = TopicFactory.create(name="Rivers", deleted_at="2024-01-01T00:00Z")
    TopicFactory.create(name="Rivers", deleted_at="2024-01-02T00:00Z")
    TopicFactory.create(name="Rivers")
    with pytest.raises(IntegrityError), transaction.atomic():
        Topic.objects.filter(pk=gone.pk).update(deleted_at=None)


@pytest.mark.parametrize("factory", [QuestionFactory, MemoCardFactory])
def test_an_external_id_names_one_row_of_a_topic_even_a_deleted_one(factory: Any) -> None:
    row = factory.create(external_id="a", deleted_at="2024-01-01T00:00Z")
    factory.create(external_id="a")
    factory.create_batch(2, topic=row.topic, external_id="")
    with pytest.raises(IntegrityError), transaction.atomic():
        factory.create(topic=row.topic, external_id="a")


def test_a_learner_has_one_progress_with_a_card() -> None:
    row = CardProgressFactory.create()
    with pytest.raises(IntegrityError), transaction.atomic():
        CardProgressFactory.create(learner=row.learner, card=row.card)


def test_nothing_is_deleted_by_cascade() -> None:
    """Hard deletes are refused as long as something published hangs on the row."""
    question = QuestionFactory.create()
    card = MemoCardFactory.create(topic=question.topic, question=question)
    progress = CardProgressFactory.create(card=card)
    for row in (question.topic, question, card, progress.learner):
        with pytest.raises(ProtectedError):
            row.delete()
    review = ReviewFactory.create()
    with pytest.raises(ProtectedError):
        review.card.delete()


@pytest.mark.parametrize("zone", ["Seoul", "../../etc/passwd", "Asia", "UTC\0"])
def test_settings_know_what_a_time_zone_is(zone: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        LearnerSettingsFactory.build(time_zone=zone).clean()
    assert set(refusal.value.message_dict) == {"time_zone"}
