"""Rescheduling: folding again what was folded by another scheduler, or under other settings.

Ratings do this by themselves, card by card as they come. Here it is done at once: after a topic got another scheduler
or exam date, a learner another time zone or retention, or the hub another ladder.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Count, Q

from kit.scheduling import Scheduler, fold
from kit.transactions import in_transaction
from memocards.learning.learners import lock_learner
from memocards.learning.progress import answers_by_card, as_progress, fill_row, scheduler_of, write_progress
from memocards.models import CardProgress, LearnerSettings, Topic
from publish.services import enqueue_card_progress_publish


@dataclass(frozen=True)
class Page:
    """What one page did. `rows`: how many were outdated; `changed`: those that came out otherwise, and were enqueued;
    `last_id`: the last of them, None if there were none.

    A row that no answer explains cannot be folded and is left alone: it is among `rows`, and stays outdated.
    """

    rows: int
    changed: int
    last_id: int | None


def outdated(*, learner_id: int | None = None, topic_ids: Collection[int] | None = None) -> dict[int, int]:
    """Learner → number of outdated progress rows, where there are any. None: of all learners; in all topics."""
    topics = _topics(topic_ids)
    rows = CardProgress.objects.filter(topic_id__in=list(topics)) if topic_ids is not None else CardProgress.objects
    if learner_id is not None:
        rows = rows.filter(learner_id=learner_id)
    learners = {learner.learner_id: learner for learner in LearnerSettings.objects.all()}
    present: dict[int, dict[int, str]] = {}
    counts: dict[int, int] = {}
    groups = rows.values_list("learner_id", "topic_id", "fold_key").annotate(rows=Count("pk")).order_by("learner_id")
    for owner, topic_id, fold_key, count in groups.iterator():
        if owner not in present:
            learner = learners.get(owner) or LearnerSettings(learner_id=owner)
            present = {owner: {key: scheduler.fold_key for key, scheduler in _schedulers(topics, learner).items()}}
        if present[owner][topic_id] != fold_key:
            counts[owner] = counts.get(owner, 0) + count
    return counts


@in_transaction
def reschedule_page(
    *, learner_id: int, topic_ids: Collection[int] | None = None, after_id: int = 0, limit: int = 500
) -> Page:
    """Fold a learner's next outdated rows, those above `after_id` in order of id, at most `limit`.

    Six statements. The learner's lock holds off the learner's ratings for as long as a page takes.
    """
    learner = lock_learner(learner_id)
    schedulers = schedulers_of(learner, topic_ids)
    outdated_rows = CardProgress.objects.filter(_is_outdated(schedulers), learner_id=learner_id, pk__gt=after_id)
    rows = list(outdated_rows.order_by("pk").select_for_update(no_key=True)[:limit])
    if not rows:
        return Page(rows=0, changed=0, last_id=None)
    changed = fold_rows(learner_id, rows, schedulers)
    enqueue_card_progress_publish(*changed)
    return Page(rows=len(rows), changed=len(changed), last_id=rows[-1].pk)


def schedulers_of(learner: LearnerSettings, topic_ids: Collection[int] | None) -> dict[int, Scheduler]:
    """Topic → its scheduler for this learner. None: of all topics."""
    return _schedulers(_topics(topic_ids), learner)


def fold_rows(learner_id: int, rows: Sequence[CardProgress], schedulers: Mapping[int, Scheduler]) -> list[CardProgress]:
    """Fold these rows of a learner again and write them. Returns those that came out otherwise; a row that no answer
    explains is left alone. Unsafe alone: learner and rows are locked, and the caller enqueues what changed."""
    by_card = {row.card_id: row for row in rows}
    folded: list[CardProgress] = []
    changed: list[CardProgress] = []
    for card_id, answers in answers_by_card(learner_id, by_card):
        row = by_card[card_id]
        scheduler = schedulers[row.topic_id]
        after = fold(answers, scheduler, card_id=card_id)
        assert after is not None  # noqa: S101  (cards without answers are left out)
        if after != as_progress(row):
            changed.append(row)
        folded.append(fill_row(row, after, topic_id=row.topic_id, fold_key=scheduler.fold_key))
    if folded:
        write_progress(folded)
    return changed


def _topics(topic_ids: Collection[int] | None) -> dict[int, Topic]:
    """Deleted ones too: a topic that is restored shows its progress again."""
    return Topic.objects.in_bulk(topic_ids if topic_ids is None else list(topic_ids))


def _schedulers(topics: Mapping[int, Topic], learner: LearnerSettings) -> dict[int, Scheduler]:
    """Topic → its scheduler for this learner: one for all topics of a scheduler and exam date."""
    alike: dict[tuple[object, ...], Scheduler] = {}
    return {
        key: alike.setdefault((topic.scheduler, topic.exam_date), scheduler_of(topic, learner))
        for key, topic in topics.items()
    }


def _is_outdated(schedulers: Mapping[int, Scheduler]) -> Q:
    """Of a progress row: whether it was folded under another key than its topic has now."""
    topics_by_key: dict[str, list[int]] = {}
    for topic_id, scheduler in schedulers.items():
        topics_by_key.setdefault(scheduler.fold_key, []).append(topic_id)
    where = Q(pk__in=[])
    for fold_key, topic_ids in topics_by_key.items():
        where |= Q(topic_id__in=topic_ids) & ~Q(fold_key=fold_key)
    return where
