"""Progress: where a learner stands with a card, which is always the fold of the reviews that are not undone."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import Final

from django.conf import settings

from kit.scheduling import Answer, Outcome, Progress, Scheduler, Settings, scheduler_for
from memocards.learning.learners import study_clock
from memocards.models import CardProgress, LearnerSettings, Review, Topic

_FOLDED: Final = (
    "last_outcome",
    "last_reviewed_at",
    "due_at",
    "review_stage",
    "review_count",
    "lapse_count",
    "scheduler_state",
)


def scheduler_of(topic: Topic, learner: LearnerSettings) -> Scheduler:
    """The topic's scheduler under this learner's settings."""
    return scheduler_for(
        topic.scheduler,
        Settings(
            clock=study_clock(learner),
            ladder_days=settings.LADDER_DAYS,
            desired_retention=learner.desired_retention,
            exam_date=topic.exam_date,
        ),
    )


def as_progress(row: CardProgress) -> Progress:
    """A stored progress row as the schedulers read it."""
    return Progress(
        last_outcome=Outcome(row.last_outcome),
        last_reviewed_at=row.last_reviewed_at,
        due_at=row.due_at,
        review_stage=row.review_stage,
        review_count=row.review_count,
        lapse_count=row.lapse_count,
        scheduler_state=row.scheduler_state,
    )


def fill_row(row: CardProgress, after: Progress, *, topic_id: int, fold_key: str) -> CardProgress:
    """The row, now saying `after`. It is not written yet."""
    for name in _FOLDED:
        setattr(row, name, getattr(after, name))
    row.scheduler_state = dict(after.scheduler_state)
    row.topic_id = topic_id
    row.fold_key = fold_key
    return row


def write_progress(rows: Sequence[CardProgress]) -> None:
    """Insert those of these rows that are new, and update the others: one statement for each sort.

    Unsafe alone: the caller has locked the learner and the rows, and enqueues what it touched.
    """
    CardProgress.objects.bulk_create(
        rows,
        # An upsert for updates too: bulk_update writes a CASE for every value, and takes ten times as long.
        update_conflicts=True,
        unique_fields=["learner", "card"],
        update_fields=["topic", *_FOLDED, "fold_key", "updated_at"],
    )


def answers_by_card(learner_id: int, card_ids: Collection[int]) -> Iterator[tuple[int, list[Answer]]]:
    """The learner's answers that are not undone, oldest first, card by card in order of id; one card's are in memory at
    a time. Cards without answers are left out."""
    rows = Review.objects.filter(learner_id=learner_id, card_id__in=card_ids, undone_at__isnull=True)
    answers = rows.order_by("card_id", "reviewed_at", "id").values_list("card_id", "id", "outcome", "reviewed_at")
    for card_id, group in groupby(answers.iterator(), key=lambda row: row[0]):
        yield card_id, [Answer(id=key, outcome=Outcome(outcome), reviewed_at=at) for _card, key, outcome, at in group]


def lock_progress(learner_id: int, card_ids: Collection[int]) -> dict[int, CardProgress]:
    """Card → the learner's progress with it, locked until the transaction ends; of cards that have none, nothing."""
    rows = CardProgress.objects.select_for_update(no_key=True).order_by("pk")
    return {row.card_id: row for row in rows.filter(learner_id=learner_id, card_id__in=card_ids)}
