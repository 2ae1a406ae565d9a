"""Folding again what was folded under other settings: in bulk, and with the same result as card by card."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings as hub
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.scheduling import Answer, Outcome, Progress, fold
from memocards.content import topics
from memocards.content.editors import SYSTEM
from memocards.learning import learners, progress, rating
from memocards.learning.rescheduling import outdated, reschedule_page
from memocards.models import CardProgress, LearnerSettings, MemoCard, Review, Topic
from publish.models import PublishOutbox
from tests.factories import (
    CardProgressFactory,
    MemoCardFactory,
    ReviewFactory,
    TopicFactory,
    UserFactory,
)
from tests.memocards.outbox import Key, Payload, forget, outbox, truth
from tests.memocards.waiting import DEADLINE_SECONDS, wait_until_somebody_waits

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
# Not the calendar's: before the rollover hour yesterday lasts on.
STUDY_DAY = (datetime.now(UTC) - timedelta(hours=hub.DAY_ROLLOVER_HOUR)).date()


def studied(learner: User, topic: Topic, cards: int = 1, answers: int = 3) -> list[CardProgress]:
    """Cards of the topic, each answered some times, and nothing left in the outbox."""
    keys = [MemoCardFactory.create(topic=topic).pk for _ in range(cards)]
    now = datetime.now(UTC)
    rating.rate_cards(
        learner_id=learner.pk,
        answers=[
            rating.SentAnswer(key, ReviewFactory.build().pk, Outcome.GOOD, now - 4 * number * DAY)
            for key in keys
            for number in range(1, answers + 1)
        ],
    )
    forget()
    return list(CardProgress.objects.filter(learner=learner, card_id__in=keys).order_by("pk"))


def expected(row: CardProgress) -> Progress | None:
    """The fold of all that counts, as of now."""
    learner = LearnerSettings.objects.filter(learner_id=row.learner_id).first()
    scheduler = progress.scheduler_of(row.card.topic, learner or LearnerSettings(learner_id=row.learner_id))
    reviews = Review.objects.filter(learner_id=row.learner_id, card_id=row.card_id, undone_at=None)
    answers = [Answer(review.pk, Outcome(review.outcome), review.reviewed_at) for review in reviews]
    return fold(answers, scheduler, card_id=row.card_id)


def progress_told() -> dict[Key, Payload | None]:
    """What should be told of progress, by the source rows."""
    return {key: payload for key, payload in truth().items() if key[0] == "card_progress"}


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("reschedule", *arguments, stdout=output, stderr=StringIO())
    return output.getvalue()


@pytest.mark.parametrize(
    "changes",
    [{"scheduler": "fsrs"}, {"exam_date": STUDY_DAY + 3 * DAY}, {"scheduler": "fsrs", "exam_date": date.max}],
)
def test_a_topic_of_another_scheduler_or_exam_is_folded_again_and_published(
    learner: User, changes: dict[str, Any]
) -> None:
    topic = TopicFactory.create()
    rows = studied(learner, topic, cards=5)
    topics.update_topic(topic_id=topic.pk, changes=changes, editor=SYSTEM)
    forget()
    assert outdated() == {learner.pk: 5}
    before = {row.pk: progress.as_progress(row) for row in rows}
    said = run()
    after = {row.pk: progress.as_progress(row) for row in CardProgress.objects.all()}
    assert after == {row.pk: expected(row) for row in rows}
    changed = {key for key in after if after[key] != before[key]}
    assert changed
    assert said == f"5 rows were outdated, {len(changed)} of them changed.\n"
    assert outbox() == {
        key: payload for key, payload in truth().items() if key[1] in changed and key[0] == "card_progress"
    }
    assert outdated() == {}


def test_a_learner_who_moves_is_folded_again_and_others_are_not(learner: User) -> None:
    topic = TopicFactory.create()
    mine, others = studied(learner, topic, cards=2), studied(UserFactory.create(), topic, cards=2)
    LearnerSettings.objects.filter(learner=learner).update(time_zone="Pacific/Auckland", rollover_hour=0)
    assert outdated() == {learner.pk: 2}
    assert run() == "2 rows were outdated, 2 of them changed.\n"
    for row in mine:
        due_before = row.due_at
        row.refresh_from_db()
        assert progress.as_progress(row) == expected(row)
        assert row.due_at != due_before
    for row in others:
        assert CardProgress.objects.get(pk=row.pk).updated_at == row.updated_at
    assert {source_id for _kind, source_id in outbox()} == {row.pk for row in mine}


def test_what_comes_out_the_same_is_not_published_again(learner: User) -> None:
    studied(learner, TopicFactory.create(), cards=3)
    CardProgress.objects.update(fold_key="ladder/0 of another time")
    assert run() == "3 rows were outdated, 0 of them changed.\n"
    assert outbox() == {}
    assert run() == "0 rows were outdated, 0 of them changed.\n"


def test_answers_that_were_taken_back_do_not_count(learner: User) -> None:
    [row] = studied(learner, TopicFactory.create())
    Review.objects.filter(pk=Review.objects.order_by("-reviewed_at")[0].pk).update(undone_at=datetime.now(UTC))
    CardProgress.objects.update(fold_key="old")
    run()
    row.refresh_from_db()
    assert row.review_count == 2
    assert progress.as_progress(row) == expected(row)


def test_progress_that_no_answer_explains_is_left_alone(learner: User) -> None:
    row = CardProgressFactory.create(learner=learner, review_stage=4)
    assert run() == "1 rows were outdated, 0 of them changed.\n"
    assert CardProgress.objects.get().updated_at == row.updated_at


def test_what_is_hidden_is_folded_too_since_it_may_come_back(learner: User) -> None:
    topic = TopicFactory.create()
    [row] = studied(learner, topic)
    Topic.objects.update(scheduler="fsrs", deleted_at=datetime.now(UTC))
    MemoCard.objects.update(deleted_at=datetime.now(UTC))
    run()
    row.refresh_from_db()
    assert progress.as_progress(row) == expected(row)
    assert row.fold_key.startswith("fsrs/")


@pytest.mark.parametrize("page_size", ["1", "2", "7", "100"])
def test_page_by_page_gives_the_same(learner: User, page_size: str) -> None:
    topic = TopicFactory.create()
    rows = studied(learner, topic, cards=7) + studied(UserFactory.create(), topic, cards=2)
    Topic.objects.update(scheduler="fsrs")
    assert run("--page-size", page_size).startswith("9 rows were outdated")
    for row in rows:
        row.refresh_from_db()
        assert progress.as_progress(row) == expected(row)


def test_only_the_topics_and_the_learner_that_were_named(learner: User) -> None:
    history, rivers = TopicFactory.create(name="History"), TopicFactory.create(name="Rivers")
    other = UserFactory.create()
    for who in (learner, other):
        for topic in (history, rivers):
            studied(who, topic)
    Topic.objects.update(scheduler="fsrs")
    assert run("--topic", "Rivers", "--learner", learner.username).startswith("1 rows")
    assert outdated() == {learner.pk: 1, other.pk: 2}
    assert run("--topic", "Rivers").startswith("1 rows")
    assert outdated(topic_ids=[rivers.pk]) == {}
    assert run("--topic", "Rivers", "--topic", "History").startswith("2 rows")
    assert outdated() == {}


@pytest.mark.parametrize("arguments", [["--topic", "Nothing"], ["--learner", "nobody"], ["--page-size", "0"]])
def test_a_name_that_there_is_not_is_refused_in_a_sentence(arguments: list[str]) -> None:
    TopicFactory.create(name="Nothing", deleted_at=datetime.now(UTC))
    with pytest.raises(CommandError, match=r"There is no|whole number"):
        run(*arguments)


def test_a_rating_goes_on_from_what_was_rescheduled(learner: User) -> None:
    topic = TopicFactory.create()
    [row] = studied(learner, topic)
    Topic.objects.update(scheduler="fsrs")
    run()
    rating.rate_card(
        learner_id=learner.pk, card_id=row.card_id, review_id=ReviewFactory.build().pk, outcome=Outcome.HARD
    )
    row.refresh_from_db()
    assert progress.as_progress(row) == expected(row)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    histories=st.lists(
        st.lists(st.tuples(st.integers(0, 90), st.sampled_from(list(Outcome))), min_size=1, max_size=6),
        min_size=1,
        max_size=4,
    ),
    before=st.sampled_from(["ladder", "fsrs"]),
    after=st.sampled_from(["ladder", "fsrs"]),
    exam_in=st.one_of(st.none(), st.integers(-3, 60)),
    zone=st.sampled_from(["", "Asia/Seoul", "America/New_York"]),
    retention=st.sampled_from([0.8, 0.9]),
)
def test_rescheduling_is_the_fold_under_the_settings_of_now(
    histories: list[list[tuple[int, Outcome]]],
    before: str,
    after: str,
    exam_in: int | None,
    zone: str,
    retention: float,
) -> None:
    now = datetime.now(UTC)
    with transaction.atomic():
        learner, topic = UserFactory.create(), TopicFactory.create(scheduler=before)
        answers = [
            rating.SentAnswer(key, UUID(int=(key << 64) + number), outcome, now - days * DAY)
            for history in histories
            for key in [MemoCardFactory.create(topic=topic).pk]
            for number, (days, outcome) in enumerate(history)
        ]
        rating.rate_cards(learner_id=learner.pk, answers=answers)
        exam = None if exam_in is None else now.date() + exam_in * DAY
        Topic.objects.update(scheduler=after, exam_date=exam)
        LearnerSettings.objects.update(time_zone=zone, desired_retention=retention)
        while outdated():
            reschedule_page(learner_id=learner.pk, limit=2)
        for row in CardProgress.objects.all():
            assert progress.as_progress(row) == expected(row)
        assert outbox() == progress_told()
        transaction.set_rollback(True)


def test_a_page_is_six_statements(learner: User, django_assert_num_queries: Callable[[int], Any]) -> None:
    studied(learner, TopicFactory.create(), cards=30)
    Topic.objects.update(scheduler="fsrs")
    with django_assert_num_queries(6):
        page = reschedule_page(learner_id=learner.pk)
    assert (page.rows, page.changed) == (30, 30)
    with django_assert_num_queries(3):
        assert reschedule_page(learner_id=learner.pk).last_id is None


@pytest.mark.django_db(transaction=True)
def test_sigterm_finishes_the_page() -> None:
    """The test holds the learner's lock, so that the signal surely comes in the middle of a page."""
    learner = UserFactory.create()
    studied(learner, TopicFactory.create(), cards=5)
    Topic.objects.update(scheduler="fsrs")
    with transaction.atomic():
        learners.lock_learner(learner.pk)
        process = subprocess.Popen(
            [sys.executable, "manage.py", "reschedule", "--page-size", "2"],
            cwd=hub.BASE_DIR,
            env=os.environ
            | {
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "STUDYHUB_TEST_DATABASE": str(connection.settings_dict["NAME"]),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until_somebody_waits()
        process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, errors) == (0, "")
    assert output == (
        "2 rows were outdated, 2 of them changed.\n"
        "Stopped before the end. The same command goes on with what is left.\n"
    )
    assert outdated() == {learner.pk: 3}
    assert PublishOutbox.objects.count() == 2
    assert run().startswith("3 rows")
