"""The REST API as its callers meet it: who may, what comes back, and what is said to bad input."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django.fixtures import Settings

from memocards.models import CardProgress, MemoCard, Question, Review, Topic
from memocards.states import State, state_of
from studyhub.api import api
from tests.factories import (
    MemoCardFactory,
    QuestionFactory,
    SubscriberFactory,
    TopicFactory,
    UserFactory,
)
from tests.memocards.noted import noted

# Each call is a transaction of its own, as in life: a refusal would otherwise spoil the one around the test.
pytestmark = pytest.mark.django_db(transaction=True)

PROBLEM = "application/problem+json"
BEYOND = 2**63


@dataclass(frozen=True)
class Call:
    """One operation, its permission (None: a learner's), a good body, and the status of its success."""

    method: str
    path: str
    permission: str | None
    body: dict[str, Any] | None = None
    status: int = 200

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


STAFF_CALLS = [
    Call("GET", "/topics", "view_topic"),
    Call("POST", "/topics", "add_topic", {"name": "Rivers"}, 201),
    Call("GET", "/topics/{topic_id}", "view_topic"),
    Call("PATCH", "/topics/{topic_id}", "change_topic", {"description": "Long ones"}),
    Call("DELETE", "/topics/{topic_id}?cascade=true", "delete_topic", status=204),
    Call("POST", "/topics/{topic_id}/restore", "delete_topic"),
    Call("GET", "/questions", "view_question"),
    Call(
        "POST",
        "/questions",
        "add_question",
        {"topic_id": "{topic_id}", "stem": "Which?", "choices": ["a", "b"], "answer": 2},
        201,
    ),
    Call("POST", "/questions/approve", "approve_question", {"items": [{"id": "{question_id}", "version": "-"}]}),
    Call("POST", "/questions/unapprove", "approve_question", {"ids": ["{question_id}"]}),
    Call("POST", "/questions/send-back", "approve_question", {"ids": ["{question_id}"], "reason": "Wrong."}),
    Call("GET", "/questions/{question_id}", "view_question"),
    Call("PATCH", "/questions/{question_id}", "change_question", {"stem": "Whichever?"}),
    Call("DELETE", "/questions/{question_id}", "delete_question", status=204),
    Call("POST", "/questions/{question_id}/restore", "delete_question"),
    Call("PUT", "/questions/{question_id}/explanation", "change_question", {"body": "Because."}),
    Call("DELETE", "/questions/{question_id}/explanation", "change_question"),
    Call("POST", "/questions/{question_id}/explanation/request", "change_question"),
    Call("GET", "/study-cards", "view_memocard"),
    Call("POST", "/study-cards", "add_memocard", {"topic_id": "{topic_id}", "front": "Han", "back": "A river"}, 201),
    Call("POST", "/study-cards/approve", "approve_memocard", {"items": [{"id": "{card_id}", "version": "-"}]}),
    Call("POST", "/study-cards/unapprove", "approve_memocard", {"ids": ["{card_id}"]}),
    Call("POST", "/study-cards/send-back", "approve_memocard", {"ids": ["{card_id}"], "reason": "Wrong."}),
    Call("PATCH", "/study-cards/{card_id}", "change_memocard", {"front": "Hangang"}),
    Call("DELETE", "/study-cards/{card_id}", "delete_memocard", status=204),
    Call("POST", "/study-cards/{card_id}/restore", "delete_memocard"),
]
LEARNER_CALLS = [
    Call("POST", "/study-cards/{card_id}/rate", None, {"review_id": str(uuid4()), "outcome": "good"}),
    Call("POST", "/study-cards/{card_id}/undo", None, {}),
]

each_staff_call = pytest.mark.parametrize("call", STAFF_CALLS, ids=str)
each_learner_call = pytest.mark.parametrize("call", LEARNER_CALLS, ids=str)
each_call = pytest.mark.parametrize("call", [*STAFF_CALLS, *LEARNER_CALLS], ids=str)


@pytest.fixture
def ids() -> dict[str, int]:
    topic = TopicFactory.create()
    return {
        "topic_id": topic.pk,
        "question_id": QuestionFactory.create(topic=topic).pk,
        "card_id": MemoCardFactory.create(topic=topic).pk,
    }


@pytest.fixture
def endpoint(settings: Settings) -> None:
    """One that explanations could come from, if anybody asked it."""
    settings.LLM_BASE_URL = "http://localhost:9/v1"


@pytest.fixture
def admin() -> Client:
    return logged_in(UserFactory.create(is_staff=True, is_superuser=True))


def logged_in(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def staff_with(*codenames: str, **options: Any) -> Client:
    user = UserFactory.create(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return logged_in(user, **options)


def token_of(learner: User | None) -> dict[str, str]:
    SubscriberFactory.create(token=(token := f"sh_{uuid4().hex}"), learner=learner)
    return {"Authorization": f"Bearer {token}"}


def send(client: Client, method: str, path: str, body: Any = None, **options: Any) -> Any:
    data = b"" if body is None else json.dumps(body)
    return client.generic(method, f"/api{path}", data, "application/json", **options)


def make(call: Call, client: Client, ids: dict[str, int], **options: Any) -> Any:
    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(item) for item in value]
        if isinstance(value, dict):
            return {name: filled(item) for name, item in value.items()}
        return ids[value[1:-1]] if isinstance(value, str) and value.startswith("{") else value

    body = None if call.body is None else filled(call.body)
    return send(client, call.method, call.path.format(**ids), body, **options)


def problem(response: Any, status: int, slug: str, *fields: str) -> dict[str, Any]:
    """The body of a problem, after checking what holds for all of them."""
    assert (response.status_code, response["Content-Type"]) == (status, PROBLEM), response.content
    body: dict[str, Any] = json.loads(response.content)
    assert (body["type"], body["status"]) == (f"urn:studyhub:problem:{slug}", status)
    assert body["detail"].strip()
    assert body["title"].strip()
    assert set(body.get("errors", {})) == set(fields)
    return body


# Who may


def test_these_tests_know_every_operation() -> None:
    tags = {"topics", "questions", "study cards"}
    documented = {
        f"{method.upper()} {path.removeprefix('/api')}"
        for path, operations in api.get_openapi_schema()["paths"].items()
        for method, operation in operations.items()
        if tags & set(operation["tags"])
    }
    assert documented == {f"{call.method} {call.path.partition('?')[0]}" for call in [*STAFF_CALLS, *LEARNER_CALLS]}


@each_staff_call
@pytest.mark.usefixtures("endpoint")
def test_the_permission_alone_suffices(call: Call, ids: dict[str, int]) -> None:
    assert call.permission is not None
    assert make(call, staff_with(call.permission), ids).status_code == call.status


@each_call
def test_who_is_anonymous_is_asked_to_log_in(call: Call, ids: dict[str, int]) -> None:
    """401 and not 403, whether or not cross-site checks are made."""
    response = make(call, Client(enforce_csrf_checks=True), ids)
    problem(response, 401, "unauthorized")
    assert response["WWW-Authenticate"] == "Bearer"


@each_staff_call
def test_staff_without_the_permission_may_not(call: Call, ids: dict[str, int]) -> None:
    others = {other.permission for other in STAFF_CALLS if other.permission} - {call.permission}
    problem(make(call, staff_with(*others), ids), 403, "forbidden")


@each_staff_call
def test_a_permission_without_being_staff_is_not_enough(call: Call, ids: dict[str, int]) -> None:
    user = UserFactory.create()
    user.user_permissions.set(Permission.objects.filter(codename=call.permission))
    problem(make(call, logged_in(user), ids), 403, "forbidden")


@each_staff_call
def test_a_learners_token_opens_nothing_of_the_staffs(call: Call, ids: dict[str, int], learner: User) -> None:
    problem(make(call, Client(), ids, headers=token_of(learner)), 401, "unauthorized")


@each_call
def test_a_forged_request_from_another_site_is_refused(call: Call, ids: dict[str, int]) -> None:
    user = UserFactory.create(is_staff=True, is_superuser=True)
    response = make(call, logged_in(user, enforce_csrf_checks=True), ids)
    if call.method == "GET":
        assert response.status_code == call.status
    else:
        problem(response, 403, "forbidden")


def test_with_its_csrf_token_a_session_may_write(ids: dict[str, int]) -> None:
    client = staff_with("change_topic", enforce_csrf_checks=True)
    client.cookies["csrftoken"] = secret = "x" * 32
    path = f"/topics/{ids['topic_id']}"
    assert send(client, "PATCH", path, {"name": "New"}, headers={"X-CSRFToken": secret}).status_code == 200


@each_learner_call
def test_a_wrong_token_is_refused_even_beside_a_session(call: Call, ids: dict[str, int], learner: User) -> None:
    for token in ("", "sh_", "sh_wrong", "x" * 5000, "ü", "sh_\x00"):
        response = make(call, logged_in(learner), ids, headers={"Authorization": f"Bearer {token}"})
        problem(response, 401, "unauthorized")


@each_learner_call
def test_a_token_without_a_learner_cannot_rate(call: Call, ids: dict[str, int]) -> None:
    problem(make(call, Client(), ids, headers=token_of(None)), 403, "forbidden")


def test_a_learner_rates_and_takes_back_by_session_or_by_token(ids: dict[str, int], learner: User) -> None:
    path = f"/study-cards/{ids['card_id']}"
    for client, headers in ((logged_in(learner), {}), (Client(enforce_csrf_checks=True), token_of(learner))):
        key = str(uuid4())
        rated = send(client, "POST", f"{path}/rate", {"review_id": key, "outcome": "good"}, headers=headers)
        assert rated.status_code == 200
        assert rated.json() == rated.json() | {
            "review_id": key,
            "card_id": ids["card_id"],
            "outcome": "good",
            "review_stage": 0,
            "repeated": False,
            "clamped": False,
            "card_state": "live",
        }
        assert CardProgress.objects.get().learner == learner
        undone = send(client, "POST", f"{path}/undo", {}, headers=headers)
        assert undone.status_code == 200
        assert undone.json()["review_id"] == key
        assert not CardProgress.objects.exists()


def test_the_token_of_a_learner_who_was_locked_out_opens_nothing(ids: dict[str, int], learner: User) -> None:
    headers = token_of(learner)
    learner.is_active = False
    learner.save(update_fields=["is_active"])
    problem(make(LEARNER_CALLS[0], Client(), ids, headers=headers), 401, "unauthorized")


# Happy paths


def test_a_topic_from_birth_to_restoration(admin: Client) -> None:
    response = send(admin, "POST", "/topics", {"name": "강 · Rivers", "position": 3, "exam_date": "2031-05-01"})
    assert response.status_code == 201
    topic = response.json()
    assert (topic["name"], topic["position"], topic["exam_date"]) == ("강 · Rivers", 3, "2031-05-01")
    assert topic["created_at"]
    path = f"/topics/{topic['id']}"
    assert send(admin, "PATCH", path, {"scheduler": "fsrs"}).json()["scheduler"] == "fsrs"
    assert send(admin, "GET", path).json()["name"] == "강 · Rivers"
    assert send(admin, "DELETE", path).status_code == 204
    assert send(admin, "DELETE", path).status_code == 204
    assert [row["id"] for row in send(admin, "GET", "/topics").json()["items"]] == []
    assert [row["id"] for row in send(admin, "GET", "/topics?deleted=true").json()["items"]] == [topic["id"]]
    assert send(admin, "POST", f"{path}/restore").json()["deleted_at"] is None


def test_a_topic_with_content_is_deleted_only_by_cascade(admin: Client, ids: dict[str, int]) -> None:
    path = f"/topics/{ids['topic_id']}"
    assert "1 questions and 1 cards" in problem(send(admin, "DELETE", path), 409, "topic-has-content")["detail"]
    assert send(admin, "DELETE", f"{path}?cascade=true").status_code == 204
    assert MemoCard.objects.get().deleted_at == Topic.objects.get().deleted_at


def test_a_question_and_its_explanation(admin: Client, ids: dict[str, int]) -> None:
    body = {
        "topic_id": ids["topic_id"],
        "stem": "Which river flows through Seoul?",
        "choices": ["Nakdong", "Han"],
        "answer": 2,
        "source": "Atlas",
        "external_id": "q-1",
        "needs_review": True,
    }
    response = send(admin, "POST", "/questions", body)
    assert response.status_code == 201
    question = response.json()
    assert question == question | body
    path = f"/questions/{question['id']}"
    explained = send(admin, "PUT", f"{path}/explanation", {"body": "It rises at Taebaek."}).json()
    assert (explained["explanation"], explained["explanation_status"]) == ("It rises at Taebaek.", "ready")
    withdrawn = send(admin, "DELETE", f"{path}/explanation").json()
    assert (withdrawn["explanation"], withdrawn["explanation_status"]) == ("", "none")
    read = {"items": [{"id": question["id"], "version": withdrawn["version"]}]}
    assert send(admin, "POST", "/questions/approve", read).json() == {"changed": [question["id"]]}
    assert send(admin, "POST", "/questions/approve", read).json() == {"changed": []}
    assert send(admin, "GET", path).json()["needs_review"] is False


def test_a_new_card_waits_for_review_and_its_reviewer_is_remembered(ids: dict[str, int]) -> None:
    reviewer = UserFactory.create(is_staff=True, is_superuser=True)
    client = logged_in(reviewer)
    body = {"topic_id": ids["topic_id"], "question_id": ids["question_id"], "front": "Q", "back": "A", "tags": ["t"]}
    card = send(client, "POST", "/study-cards", body).json()
    assert card == card | body
    assert card["needs_review"] is True
    read = {"items": [{"id": card["id"], "version": card["version"]}]}
    assert send(client, "POST", "/study-cards/approve", read).json() == {"changed": [card["id"]]}
    assert MemoCard.objects.get(pk=card["id"]).reviewed_by == reviewer


def test_a_list_comes_in_pages_and_can_be_narrowed(admin: Client) -> None:
    topic, other = TopicFactory.create(), TopicFactory.create()
    waiting, *cards = [MemoCardFactory.create(topic=topic, needs_review=number == 0) for number in range(5)]
    MemoCardFactory.create(topic=other)
    keys: list[int] = []
    after: int | None = 0
    while after is not None:
        page = send(admin, "GET", f"/study-cards?topic_id={topic.pk}&limit=2&after_id={after}").json()
        keys += [row["id"] for row in page["items"]]
        after = page["next_after_id"]
    assert keys == [row.pk for row in (waiting, *cards)]
    narrowed = send(admin, "GET", f"/study-cards?topic_id={topic.pk}&needs_review=true").json()
    assert [row["id"] for row in narrowed["items"]] == [waiting.pk]


@pytest.mark.parametrize(
    "path",
    ["/topics/{topic_id}", "/questions/{question_id}", "/study-cards/{card_id}"],
    ids=["topic", "question", "card"],
)
def test_a_patch_of_nothing_changes_nothing(admin: Client, ids: dict[str, int], path: str) -> None:
    answered = send(admin, "PATCH", path.format(**ids), {})
    assert answered.status_code == 200
    assert answered.json()["id"] in ids.values()


def test_a_patch_leaves_what_it_does_not_name(admin: Client) -> None:
    card = MemoCardFactory.create(tags=["kept"], external_id="kept")
    body = send(admin, "PATCH", f"/study-cards/{card.pk}", {"back": "New"}).json()
    assert (body["front"], body["back"], body["tags"], body["external_id"]) == (card.front, "New", ["kept"], "kept")


# Bad input


TOO_LONG = "x" * 20_001
TOPIC: dict[str, Any] = {"name": "Rivers"}
QUESTION: dict[str, Any] = {"topic_id": "{topic_id}", "stem": "Which?", "choices": ["a", "b"], "answer": 1}
CARD: dict[str, Any] = {"topic_id": "{topic_id}", "front": "Front", "back": "Back"}
RATING: dict[str, Any] = {"review_id": str(uuid4()), "outcome": "good"}
LONE_SURROGATE = "\ud800"


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("/topics", TOPIC, {"name": None}),
        ("/topics", TOPIC, {"name": ""}),
        ("/topics", TOPIC, {"name": " \u00a0\u3000"}),
        ("/topics", TOPIC, {"name": "a\0b"}),
        ("/topics", TOPIC, {"name": "x" * 201}),
        ("/topics", TOPIC, {"name": 5}),
        ("/topics", TOPIC, {"name": LONE_SURROGATE}),
        ("/topics", TOPIC, {"description": TOO_LONG}),
        ("/topics", TOPIC, {"position": -1}),
        ("/topics", TOPIC, {"position": 2**31}),
        ("/topics", TOPIC, {"position": 1.5}),
        ("/topics", TOPIC, {"position": float("nan")}),
        ("/topics", TOPIC, {"scheduler": "sm2"}),
        ("/topics", TOPIC, {"exam_date": "soon"}),
        ("/topics", TOPIC, {"deleted_at": None}),
        ("/topics", TOPIC, {"id": 7}),
        ("/questions", QUESTION, {"topic_id": BEYOND}),
        ("/questions", QUESTION, {"topic_id": 0}),
        ("/questions", QUESTION, {"topic_id": [1]}),
        ("/questions", QUESTION, {"stem": TOO_LONG}),
        ("/questions", QUESTION, {"stem": "\0"}),
        ("/questions", QUESTION, {"choices": ["only one"]}),
        ("/questions", QUESTION, {"choices": ["x"] * 11}),
        ("/questions", QUESTION, {"choices": "ab"}),
        ("/questions", QUESTION, {"answer": 0}),
        ("/questions", QUESTION, {"answer": 11}),
        ("/questions", QUESTION, {"answer": "a"}),
        ("/questions", QUESTION, {"external_id": "x" * 201}),
        ("/questions", QUESTION, {"explanation": "not here"}),
        ("/study-cards", CARD, {"question_id": BEYOND}),
        ("/study-cards", CARD, {"question_id": 2**62}),
        ("/study-cards", CARD, {"front": TOO_LONG}),
        ("/study-cards", CARD, {"back": "\0"}),
        ("/study-cards", CARD, {"back": " "}),
        ("/study-cards", CARD, {"tags": ["t"] * 51}),
        ("/study-cards", CARD, {"tags": None}),
        ("/study-cards", CARD, {"needs_review": False}),
        ("/study-cards", CARD, {"frnt": "misspelt"}),
        ("/study-cards/{card_id}/rate", RATING, {"review_id": "1"}),
        ("/study-cards/{card_id}/rate", RATING, {"outcome": "perfect"}),
        ("/study-cards/{card_id}/rate", RATING, {"outcome": None}),
        ("/study-cards/{card_id}/rate", RATING, {"reviewed_at": "2031-05-01T10:00:00"}),
        ("/study-cards/{card_id}/rate", RATING, {"reviewed_at": "0001-01-01T00:00:00+14:00"}),
        ("/study-cards/{card_id}/rate", RATING, {"reviewed_at": "1999-12-31T23:59:59Z"}),
        ("/study-cards/{card_id}/rate", RATING, {"reviewed_at": "9999-12-31T23:59:59-14:00"}),
        ("/study-cards/{card_id}/rate", RATING, {"duration_ms": -1}),
        ("/study-cards/{card_id}/rate", RATING, {"duration_ms": 2**31}),
        ("/study-cards/{card_id}/rate", RATING, {"learner_id": 1}),
    ],
)
def test_a_field_that_cannot_be_accepted_is_named(
    admin: Client, ids: dict[str, int], path: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    response = make(Call("POST", path, None, good | bad), admin, ids)
    problem(response, 422, "invalid", *bad)
    assert (Topic.objects.count(), Question.objects.count(), MemoCard.objects.count()) == (1, 1, 1)
    assert not Review.objects.exists()


@pytest.mark.parametrize("choice", ["", "a\0b", 5, None])
def test_a_choice_that_cannot_be_accepted_is_named_by_its_place(
    admin: Client, ids: dict[str, int], choice: object
) -> None:
    body = {**QUESTION, "topic_id": ids["topic_id"], "choices": ["a", choice]}
    problem(send(admin, "POST", "/questions", body), 422, "invalid", "choices.1")


@pytest.mark.parametrize(
    "changes",
    [{"answer": 3}, {"choices": ["x" * 15_000, "y" * 15_000]}],
    ids=["an answer beyond the choices", "choices too long together"],
)
def test_what_only_the_whole_row_shows_is_refused_too(
    admin: Client, ids: dict[str, int], changes: dict[str, Any]
) -> None:
    for method, path, body in (
        ("POST", "/questions", {**QUESTION, "topic_id": ids["topic_id"], **changes}),
        ("PATCH", f"/questions/{ids['question_id']}", changes),
    ):
        problem(send(admin, method, path, body), 422, "invalid", "__all__")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/topics/{topic_id}", "name"),
        ("/topics/{topic_id}", "description"),
        ("/topics/{topic_id}", "position"),
        ("/topics/{topic_id}", "scheduler"),
        ("/questions/{question_id}", "topic_id"),
        ("/questions/{question_id}", "stem"),
        ("/questions/{question_id}", "choices"),
        ("/questions/{question_id}", "answer"),
        ("/questions/{question_id}", "source"),
        ("/questions/{question_id}", "external_id"),
        ("/study-cards/{card_id}", "topic_id"),
        ("/study-cards/{card_id}", "front"),
        ("/study-cards/{card_id}", "back"),
        ("/study-cards/{card_id}", "tags"),
        ("/study-cards/{card_id}", "external_id"),
    ],
)
def test_null_for_a_required_field_is_refused_by_name(
    admin: Client, ids: dict[str, int], path: str, field: str
) -> None:
    problem(send(admin, "PATCH", path.format(**ids), {field: None}), 422, "invalid", field)


def test_null_is_fine_where_there_may_be_nothing(admin: Client) -> None:
    card = MemoCardFactory.create(question=QuestionFactory.create())
    topic = TopicFactory.create(exam_date="2031-05-01")
    assert send(admin, "PATCH", f"/study-cards/{card.pk}", {"question_id": None}).json()["question_id"] is None
    assert send(admin, "PATCH", f"/topics/{topic.pk}", {"exam_date": None}).json()["exam_date"] is None


@pytest.mark.parametrize(
    "body",
    ["{", "", "nonsense", "[" * 100_000, '{"position": ' + "1" * 5000 + "}", b"\xff\xfe\x00"],
    ids=["cut off", "empty", "no JSON", "nested without end", "a number without end", "no UTF-8"],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_body_that_cannot_be_read_is_refused(
    admin: Client, ids: dict[str, int], body: str | bytes, method: str
) -> None:
    path = "/api/topics" if method == "POST" else f"/api/topics/{ids['topic_id']}"
    data = body if isinstance(body, bytes) else body.encode()
    response = admin.generic(method, path, data, "application/json")
    assert response.status_code in {400, 422}
    assert response["Content-Type"] == PROBLEM
    assert response.json()["type"] in {"urn:studyhub:problem:bad-request", "urn:studyhub:problem:invalid"}


@pytest.mark.parametrize("body", [[], "text", 5, True, [{}]])
def test_a_body_that_is_no_object_is_refused(admin: Client, ids: dict[str, int], body: object) -> None:
    for method, path in (("POST", "/topics"), ("PATCH", f"/topics/{ids['topic_id']}")):
        response = send(admin, method, path, body)
        assert (response.status_code, response["Content-Type"]) == (422, PROBLEM)


@pytest.mark.parametrize("key", [0, -1, BEYOND, 10**40, "x", "1.5", "%00"])
@pytest.mark.parametrize("path", ["/topics/{}", "/questions/{}", "/study-cards/{}/restore"])
def test_an_id_that_none_can_have_is_refused(admin: Client, path: str, key: object) -> None:
    response = send(admin, "POST" if path.endswith("restore") else "GET", path.format(key))
    assert response.status_code in {404, 422}
    assert response["Content-Type"] == PROBLEM


@pytest.mark.parametrize("call", [call for call in [*STAFF_CALLS, *LEARNER_CALLS] if "_id}" in call.path], ids=str)
@pytest.mark.usefixtures("endpoint")
def test_what_does_not_exist_is_not_found(call: Call, admin: Client) -> None:
    nowhere = {"topic_id": 2**62, "question_id": 2**62, "card_id": 2**62}
    problem(make(call, admin, nowhere), 404, "not-found")


def test_a_card_or_question_under_an_unknown_topic_is_refused(admin: Client, ids: dict[str, int]) -> None:
    for path, body in (("/questions", QUESTION), ("/study-cards", CARD)):
        problem(send(admin, "POST", path, body | {"topic_id": 2**62}), 404, "not-found")
    for path in (f"/questions/{ids['question_id']}", f"/study-cards/{ids['card_id']}"):
        problem(send(admin, "PATCH", path, {"topic_id": 2**62}), 404, "not-found")


def test_a_deleted_topic_takes_no_more_content(admin: Client) -> None:
    topic = TopicFactory.create(deleted_at=datetime(2024, 1, 1, tzinfo=UTC))
    for path, body in (("/questions", QUESTION), ("/study-cards", CARD)):
        problem(send(admin, "POST", path, body | {"topic_id": topic.pk}), 409, "conflict")
    problem(send(admin, "PATCH", f"/topics/{topic.pk}", {"name": "New"}), 409, "conflict")


def test_what_is_deleted_is_restored_before_it_is_edited(admin: Client, ids: dict[str, int]) -> None:
    for path, body in (
        (f"/questions/{ids['question_id']}", {"stem": "New?"}),
        (f"/study-cards/{ids['card_id']}", {"front": "New"}),
    ):
        send(admin, "DELETE", path)
        assert "Restore it first" in problem(send(admin, "PATCH", path, body), 409, "conflict")["detail"]


def test_a_topic_name_taken_is_a_conflict(admin: Client) -> None:
    TopicFactory.create(name="Rivers")
    other = TopicFactory.create(name="Lakes")
    problem(send(admin, "POST", "/topics", {"name": "Rivers"}), 409, "conflict")
    problem(send(admin, "PATCH", f"/topics/{other.pk}", {"name": "Rivers"}), 409, "conflict")


def test_an_external_id_taken_is_a_conflict(admin: Client, ids: dict[str, int]) -> None:
    for path, good in (("/questions", QUESTION), ("/study-cards", CARD)):
        body = {**good, "topic_id": ids["topic_id"], "external_id": "same"}
        assert send(admin, "POST", path, body).status_code == 201
        problem(send(admin, "POST", path, body), 409, "conflict")


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after_id=-1", "after_id"),
        (f"after_id={BEYOND}", "after_id"),
        ("topic_id=x", "topic_id"),
        ("deleted=perhaps", "deleted"),
        ("needs_review=%00", "needs_review"),
    ],
)
def test_a_list_refuses_a_parameter_by_name(admin: Client, bad: str, field: str) -> None:
    problem(send(admin, "GET", f"/study-cards?{bad}"), 422, "invalid", field)


@pytest.mark.parametrize("ids_sent", [[], [0], [BEYOND], ["x"], None, [1] * 10_001])
@pytest.mark.parametrize("path", ["/study-cards/unapprove", "/questions/unapprove"])
def test_a_list_of_ids_is_checked(admin: Client, path: str, ids_sent: object) -> None:
    response = send(admin, "POST", path, {"ids": ids_sent})
    assert (response.status_code, response["Content-Type"]) == (422, PROBLEM)
    assert all(name.split(".")[0] == "ids" for name in response.json()["errors"])


@pytest.mark.parametrize("path", ["/study-cards", "/questions"])
def test_sent_back_rows_wait_for_their_author_who_reads_why(admin: Client, ids: dict[str, int], path: str) -> None:
    model, name = (MemoCard, "card_id") if path == "/study-cards" else (Question, "question_id")
    body = {"ids": [ids[name], BEYOND - 1], "reason": "  The second choice is right as well. "}
    assert send(admin, "POST", f"{path}/send-back", body).json() == {"changed": [ids[name]]}
    row = model._base_manager.get(pk=ids[name])
    assert state_of(row) == State.SENT_BACK
    assert row.sent_back_reason == "The second choice is right as well."
    assert noted() == ["Sent back: The second choice is right as well."]


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "\0", None])
def test_whoever_sends_back_says_why(admin: Client, ids: dict[str, int], reason: object) -> None:
    body = {"ids": [ids["card_id"]], "reason": reason}
    problem(send(admin, "POST", "/study-cards/send-back", body), 422, "invalid", "reason")


def test_unknown_ids_are_approved_without_complaint_and_without_effect(admin: Client) -> None:
    read = {"items": [{"id": 2**62, "version": "-"}]}
    assert send(admin, "POST", "/study-cards/approve", read).json() == {"changed": []}


def test_the_largest_content_that_is_allowed_is_published(admin: Client, ids: dict[str, int]) -> None:
    card = {
        "topic_id": ids["topic_id"],
        "front": "힣" * 20_000,
        "back": "😀" * 20_000,
        "tags": [f"{number:02}" + '"' * 98 for number in range(50)],
    }
    assert send(admin, "POST", "/study-cards", card).status_code == 201
    question = {**QUESTION, "topic_id": ids["topic_id"], "stem": "\\" * 20_000, "choices": ["\n" * 10_000] * 2}
    assert send(admin, "POST", "/questions", question).status_code == 201


# Rating


def test_a_card_that_was_deleted_or_waits_cannot_be_rated_now(learner: User) -> None:
    client = logged_in(learner)
    deleted = MemoCardFactory.create(deleted_at=datetime(2024, 1, 1, tzinfo=UTC))
    waiting = MemoCardFactory.create(needs_review=True)
    for card, status, slug in ((deleted, 410, "card-deleted"), (waiting, 409, "card-waits-for-review")):
        body = {"review_id": str(uuid4()), "outcome": "good"}
        refusal = problem(send(client, "POST", f"/study-cards/{card.pk}/rate", body), status, slug)
        assert refusal["review_id"] == body["review_id"], "so that nobody takes it for the refusal of another answer"


def test_another_learners_review_id_gives_nothing_away(ids: dict[str, int], learner: User) -> None:
    body = {"review_id": str(uuid4()), "outcome": "easy"}
    path = f"/study-cards/{ids['card_id']}/rate"
    assert send(logged_in(learner), "POST", path, body).status_code == 200
    response = send(logged_in(UserFactory.create()), "POST", path, body)
    problem(response, 409, "review-id-reused")
    assert learner.username not in response.content.decode()
    assert "easy" not in response.content.decode()


def test_a_claim_from_the_future_is_clamped_and_says_so(ids: dict[str, int], learner: User) -> None:
    body = {"review_id": str(uuid4()), "outcome": "good", "reviewed_at": "2531-05-01T10:00:00Z"}
    first = send(logged_in(learner), "POST", f"/study-cards/{ids['card_id']}/rate", body)
    assert first.status_code == 200
    assert first.json()["clamped"] is True
    again = send(logged_in(learner), "POST", f"/study-cards/{ids['card_id']}/rate", body)
    assert again.json() == first.json() | {"repeated": True}


@pytest.mark.parametrize("client_now", ["2000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"])
@pytest.mark.parametrize("reviewed_at", ["2000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_clocks_gone_mad_are_an_answer_or_a_refusal(
    ids: dict[str, int], learner: User, client_now: str, reviewed_at: str
) -> None:
    body = {"review_id": str(uuid4()), "outcome": "good", "reviewed_at": reviewed_at, "client_now": client_now}
    response = send(logged_in(learner), "POST", f"/study-cards/{ids['card_id']}/rate", body)
    assert response.status_code in {200, 422}
    if response.status_code == 422:
        assert set(response.json()["errors"]) <= {"reviewed_at", "client_now"}


def test_undo_without_a_body_takes_back_the_last_answer(ids: dict[str, int], learner: User) -> None:
    client = logged_in(learner)
    send(client, "POST", f"/study-cards/{ids['card_id']}/rate", RATING)
    assert send(client, "POST", f"/study-cards/{ids['card_id']}/undo").status_code == 200


def test_there_is_nothing_to_undo_before_the_first_answer(ids: dict[str, int], learner: User) -> None:
    problem(send(logged_in(learner), "POST", f"/study-cards/{ids['card_id']}/undo", {}), 404, "not-found")


# Everything else below /api/


@pytest.mark.parametrize("path", ["/nothing", "/topics/1/nothing", "/study-cards/1/rate/", "/", "/%00", "/강"])
def test_an_unknown_address_is_a_problem(admin: Client, path: str) -> None:
    for method in ("GET", "POST"):
        problem(send(admin, method, path), 404, "not-found")


@pytest.mark.parametrize("path", ["/topics", "/topics/1", "/study-cards/approve", "/study-cards/1/rate", "/feed"])
def test_a_method_that_there_is_not_is_a_problem(admin: Client, path: str) -> None:
    response = send(admin, "PUT", path, {})
    problem(response, 405, "method-not-allowed")
    assert response["Allow"]


def test_a_body_too_large_is_refused(admin: Client, ids: dict[str, int]) -> None:
    body = {**CARD, "topic_id": ids["topic_id"], "back": "x" * 3_000_000}
    problem(send(admin, "POST", "/study-cards", body), 413, "too-large")


def test_a_form_too_large_is_refused_too() -> None:
    client = staff_with("add_memocard", enforce_csrf_checks=True)
    client.cookies["csrftoken"] = "x" * 32
    response = client.generic(
        "POST", "/api/study-cards", b"back=" + b"x" * 3_000_000, "application/x-www-form-urlencoded"
    )
    problem(response, 413, "too-large")


def test_an_error_of_the_hubs_own_is_a_problem_without_its_secrets(admin: Client) -> None:
    """A learner's time zone that PostgreSQL took and Python does not know: past the admin's check."""
    learner = UserFactory.create()
    card = MemoCardFactory.create()
    from memocards.models import LearnerSettings

    LearnerSettings.objects.create(learner=learner, time_zone="Moon/Tranquility")
    client = logged_in(learner, raise_request_exception=False)
    body = {"review_id": str(uuid4()), "outcome": "good", "reviewed_at": str(datetime.now(UTC) - timedelta(days=1))}
    response = send(client, "POST", f"/study-cards/{card.pk}/rate", body)
    assert "Moon" not in json.dumps(problem(response, 500, "internal-server-error"))


def test_the_api_answers_a_host_it_does_not_serve_with_a_problem(admin: Client) -> None:
    problem(send(admin, "GET", "/topics", headers={"Host": "evil.example"}), 400, "bad-request")
