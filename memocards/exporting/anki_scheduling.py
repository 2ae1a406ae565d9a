"""A learner's progress and reviews in the tables of an Anki collection (schema 11).

A card that is due on a day is a review card due on that day; a sentinel, which is never due, is suspended; a card
without progress stays new. Intervals are in study days.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby, islice
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.utils import timezone

from kit.scheduling import SCHEDULERS, Memory, StudyClock
from memocards.learning.learners import study_clock
from memocards.models import CardProgress, LearnerSettings, Review, Topic

_AT_ONCE: Final = 2_000
_REVIEW_CARD: Final = 2
_IN_REVIEW, _SUSPENDED = 2, -1
# Anki's initial ease, in thousandths. The ladder knows none, and FSRS has its own measure.
_EASE: Final = 2_500
# Anki stops its clock there.
_LONGEST_MS: Final = 60_000
# A sentinel has no interval. Whoever lets one back in, in Anki, sees it a year after its last review.
_SENTINEL_DAYS: Final = 365
_BUTTONS: Final = {"again": 1, "hard": 2, "good": 3, "easy": 4}
_LEARNED, _REVIEWED = 0, 1


def write_scheduling(
    database: sqlite3.Connection, card_ids: Mapping[int, int], topics: Sequence[Topic], learner: LearnerSettings
) -> tuple[int, int]:
    """Write the learner's progress with these cards (primary key → id in Anki), and their reviews that are not undone.

    Returns how many cards and how many reviews.
    """
    clock = study_clock(learner)
    first_day = _first_day(clock, learner)
    _write_calendar(database, clock, first_day)
    schedulers = {topic.pk: SCHEDULERS[topic.scheduler] for topic in topics}
    scheduled = reviews = 0
    keys = iter(sorted(card_ids))
    used: set[int] = set()
    while page := list(islice(keys, _AT_ONCE)):
        rows = CardProgress.objects.filter(learner_id=learner.learner_id, card_id__in=page).order_by("card_id")
        changes = [
            _card(row, card_ids[row.card_id], clock, first_day, schedulers[row.topic_id].memory(row.scheduler_state))
            for row in rows
        ]
        database.executemany(
            "UPDATE cards SET type = ?, queue = ?, due = ?, ivl = ?, factor = ?, reps = ?, lapses = ?, data = ?"
            " WHERE id = ?",
            changes,
        )
        history = list(_history(learner.learner_id, page, card_ids, clock, used))
        database.executemany("INSERT INTO revlog VALUES (?, ?, -1, ?, ?, ?, ?, ?, ?)", history)
        scheduled, reviews = scheduled + len(changes), reviews + len(history)
    return scheduled, reviews


def _first_day(clock: StudyClock, learner: LearnerSettings) -> date:
    """The day from which the collection counts: that of the learner's first review, or today."""
    first = Review.objects.filter(learner_id=learner.learner_id).order_by("reviewed_at").first()
    return clock.study_day(first.reviewed_at if first else timezone.now())


def _write_calendar(database: sqlite3.Connection, clock: StudyClock, first_day: date) -> None:
    """Days are counted from `crt`, by the second scheduler's rules: local days that begin at the rollover hour."""
    begin = clock.start_of(first_day)
    (written,) = database.execute("SELECT conf FROM col").fetchone()
    conf: dict[str, Any] = json.loads(written)
    conf["schedVer"] = 2
    conf["rollover"] = clock.rollover_hour
    conf["creationOffset"] = _minutes_west(clock, begin)
    conf["localOffset"] = _minutes_west(clock, timezone.now())
    database.execute("UPDATE col SET crt = ?, conf = ?", (int(begin.timestamp()), json.dumps(conf)))


def _minutes_west(clock: StudyClock, moment: datetime) -> int:
    offset = moment.astimezone(ZoneInfo(clock.time_zone)).utcoffset()
    return -int(offset.total_seconds() // 60) if offset is not None else 0


def _card(
    row: CardProgress, anki_id: int, clock: StudyClock, first_day: date, memory: Memory | None
) -> tuple[Any, ...]:
    answered = clock.study_day(row.last_reviewed_at)
    interval = _SENTINEL_DAYS if row.due_at is None else max(1, (clock.study_day(row.due_at) - answered).days)
    due = answered + timedelta(days=interval) if row.due_at is None else clock.study_day(row.due_at)
    return (
        _REVIEW_CARD,
        _SUSPENDED if row.due_at is None else _IN_REVIEW,
        (due - first_day).days,
        interval,
        _EASE,
        row.review_count,
        row.lapse_count,
        _as_anki_keeps(memory),
        anki_id,
    )


def _as_anki_keeps(memory: Memory | None) -> str:
    if memory is None:
        return ""
    return json.dumps({"s": round(memory.stability, 4), "d": round(memory.difficulty, 3)})


def _history(
    learner_id: int, keys: Sequence[int], card_ids: Mapping[int, int], clock: StudyClock, used: set[int]
) -> Iterator[tuple[Any, ...]]:
    reviews = Review.objects.filter(learner_id=learner_id, card_id__in=keys, undone_at__isnull=True)
    ordered = reviews.order_by("card_id", "reviewed_at", "id")
    for card_id, answers in groupby(ordered.iterator(_AT_ONCE), key=lambda review: review.card_id):
        last = 0
        for place, review in enumerate(answers):
            day = clock.study_day(review.reviewed_at)
            due = review.due_after
            interval = _SENTINEL_DAYS if due is None else max(1, (clock.study_day(due) - day).days)
            # A review is known by its millisecond.
            moment = int(review.reviewed_at.timestamp() * 1000)
            while moment in used:
                moment += 1
            used.add(moment)
            yield (
                moment,
                card_ids[card_id],
                _BUTTONS[review.outcome],
                interval,
                last,
                _EASE,
                min(review.duration_ms or 0, _LONGEST_MS),
                _REVIEWED if place else _LEARNED,
            )
            last = interval
