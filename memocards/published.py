"""What of this app is published: the five kinds of the feed. `publish` imports this module when Django starts."""

from typing import Final

from django.db.models import F, Q

from memocards.models import CardProgress, MemoCard, Question, Topic
from memocards.states import LIVE, SEEN
from publish.kinds import PublishedKind, UtcText, register

TOPIC: Final = PublishedKind(
    name="topic",
    model=Topic,
    fields={"name": "name", "description": "description", "position": "position"},
    live=LIVE,
)

QUESTION: Final = PublishedKind(
    name="question",
    model=Question,
    fields={
        "topic_id": "topic_id",
        "stem": "stem",
        "choices": "choices",
        "answer": "answer",
        "source": "source",
    },
    live=SEEN,
)

# A second projection of the same row.
EXPLANATION: Final = PublishedKind(
    name="explanation",
    model=Question,
    fields={"question_id": "id", "body": "explanation"},
    live=SEEN & Q(explanation_status="ready"),
)

CARD: Final = PublishedKind(
    name="card",
    model=MemoCard,
    fields={
        "topic_id": "topic_id",
        "question_id": "question_id",
        "front": "front",
        "back": "back",
        "tags": "tags",
    },
    live=SEEN,
)

CARD_PROGRESS: Final = PublishedKind(
    name="card_progress",
    model=CardProgress,
    fields={
        "card_id": "card_id",
        "topic_id": "topic_id",
        "last_outcome": "last_outcome",
        "last_reviewed_at": UtcText(F("last_reviewed_at")),
        "due_at": UtcText(F("due_at")),
        "review_stage": "review_stage",
    },
    live=Q(pk__isnull=False),
    owner="learner_id",
)

register(TOPIC, QUESTION, EXPLANATION, CARD, CARD_PROGRESS)
