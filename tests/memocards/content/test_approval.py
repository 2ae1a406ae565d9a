"""Nothing unreviewed is shown: whatever somebody changes who may not approve it waits for a reviewer."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from kit.scheduling import Outcome
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.questions import questions
from memocards.content.versions import VOUCHED_FOR, versions_of
from memocards.errors import Conflict, WaitsForReview
from memocards.learning import rating
from memocards.models import CardProgress, MemoCard, Question
from publish.kinds import CATALOGUE
from tests.factories import CardProgressFactory, MemoCardFactory, QuestionFactory, TopicFactory, UserFactory
from tests.memocards.admin.test_bulk import answered, asked
from tests.memocards.admin.test_content import Form, act, opened, page_of, token
from tests.memocards.admin.test_groups import member
from tests.memocards.editors import AUTHOR
from tests.memocards.outbox import outbox, truth
from tests.memocards.rest.test_content import send

LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)
UNTIL_APPROVED = "viewers drop it until it is approved again"

pytestmark = pytest.mark.django_db
# A refusal rolls back the transaction of the request, which must not be the test's.
own_transactions = pytest.mark.django_db(transaction=True)


def approved_card(**fields: Any) -> MemoCard:
    return MemoCardFactory.create(reviewed_by=UserFactory.create(), reviewed_at=LONG_AGO, **fields)


def approved_question(**fields: Any) -> Question:
    values = {"explanation": "Because.", "explanation_status": "ready", **fields}
    return QuestionFactory.create(reviewed_by=UserFactory.create(), reviewed_at=LONG_AGO, **values)


def is_approved(row: Any) -> bool:
    """Whether it still is as a reviewer left it; if not, nothing of the approval is left, and viewers drop the row."""
    row.refresh_from_db()
    kind = "card" if isinstance(row, MemoCard) else "question"
    if not row.needs_review:
        assert row.reviewed_by is not None
        assert row.reviewed_at == LONG_AGO
        return True
    assert (row.reviewed_by, row.reviewed_at) == (None, None)
    assert outbox()[kind, row.pk] is None
    if kind == "question":
        assert outbox()["explanation", row.pk] is None
    else:
        assert row.unapproved_at > LONG_AGO
    return False


# Services


def test_a_reviewer_vouches_for_all_that_is_published() -> None:
    """A payload that is more than columns needs a comparison of its own."""
    for kind, model in (("question", Question), ("explanation", Question), ("card", MemoCard)):
        columns = {field.attname for field in model._meta.concrete_fields}
        assert set(CATALOGUE[kind].fields.values()) <= columns
        assert set(CATALOGUE[kind].fields.values()) - {"id"} <= VOUCHED_FOR[model]


@pytest.mark.parametrize("column", ["front", "back", "tags", "topic_id", "question_id"])
def test_a_card_that_learners_would_see_otherwise_waits_again(column: str) -> None:
    new: dict[str, Any] = {
        "front": "New",
        "back": "New",
        "tags": ["new"],
        "topic_id": TopicFactory.create().pk,
        "question_id": QuestionFactory.create().pk,
    }
    assert set(new) == VOUCHED_FOR[MemoCard]
    by_author, by_reviewer = approved_card(), approved_card()
    cards.update(key=by_author.pk, changes={column: new[column]}, editor=AUTHOR)
    cards.update(key=by_reviewer.pk, changes={column: new[column]}, editor=SYSTEM)
    assert not is_approved(by_author)
    assert is_approved(by_reviewer)
    assert outbox() == {key: truth()[key] for key in outbox()}


@pytest.mark.parametrize("column", ["stem", "choices", "answer", "source", "topic_id", "explanation"])
def test_a_question_that_learners_would_see_otherwise_waits_again(column: str) -> None:
    new: dict[str, Any] = {
        "stem": "New?",
        "choices": ["new", "newer"],
        "answer": 2,
        "source": "New",
        "topic_id": TopicFactory.create().pk,
        "explanation": "New.",
    }
    assert set(new) == VOUCHED_FOR[Question]
    by_author, by_reviewer = approved_question(), approved_question()
    questions.update(key=by_author.pk, changes={column: new[column]}, editor=AUTHOR)
    questions.update(key=by_reviewer.pk, changes={column: new[column]}, editor=SYSTEM)
    assert not is_approved(by_author)
    assert is_approved(by_reviewer)
    assert outbox() == {key: truth()[key] for key in outbox()}


def test_an_explanation_written_or_withdrawn_makes_its_question_wait_again() -> None:
    rewritten, withdrawn = approved_question(), approved_question()
    unexplained = approved_question(explanation="", explanation_status="none")
    questions.set_explanation(key=rewritten.pk, body="New.", editor=AUTHOR)
    questions.clear_explanation(key=withdrawn.pk, editor=AUTHOR)
    questions.set_explanation(key=unexplained.pk, body="New.", editor=AUTHOR)
    assert not any(is_approved(question) for question in (rewritten, withdrawn, unexplained))


def test_what_learners_do_not_see_is_changed_without_another_review() -> None:
    card = approved_card(tags=["old"], unapproved_at=LONG_AGO)
    same = {"front": card.front, "tags": ["old"], "topic_id": card.topic_id}
    cards.update(key=card.pk, changes={**same, "source": "A book", "external_id": "1"}, editor=AUTHOR)
    cards.update(key=card.pk, changes={}, editor=AUTHOR)
    assert is_approved(card)

    question = approved_question()
    same = {"stem": question.stem, "choices": question.choices, "answer": question.answer}
    questions.update(key=question.pk, changes={**same, "external_id": "1"}, editor=AUTHOR)
    questions.set_explanation(key=question.pk, body="Because.", editor=AUTHOR)
    asked_for = approved_question(explanation="", explanation_status="failed")
    questions.clear_explanation(key=asked_for.pk, editor=AUTHOR)
    assert is_approved(question)
    assert is_approved(asked_for)


def test_a_card_that_waited_already_keeps_the_time_of_its_withdrawal() -> None:
    card = MemoCardFactory.create(needs_review=True, unapproved_at=LONG_AGO, tags=["old"])
    cards.update(key=card.pk, changes={"front": "New"}, editor=AUTHOR)
    cards.tag(keys=[card.pk], add=["new"], editor=AUTHOR)
    cards.move(keys=[card.pk], topic_id=TopicFactory.create().pk, editor=AUTHOR)
    card.refresh_from_db()
    assert (card.needs_review, card.unapproved_at) == (True, LONG_AGO)


@pytest.mark.parametrize("size", [5, 500])
def test_many_rows_wait_again_for_no_statement_more(size: int, django_assert_num_queries: Any) -> None:
    topic, target = TopicFactory.create(), TopicFactory.create()
    MemoCard.objects.bulk_create(MemoCardFactory.build_batch(size, topic=topic))
    Question.objects.bulk_create(QuestionFactory.build_batch(size, topic=topic))
    keys = list(MemoCard.objects.values_list("pk", flat=True))
    question_keys = list(Question.objects.values_list("pk", flat=True))
    moved = MemoCard.objects.filter(topic=target)
    for may_approve in (True, False):
        with transaction.atomic(), django_assert_num_queries(3):
            assert cards.tag(keys=keys, add=[f"{may_approve}"], editor=SYSTEM if may_approve else AUTHOR) == keys
        assert MemoCard.objects.filter(needs_review=not may_approve).count() == size
        MemoCard.objects.update(needs_review=False)
        with transaction.atomic(), django_assert_num_queries(5):
            assert cards.move(keys=keys, topic_id=target.pk, editor=SYSTEM if may_approve else AUTHOR) == keys
        assert moved.filter(needs_review=not may_approve).count() == size
        with transaction.atomic(), django_assert_num_queries(5):
            questions.move(keys=question_keys, topic_id=target.pk, editor=SYSTEM if may_approve else AUTHOR)
        assert Question.objects.filter(topic=target, needs_review=not may_approve).count() == size
        MemoCard.objects.update(topic=topic, needs_review=False)
        Question.objects.update(topic=topic, needs_review=False)


def test_rows_that_a_bulk_change_leaves_as_they_are_stay_approved() -> None:
    topic = TopicFactory.create()
    there, elsewhere = approved_card(topic=topic, tags=["a", "b"]), approved_card()
    assert cards.move(keys=[there.pk, elsewhere.pk], topic_id=topic.pk, editor=AUTHOR) == [elsewhere.pk]
    assert cards.tag(keys=[there.pk], add=["b"], remove=["c"], editor=AUTHOR) == []
    question, moved = approved_question(topic=topic), approved_question()
    questions.move(keys=[question.pk, moved.pk], topic_id=topic.pk, editor=AUTHOR)
    assert [is_approved(row) for row in (there, elsewhere, question, moved)] == [True, False, True, False]


def test_learners_find_their_progress_again_once_it_is_approved() -> None:
    card = approved_card()
    progress = CardProgressFactory.create(card=card)
    before = CardProgress.objects.values().get()
    cards.update(key=card.pk, changes={"front": "New"}, editor=AUTHOR)
    with pytest.raises(WaitsForReview), transaction.atomic():
        rating.rate_card(learner_id=progress.learner_id, card_id=card.pk, review_id=uuid4(), outcome=Outcome.GOOD)
    assert CardProgress.objects.values().get() == before
    cards.approve(versions=versions_of(MemoCard, [card.pk]), editor=SYSTEM)
    assert outbox()["card", card.pk] == truth()["card", card.pk] is not None
    assert CardProgress.objects.values().get() == before


@own_transactions
def test_what_is_deleted_cannot_be_edited_and_so_comes_back_as_it_was() -> None:
    card, question = approved_card(), approved_question()
    topic = TopicFactory.create()
    cards.delete(keys=[card.pk], editor=SYSTEM)
    questions.delete(keys=[question.pk], editor=SYSTEM)
    with pytest.raises(Conflict, match="Restore it"):
        cards.update(key=card.pk, changes={"front": "New"}, editor=AUTHOR)
    with pytest.raises(Conflict, match="Restore it"):
        questions.set_explanation(key=question.pk, body="New.", editor=AUTHOR)
    with pytest.raises(Conflict, match="Restore it"):
        questions.clear_explanation(key=question.pk, editor=AUTHOR)
    assert cards.move(keys=[card.pk], topic_id=topic.pk, editor=AUTHOR) == []
    assert cards.tag(keys=[card.pk], add=["new"], editor=AUTHOR) == []
    assert questions.move(keys=[question.pk], topic_id=topic.pk, editor=AUTHOR) == []
    cards.restore(keys=[card.pk], editor=SYSTEM)
    questions.restore(keys=[question.pk], editor=SYSTEM)
    assert is_approved(card)
    assert is_approved(question)


# Over REST


def test_over_rest_an_authors_edit_waits_and_a_reviewers_does_not() -> None:
    for group, kept in (("author", False), ("reviewer", True)):
        client, card, question, explained = member(group), approved_card(), approved_question(), approved_question()
        unexplained = approved_question()
        for method, path, body in (
            ("PATCH", f"/study-cards/{card.pk}", {"back": "New"}),
            ("PATCH", f"/questions/{question.pk}", {"answer": 2}),
            ("PUT", f"/questions/{explained.pk}/explanation", {"body": "New."}),
            ("DELETE", f"/questions/{unexplained.pk}/explanation", None),
        ):
            response = send(client, method, path, body)
            assert (response.status_code, response.json()["needs_review"]) == (200, not kept)
        assert {is_approved(row) for row in (card, question, explained, unexplained)} == {kept}


@own_transactions
def test_over_rest_nobody_publishes_what_they_may_not_approve() -> None:
    author, topic = member("author"), TopicFactory.create()
    body = {"topic_id": topic.pk, "stem": "Which?", "choices": ["a", "b"], "answer": 1}
    forbidden = send(author, "POST", "/questions", body | {"needs_review": False})
    assert forbidden.status_code == 403
    assert not Question.objects.exists()
    for sent in ({}, {"needs_review": None}, {"needs_review": True}):
        response = send(author, "POST", "/questions", body | sent)
        assert (response.status_code, response.json()["needs_review"]) == (201, True)
    card = send(author, "POST", "/study-cards", {"topic_id": topic.pk, "front": "Front", "back": "Back"})
    assert (card.status_code, card.json()["needs_review"]) == (201, True)
    for path in (f"/questions/{response.json()['id']}", f"/study-cards/{card.json()['id']}"):
        assert send(author, "PATCH", path, {"needs_review": False}).status_code == 422
    assert [key for key, payload in outbox().items() if payload is not None] == []


def test_over_rest_who_may_approve_a_question_publishes_it_at_once(admin_client: Client) -> None:
    body = {"topic_id": TopicFactory.create().pk, "stem": "Which?", "choices": ["a", "b"], "answer": 1}
    for sent, waits in (({}, False), ({"needs_review": False}, False), ({"needs_review": True}, True)):
        body_of_question = send(admin_client, "POST", "/questions", body | sent).json()
        assert body_of_question["needs_review"] is waits
        assert (outbox()["question", body_of_question["id"]] is None) is waits


# In the back office


@pytest.mark.parametrize(("make", "field"), [(approved_card, "front"), (approved_question, "explanation")])
def test_an_author_is_told_before_and_the_row_waits_after(make: Any, field: str) -> None:
    author, reviewer = member("author"), member("reviewer")
    row, waiting = make(), make(needs_review=True)
    assert UNTIL_APPROVED in author.get(page_of(row)).content.decode()
    assert UNTIL_APPROVED not in author.get(page_of(waiting)).content.decode()
    assert UNTIL_APPROVED not in reviewer.get(page_of(row)).content.decode()

    assert author.post(page_of(row), opened(author, page_of(row))).status_code == 302
    assert is_approved(row)
    reviewer.post(page_of(row), opened(reviewer, page_of(row)) | {field: "by the reviewer"})
    assert is_approved(row)
    author.post(page_of(row), opened(author, page_of(row)) | {field: "by the author"})
    assert not is_approved(row)
    assert getattr(row, field) == "by the author"


def test_an_author_who_moves_or_tags_is_told_before_and_the_rows_wait_after() -> None:
    author, target = member("author"), TopicFactory.create()
    rows = [approved_card(), approved_card(), MemoCardFactory.create(needs_review=True)]
    for action, values in (("move", {"topic": str(target.pk)}), ("tag", {"add": "new"})):
        MemoCard.objects.filter(pk__in=[row.pk for row in rows[:2]]).update(
            needs_review=False, reviewed_at=LONG_AGO, reviewed_by=UserFactory.create()
        )
        html = asked(author, MemoCard, action, *rows)
        assert "Viewers will drop up to 2 rows until they are approved again." in html
        answered(author, MemoCard, html, *rows, **values)
        assert [is_approved(row) for row in rows[:2]] == [False, False]
    question = approved_question()
    html = asked(author, Question, "move", question)
    assert "Viewers will drop up to 1 row until it is approved again." in html
    answered(author, Question, html, topic=str(target.pk))
    assert not is_approved(question)
    assert question.topic == target


def test_a_reviewer_who_moves_or_tags_is_told_what_viewers_show() -> None:
    reviewer, card = member("reviewer"), approved_card()
    for action in ("move", "tag"):
        html = asked(reviewer, MemoCard, action, card)
        assert "Viewers will show up to 1" in html
        assert "until it is approved" not in html
    act(reviewer, MemoCard, "tag", card, query="?state=live", confirmed=token(card), add="new")
    assert is_approved(card)
    assert card.tags == ["new"]


def test_what_was_approved_is_restored_as_it_was() -> None:
    card = approved_card(deleted_at=timezone.now())
    reviewer = member("reviewer")
    form = Form(reviewer.get(page_of(card)).content.decode()).data
    reviewer.post(page_of(card), form | {"front": "slipped in", "_restore": "1"})
    assert is_approved(card)
    assert card.deleted_at is None
    assert card.front != "slipped in"


def test_an_approval_holds_for_the_text_that_was_read() -> None:
    card = MemoCardFactory.create(front="harmless", tags=["a"], needs_review=True)
    reviewer = member("reviewer")
    form = opened(reviewer, page_of(card))
    cards.update(key=card.pk, changes={"front": "MALICE", "tags": ["b"]}, editor=SYSTEM)
    answer = reviewer.post(page_of(card), form | {"back": "mended", "_approve": "1"})
    html = answer.content.decode()
    assert html.count("Somebody else changed this meanwhile. Read it, and approve it again.") == 2
    card.refresh_from_db()
    assert (card.needs_review, card.front) == (True, "MALICE")
    again = Form(html).data
    assert (again["front"], again["tags"], again["back"]) == ("MALICE", "b", "mended")
    reviewer.post(page_of(card), again | {"_approve": "1"})
    card.refresh_from_db()
    assert (card.needs_review, card.front, card.tags, card.back) == (False, "MALICE", ["b"], "mended")
