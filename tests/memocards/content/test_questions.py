"""Questions, and their explanations: one row, two published kinds."""

from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction

from memocards.content.editors import SYSTEM
from memocards.content.questions import questions
from memocards.content.versions import versions_of
from memocards.errors import Conflict, Invalid, NotFound
from memocards.models import Question
from publish.models import PublishOutbox
from tests.factories import QuestionFactory, TopicFactory
from tests.memocards.outbox import forget, outbox, truth
from tests.memocards.waiting import wait_until_somebody_waits

LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)
Start = Callable[..., Future[Any]]

pytestmark = pytest.mark.django_db(transaction=True)


def explained(**fields: Any) -> Question:
    return QuestionFactory.create(explanation="Because.", explanation_status="ready", **fields)


def test_a_new_question_is_published_and_has_no_explanation_yet() -> None:
    topic = TopicFactory.create()
    question = questions.create(
        topic_id=topic.pk, stem="Which?", choices=["강", "b"], answer=2, source="Atlas", editor=SYSTEM
    )
    assert outbox() == {
        ("question", question.pk): {
            "topic_id": topic.pk,
            "stem": "Which?",
            "choices": ["강", "b"],
            "answer": 2,
            "source": "Atlas",
        },
        ("explanation", question.pk): None,
    }


def test_an_imported_question_is_not_shown_before_it_is_approved() -> None:
    question = questions.create(
        topic_id=TopicFactory.create().pk, stem="Which?", choices=["a", "b"], answer=1, needs_review=True, editor=SYSTEM
    )
    assert outbox() == {("question", question.pk): None, ("explanation", question.pk): None}
    assert questions.approve(versions=versions_of(Question, [question.pk]), editor=SYSTEM) == [question.pk]
    assert outbox()["question", question.pk] is not None


def test_an_explanation_is_published_once_it_is_ready() -> None:
    question = QuestionFactory.create()
    questions.update(
        key=question.pk, changes={"explanation": "Because.", "explanation_generator": "a program"}, editor=SYSTEM
    )
    assert outbox()["explanation", question.pk] == {"question_id": question.pk, "body": "Because."}
    question.refresh_from_db()
    assert (question.explanation_status, question.explanation_generator) == ("ready", "a program")


@pytest.mark.parametrize("status", ["none", "pending", "running", "failed"])
def test_an_explanation_that_stops_being_ready_is_withdrawn(status: str) -> None:
    question = explained()
    questions.update(key=question.pk, changes={"explanation_status": status}, editor=SYSTEM)
    assert outbox()["explanation", question.pk] is None
    assert outbox()["question", question.pk] is not None


def test_a_cleared_explanation_is_withdrawn_and_forgotten() -> None:
    question = explained(explanation_generator="a program")
    questions.clear_explanation(key=question.pk, editor=SYSTEM)
    question.refresh_from_db()
    assert (question.explanation, question.explanation_status, question.explanation_generator) == ("", "none", "")
    assert outbox()["explanation", question.pk] is None


@pytest.mark.parametrize("body", ["", " \n\t"])
def test_a_blank_explanation_is_refused(body: str) -> None:
    question = explained()
    with pytest.raises(Invalid, match="blank"):
        questions.set_explanation(key=question.pk, body=body, editor=SYSTEM)
    assert outbox() == {}


@pytest.mark.parametrize(
    "hide",
    [questions.unapprove, questions.delete],
)
def test_a_hidden_question_takes_its_explanation_along_and_brings_it_back(hide: Callable[..., list[int]]) -> None:
    question = explained()
    hide(keys=[question.pk], editor=SYSTEM)
    assert outbox() == {("question", question.pk): None, ("explanation", question.pk): None}
    questions.approve(versions=versions_of(Question, [question.pk]), editor=SYSTEM)
    questions.restore(keys=[question.pk], editor=SYSTEM)
    assert outbox()["explanation", question.pk] == {"question_id": question.pk, "body": "Because."}


def test_an_explanation_of_a_waiting_question_is_stored_and_shown_later() -> None:
    question = QuestionFactory.create(needs_review=True)
    questions.set_explanation(key=question.pk, body="Because.", editor=SYSTEM)
    assert outbox()["explanation", question.pk] is None
    questions.approve(versions=versions_of(Question, [question.pk]), editor=SYSTEM)
    assert outbox()["explanation", question.pk] is not None


def test_only_what_changes_is_touched() -> None:
    live, waiting, deleted = (
        QuestionFactory.create(),
        QuestionFactory.create(needs_review=True),
        QuestionFactory.create(needs_review=True, deleted_at=LONG_AGO),
    )
    keys = [deleted.pk, live.pk, waiting.pk, 2**62]
    assert questions.approve(versions=versions_of(Question, keys), editor=SYSTEM) == [waiting.pk]
    assert {key for _kind, key in outbox()} == {waiting.pk}
    forget()
    assert questions.restore(keys=[live.pk, waiting.pk, deleted.pk], editor=SYSTEM) == [deleted.pk]
    assert {key for _kind, key in outbox()} == {deleted.pk}


def test_no_ids_and_unknown_ids_are_no_error() -> None:
    for versions in ({}, {2**62: "-"}):
        assert questions.approve(versions=versions, editor=SYSTEM) == []
    for service in (
        questions.unapprove,
        questions.delete,
        questions.restore,
    ):
        assert service(editor=SYSTEM, keys=[]) == []
        assert service(editor=SYSTEM, keys=[2**62]) == []


def test_a_question_is_not_restored_into_a_deleted_topic() -> None:
    fine = QuestionFactory.create(deleted_at=LONG_AGO)
    stuck = QuestionFactory.create(deleted_at=LONG_AGO, topic__deleted_at=LONG_AGO)
    with pytest.raises(Conflict, match="topic is deleted"):
        questions.restore(keys=[fine.pk, stuck.pk], editor=SYSTEM)
    assert not Question.objects.filter(deleted_at=None).exists()
    assert outbox() == {}


def test_a_question_is_not_edited_while_deleted_nor_moved_into_a_deleted_topic() -> None:
    gone, question = QuestionFactory.create(deleted_at=LONG_AGO), QuestionFactory.create()
    with pytest.raises(Conflict, match="Restore it"):
        questions.update(key=gone.pk, changes={"stem": "New?"}, editor=SYSTEM)
    with pytest.raises(Conflict, match="choose another"):
        questions.update(
            key=question.pk, changes={"topic_id": TopicFactory.create(deleted_at=LONG_AGO).pk}, editor=SYSTEM
        )
    with pytest.raises(NotFound, match="question"):
        questions.set_explanation(key=2**62, body="Because.", editor=SYSTEM)
    assert outbox() == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": 3},
        {"answer": 0},
        {"choices": ["a"]},
        {"choices": ["a", ""]},
        {"choices": ["a"] * 11},
        {"stem": "\n"},
        {"stem": "a\0b"},
        {"stem": "x" * 20_001},
        {"explanation_status": "done"},
        {"explanation_status": "ready"},
    ],
    ids=str,
)
def test_a_refused_edit_leaves_nothing_half_done(changes: dict[str, Any]) -> None:
    question = QuestionFactory.create()
    with pytest.raises(Invalid):
        questions.update(key=question.pk, changes={"source": "New", **changes}, editor=SYSTEM)
    assert Question.objects.get().source == ""
    assert outbox() == {}


@pytest.mark.parametrize("size", [5, 500])
def test_bulk_services_cost_the_same_however_many_questions(size: int, django_assert_num_queries: Any) -> None:
    topic = TopicFactory.create()
    Question.objects.bulk_create(QuestionFactory.build_batch(size, topic=topic, needs_review=True))
    keys = list(Question.objects.values_list("pk", flat=True))
    versions = versions_of(Question, keys)
    with transaction.atomic(), django_assert_num_queries(4):
        assert questions.approve(versions=versions, editor=SYSTEM) == keys
    for service, statements in (
        (questions.unapprove, 4),
        (questions.delete, 4),
        (questions.restore, 6),
    ):
        forget()
        with transaction.atomic(), django_assert_num_queries(statements):
            assert service(editor=SYSTEM, keys=keys) == keys
        assert PublishOutbox.objects.count() == 2 * size


def test_a_writer_of_the_explanation_and_an_editor_of_the_stem_both_win(in_thread: Start) -> None:
    question = QuestionFactory.create()
    with transaction.atomic():
        questions.update(key=question.pk, changes={"stem": "New?"}, editor=SYSTEM)
        other = in_thread(questions.set_explanation, key=question.pk, body="Because.", editor=SYSTEM)
        wait_until_somebody_waits()
    other.result()
    said = outbox()
    assert (said["question", question.pk] or {})["stem"] == "New?"
    assert (said["explanation", question.pk] or {})["body"] == "Because."
    assert said == {key: truth()[key] for key in said}
