"""What there is to study: the queries behind the pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery

from viewer.models import Card, CardProgress, Explanation, Outcome, Question, Rating, Topic


@dataclass(frozen=True)
class TopicCounts:
    topic: Topic
    due: int
    unseen: int
    cards: int
    questions: int


def _studied_cards(topic_id: int | None) -> QuerySet[Card]:
    """Cards whose topic is published, less those whose rating is still on its way; of one topic, or of all."""
    cards = Card.objects.filter(
        Exists(Topic.objects.filter(pk=OuterRef("topic_id"))),
        ~Exists(Rating.objects.filter(card_id=OuterRef("pk"), holds_card=True)),
    )
    return cards if topic_id is None else cards.filter(topic_id=topic_id)


def due_cards(now: datetime, *, topic_id: int | None = None) -> QuerySet[Card]:
    """Cards due by `now`, in no order: for counting. A sentinel has no time to fall due."""
    due = CardProgress.objects.filter(due_at__lte=now).values("card_id")
    return _studied_cards(topic_id).filter(pk__in=due)


def due_queue(now: datetime, *, topic_id: int | None = None) -> tuple[QuerySet[CardProgress], QuerySet[CardProgress]]:
    """The progress of the cards due by `now`, in two parts: the lapsed ones, then the others by when they fell due.

    Two, because each is in the order of an index, so its first row costs the same however much is due. Sorting
    both at once had to visit all of it (20 000 due: 150 ms).
    """
    card = _studied_cards(topic_id).filter(pk=OuterRef("card_id"))
    due = CardProgress.objects.filter(Exists(card), due_at__lte=now).order_by("due_at", "card_id")
    return due.filter(last_outcome=Outcome.AGAIN), due.exclude(last_outcome=Outcome.AGAIN)


def unseen_cards(*, topic_id: int | None = None) -> QuerySet[Card]:
    """Cards without any progress: a set difference, never a flag. In the order of their topics."""
    cards = _studied_cards(topic_id).filter(~Exists(CardProgress.objects.filter(card_id=OuterRef("pk"))))
    if topic_id is not None:
        return cards.order_by("pk")
    position = Topic.objects.filter(pk=OuterRef("topic_id")).values("position")
    return cards.annotate(topic_position=Subquery(position)).order_by("topic_position", "topic_id", "pk")


def next_card(queue: str, now: datetime, *, topic_id: int | None = None) -> Card | None:
    """The card to show now, of the queue `due` or `unseen`."""
    if queue == "unseen":
        return unseen_cards(topic_id=topic_id).first()
    lapsed, others = due_queue(now, topic_id=topic_id)
    progress = lapsed.first() or others.first()
    return Card.objects.filter(pk=progress.card_id).first() if progress else None


def has_lapsed(card: Card) -> bool:
    """Whether the last answer to the card was `again`."""
    return CardProgress.objects.filter(card_id=card.pk, last_outcome=Outcome.AGAIN).exists()


def topics_with_counts(now: datetime) -> list[TopicCounts]:
    """Every topic in its order, with what there is to do in it. Five statements, however many topics."""
    due = _by_topic(due_cards(now))
    unseen = _by_topic(unseen_cards())
    cards = _by_topic(Card.objects.all())
    questions = _by_topic(Question.objects.all())
    return [
        TopicCounts(
            topic=topic,
            due=due.get(topic.pk, 0),
            unseen=unseen.get(topic.pk, 0),
            cards=cards.get(topic.pk, 0),
            questions=questions.get(topic.pk, 0),
        )
        for topic in Topic.objects.order_by("position", "name", "pk")
    ]


def _by_topic(rows: QuerySet[Card] | QuerySet[Question]) -> Mapping[int, int]:
    return dict(rows.order_by().values_list("topic_id").annotate(number=Count("pk")))


def cards_of_topic(topic_id: int, now: datetime) -> QuerySet[Card]:
    """The topic's cards, each with `seen`, `due_at`, `is_due` and `held` (its rating is on its way)."""
    mine = CardProgress.objects.filter(card_id=OuterRef("pk")).order_by("due_at", "id")
    return (
        Card.objects.filter(topic_id=topic_id)
        .annotate(
            seen=Exists(mine),
            due_at=Subquery(mine.values("due_at")[:1]),
            is_due=Exists(mine.filter(due_at__lte=now)),
            held=Exists(Rating.objects.filter(card_id=OuterRef("pk"), holds_card=True)),
        )
        .order_by("pk")
    )


def questions_of_topic(topic_id: int) -> QuerySet[Question]:
    """The topic's questions, each with `explained`."""
    explanation = Explanation.objects.filter(question_id=OuterRef("pk"))
    return Question.objects.filter(topic_id=topic_id).annotate(explained=Exists(explanation)).order_by("pk")


def published_question(question_id: int) -> Question | None:
    """The question, if its topic is published too."""
    topic = Topic.objects.filter(pk=OuterRef("topic_id"))
    return Question.objects.filter(Exists(topic), pk=question_id).first()


def neighbours(question: Question) -> tuple[int | None, int | None]:
    """The ids of the questions before and after this one in its topic."""
    ids = Question.objects.filter(topic_id=question.topic_id).values_list("pk", flat=True)
    before = ids.filter(pk__lt=question.pk).order_by("-pk").first()
    return before, ids.filter(pk__gt=question.pk).order_by("pk").first()


def explanation_of(question: Question) -> Explanation | None:
    return Explanation.objects.filter(question_id=question.pk).order_by("pk").first()
