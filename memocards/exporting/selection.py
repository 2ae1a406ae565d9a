"""What an export takes: the live rows of some topics, in a stable order, a few at a time."""

from collections.abc import Sequence

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from memocards.errors import NotFound
from memocards.models import MemoCard, Question, Topic

# A server-side cursor brings so many at a time.
AT_ONCE = 2_000


def live_topics(names: Sequence[str]) -> list[Topic]:
    """The topics of these names, in the given order, each once. Raises NotFound."""
    topics = {topic.name: topic for topic in Topic.objects.filter(name__in=names, deleted_at__isnull=True)}
    for name in names:
        if name not in topics:
            raise NotFound(_("topic"), repr(name))
    return [topics[name] for name in dict.fromkeys(names)]


def cards_of(topic: Topic, *, waiting: bool) -> QuerySet[MemoCard]:
    """The topic's cards that are live; with `waiting` those that wait for review too."""
    cards = MemoCard.objects.filter(topic=topic, deleted_at__isnull=True)
    return (cards if waiting else cards.filter(needs_review=False)).order_by("pk")


def questions_of(topic: Topic, *, waiting: bool) -> QuerySet[Question]:
    """The topic's questions that are live; with `waiting` those that wait for review too."""
    questions = Question.objects.filter(topic=topic, deleted_at__isnull=True)
    return (questions if waiting else questions.filter(needs_review=False)).order_by("pk")
