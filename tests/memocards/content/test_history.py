"""The history says who did what to which row, whether it was done in the back office or over REST."""

from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override
from pytest_django.fixtures import Settings

from memocards.content import history
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM, Editor
from memocards.content.versions import versions_of
from memocards.models import MemoCard, Question, Topic
from publish.services import TransactionRequired
from tests.factories import MemoCardFactory, QuestionFactory, TopicFactory, UserFactory
from tests.memocards.admin.test_content import act, opened, page_of, token
from tests.memocards.admin.test_desk import article, decide
from tests.memocards.admin.test_desk import opened as opened_at_desk
from tests.memocards.admin.test_groups import member
from tests.memocards.editors import reviewer
from tests.memocards.reading import read
from tests.memocards.rest.test_content import send

pytestmark = pytest.mark.django_db
# A refusal rolls back the transaction of the request, which must not be the test's.
own_transactions = pytest.mark.django_db(transaction=True)


def written(row: Any) -> list[tuple[int, str]]:
    """What the history says of this row, oldest first, and nothing else from then on."""
    entries = LogEntry.objects.filter(object_id=str(row.pk), content_type__model=row._meta.model_name).order_by("pk")
    said = [(entry.action_flag, history.sentence(entry)) for entry in entries]
    LogEntry.objects.all().delete()
    return said


# Over REST


def test_a_card_from_birth_to_restoration(admin_client: Client, admin_user: User) -> None:
    body = {"topic_id": TopicFactory.create().pk, "front": "Front", "back": "Back"}
    card = MemoCard.objects.get(pk=send(admin_client, "POST", "/study-cards", body).json()["id"])
    path, ids = f"/study-cards/{card.pk}", {"ids": [card.pk, 2**62]}
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_repr, entry.get_edited_object()) == (admin_user, "Front", card)
    assert written(card) == [(ADDITION, "Added.")]
    for method, call, sent, said in (
        ("PATCH", path, {"back": "New", "tags": ["a"], "front": "Front"}, [(CHANGE, "Changed Back and Tags.")]),
        ("PATCH", path, {"back": "New"}, []),
        ("PATCH", path, {}, []),
        ("POST", "/study-cards/approve", card, [(CHANGE, "Approved.")]),
        ("POST", "/study-cards/approve", card, []),
        ("POST", "/study-cards/unapprove", ids, [(CHANGE, "Un-approved: it waits for review again.")]),
        ("DELETE", path, None, [(DELETION, "Deleted.")]),
        ("DELETE", path, None, []),
        ("POST", f"{path}/restore", None, [(CHANGE, "Restored.")]),
        ("POST", f"{path}/restore", None, []),
    ):
        content = read(card) if sent is card else sent
        assert send(admin_client, method, call, content).status_code < 300
        assert written(card) == said


def test_a_question_and_its_explanation(admin_client: Client, settings: Settings) -> None:
    settings.LLM_BASE_URL = ""
    body = {"topic_id": TopicFactory.create().pk, "stem": "Which?", "choices": ["a", "b"], "answer": 1}
    question = Question.objects.get(pk=send(admin_client, "POST", "/questions", body).json()["id"])
    settings.LLM_BASE_URL = "http://localhost:9/v1"
    path, ids = f"/questions/{question.pk}", {"ids": [question.pk]}
    assert written(question) == [(ADDITION, "Added.")]
    explanation = f"{path}/explanation"
    for method, call, sent, said in (
        ("PATCH", path, {"answer": 2, "stem": "Whichever?"}, [(CHANGE, "Changed Stem and Answer.")]),
        ("POST", f"{explanation}/request", None, [(CHANGE, "Explanation asked for.")]),
        ("POST", f"{explanation}/request", None, []),
        ("DELETE", explanation, None, [(CHANGE, "Changed Explanation status.")]),
        ("DELETE", explanation, None, []),
        ("PUT", explanation, {"body": "So."}, [(CHANGE, "Changed Explanation and Explanation status.")]),
        ("PUT", explanation, {"body": "Thus."}, [(CHANGE, "Changed Explanation.")]),
        ("PUT", explanation, {"body": "Thus."}, []),
        ("POST", "/questions/unapprove", ids, [(CHANGE, "Un-approved: it waits for review again.")]),
        ("POST", "/questions/approve", question, [(CHANGE, "Approved.")]),
        ("DELETE", path, None, [(DELETION, "Deleted.")]),
        ("POST", f"{path}/restore", None, [(CHANGE, "Restored.")]),
    ):
        content = read(question) if sent is question else sent
        assert send(admin_client, method, call, content).status_code < 300, call
        assert written(question) == said, call


def test_a_topic_and_all_its_content(admin_client: Client) -> None:
    topic = Topic.objects.get(pk=send(admin_client, "POST", "/topics", {"name": "Rivers"}).json()["id"])
    path = f"/topics/{topic.pk}"
    assert written(topic) == [(ADDITION, "Added.")]
    for method, call, sent, said in (
        ("PATCH", path, {"name": "Lakes", "exam_date": "2031-05-01"}, [(CHANGE, "Changed Name and Exam date.")]),
        ("DELETE", path, None, [(DELETION, "Deleted.")]),
        ("DELETE", path, None, []),
        ("POST", f"{path}/restore", None, [(CHANGE, "Restored.")]),
        ("POST", f"{path}/restore", None, []),
        ("DELETE", f"{path}?cascade=true", None, [(DELETION, "Deleted with all content.")]),
    ):
        assert send(admin_client, method, call, sent).status_code < 300
        assert written(topic) == said


@own_transactions
def test_what_is_refused_is_no_history() -> None:
    admin = member("author")
    deleted, card = MemoCardFactory.create(deleted_at=timezone.now()), MemoCardFactory.create()
    assert send(admin, "PATCH", f"/study-cards/{deleted.pk}", {"front": "New"}).status_code == 409
    assert send(admin, "PATCH", f"/study-cards/{card.pk}", {"topic_id": 2**62}).status_code == 404
    assert send(admin, "POST", "/study-cards/approve", read(card)).status_code == 403
    assert not LogEntry.objects.exists()


def test_a_field_is_named_as_the_back_office_names_it(admin_client: Client) -> None:
    by_form, over_rest = QuestionFactory.create(external_id=""), QuestionFactory.create(external_id="")
    topic = TopicFactory.create()
    values = {"topic": topic.pk, "answer": 2, "external_id": "1"}
    admin_client.post(page_of(by_form), opened(admin_client, page_of(by_form)) | values)
    sent = {"topic_id": topic.pk, "answer": 2, "external_id": "2"}
    send(admin_client, "PATCH", f"/questions/{over_rest.pk}", sent, headers={"Accept-Language": "ko"})
    stored = dict(LogEntry.objects.values_list("object_id", "change_message"))
    assert stored[str(by_form.pk)] == stored[str(over_rest.pk)]


@pytest.mark.parametrize("size", [5, 500])
@pytest.mark.parametrize(("path", "factory"), [("/study-cards", MemoCardFactory), ("/questions", QuestionFactory)])
def test_an_approval_of_any_number_is_one_statement_of_history(
    admin_client: Client, path: str, factory: Any, size: int
) -> None:
    rows = factory.create_batch(size, needs_review=True, topic=TopicFactory.create())
    keys = [row.pk for row in rows]
    # Whatever is looked up once a process is looked up here.
    send(admin_client, "POST", f"{path}/unapprove", {"ids": [factory.create().pk]})
    LogEntry.objects.all().delete()
    body = read(*rows)
    with CaptureQueriesContext(connection) as queries:
        assert send(admin_client, "POST", f"{path}/approve", body).json() == {"changed": keys}
    assert len([query for query in queries if "django_admin_log" in query["sql"]]) == 1
    # Session and user; lock, change, enqueue (a question and its explanation); history.
    assert len(queries) == (6 if path == "/study-cards" else 7)
    assert list(LogEntry.objects.order_by("pk").values_list("object_id", "object_repr")) == [
        (str(row.pk), str(row)) for row in rows
    ]


# Whichever way


@own_transactions
def test_an_edit_that_takes_an_approval_away_says_so() -> None:
    author = member("author")
    card, waiting = MemoCardFactory.create(), MemoCardFactory.create(needs_review=True)
    author.post(page_of(card), opened(author, page_of(card)) | {"front": "New"})
    said = [(CHANGE, "Changed Front. Un-approved: it waits for review again.")]
    assert written(card) == said
    cards.approve(versions=versions_of(MemoCard, [card.pk]), editor=SYSTEM)
    send(author, "PATCH", f"/study-cards/{card.pk}", {"front": "Newer"})
    assert written(card) == said
    author.post(page_of(waiting), opened(author, page_of(waiting)) | {"front": "New"})
    assert written(waiting) == [(CHANGE, "Changed Front.")]


def test_a_row_is_named_as_it_names_itself(admin_client: Client) -> None:
    long = "긴 이름 " * 60
    for row in (
        MemoCardFactory.create(front=long),
        QuestionFactory.create(stem=long),
        TopicFactory.create(name="n" * 200),
    ):
        act(admin_client, type(row), "delete_selected", row, query="?state=live", confirmed=token(row))
        assert LogEntry.objects.get().object_repr == str(row)
        LogEntry.objects.all().delete()


def test_it_is_read_in_the_language_of_its_reader(admin_client: Client) -> None:
    card = MemoCardFactory.create()
    editor = reviewer(UserFactory.create().pk)
    with override("ko"):
        cards.unapprove(keys=[card.pk], editor=editor)
        cards.send_back(keys=[card.pk], reason="Says [1].", editor=editor)
        cards.update(key=card.pk, changes={"front": "New"}, editor=editor)
    pages = [f"/admin/memocards/memocard/{card.pk}/history/", "/admin/admin/logentry/"]
    for page in pages:
        english = admin_client.get(page).content.decode()
        assert "Un-approved: it waits for review again." in english
        assert "Sent back: Says [1]." in english
        assert "Changed Front." in english
        # The middleware leaves the language of the request behind.
        with override("en"):
            korean = admin_client.get(page, headers={"Accept-Language": "ko"}).content.decode()
        assert "Says [1]." in korean
        assert "Un-approved" not in korean
        assert "Changed Front" not in korean


@pytest.mark.parametrize(("language", "word"), [("en", "un-approved"), ("ko", "승인을 취소")])
def test_it_is_searched_in_the_language_of_its_reader(admin_client: Client, language: str, word: str) -> None:
    hidden, deleted = MemoCardFactory.create(front="Hidden card"), MemoCardFactory.create(front="Deleted card")
    editor = reviewer(UserFactory.create().pk)
    cards.unapprove(keys=[hidden.pk], editor=editor)
    cards.delete(keys=[deleted.pk], editor=editor)
    with override("en"):
        page = admin_client.get("/admin/admin/logentry/", {"q": word}, headers={"Accept-Language": language})
    shown = page.content.decode()
    assert "Hidden card" in shown
    assert "Deleted card" not in shown


def test_what_was_stored_as_a_text_is_shown_as_it_is() -> None:
    for text in ("Approved.", "[not JSON", '[{"event": "unheard_of"}]', ""):
        assert history.sentence(LogEntry(change_message=text)) in {text, "unheard_of", "No fields changed."}


@own_transactions
def test_an_entry_does_not_outlive_its_change() -> None:
    card, user = MemoCardFactory.create(), UserFactory.create()
    with pytest.raises(TransactionRequired):
        history.log_addition(card, editor=Editor(user.pk))
    with transaction.atomic():
        history.log_addition(card, editor=Editor(user.pk))
        transaction.set_rollback(True)
    assert not LogEntry.objects.exists()


@own_transactions
def test_the_review_desk_names_who_changed_a_row_over_rest() -> None:
    author, reviewer = member("author"), member("reviewer")
    card = MemoCardFactory.create(needs_review=True, front="Read")
    form = opened_at_desk(reviewer)
    send(author, "PATCH", f"/study-cards/{card.pk}", {"front": "Rewritten"})
    answer = decide(reviewer, form, "approve")
    assert answer.status_code == 409
    shown = article(answer.json()["item"])
    name = User.objects.get(pk=author.session["_auth_user_id"]).username
    assert name in shown
    assert "Somebody changed" not in shown
    card.refresh_from_db()
    assert card.needs_review
