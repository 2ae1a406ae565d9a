"""An approval is of what was read: by every way, whoever changes the row in between, and to the very last moment."""

from collections.abc import Callable
from concurrent.futures import Future
from io import BytesIO
from typing import Any, TypeAlias, cast

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.history import sentence
from memocards.content.questions import questions
from memocards.content.versions import VOUCHED_FOR, versions_of
from memocards.errors import ChangedSince
from memocards.importing.reading import read as read_file
from memocards.importing.rows import RowKind
from memocards.importing.storing import store
from memocards.models import MemoCard, Question
from tests.factories import MemoCardFactory, QuestionFactory, TopicFactory
from tests.memocards.admin.test_content import Form, list_of, messages_of, opened, page_of
from tests.memocards.admin.test_desk import decide
from tests.memocards.admin.test_desk import opened as opened_at_desk
from tests.memocards.admin.test_groups import member
from tests.memocards.editors import AUTHOR
from tests.memocards.noted import noted
from tests.memocards.outbox import outbox
from tests.memocards.reading import read
from tests.memocards.rest.test_content import problem, send
from tests.memocards.waiting import wait_until_somebody_waits

# A refusal rolls back the transaction of the request, which must not be the test's; and threads see what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[..., Future[Any]]
# What the reviewer was told.
Approve: TypeAlias = Callable[[], str]
Way: TypeAlias = Callable[[Client, Any], Approve]


def waiting(model: Any, **fields: Any) -> Any:
    factory: Any = MemoCardFactory if model is MemoCard else QuestionFactory
    texts: dict[str, Any] = {"front": "harmless"} if model is MemoCard else {"stem": "harmless", "choices": ["a", "b"]}
    return factory.create(**{"needs_review": True, "external_id": "1", **texts, **fields})


def path_of(row: Any) -> str:
    return "/study-cards" if isinstance(row, MemoCard) else "/questions"


def text_of(row: Any) -> str:
    return "front" if isinstance(row, MemoCard) else "stem"


def is_published(row: Any) -> bool:
    """Whether it is approved; what viewers are told agrees."""
    kind = "card" if isinstance(row, MemoCard) else "question"
    row.refresh_from_db()
    assert (outbox().get((kind, row.pk)) is None) == row.needs_review
    return not row.needs_review


# The ways to approve: each reads first, and gives back what approves what it has read.


def over_rest(client: Client, row: Any) -> Approve:
    items = send(client, "GET", f"{path_of(row)}?needs_review=true").json()["items"]
    body = {"items": [{"id": item["id"], "version": item["version"]} for item in items]}

    def approve() -> str:
        response = send(client, "POST", f"{path_of(row)}/approve", body)
        if response.status_code == 200:
            return ""
        [changed] = problem(response, 409, "changed-since-read")["changed"]
        assert changed["id"] == row.pk
        assert set(changed["fields"]) <= VOUCHED_FOR[type(row)]
        return str(response.json()["detail"])

    return approve


def chosen_in_the_list(client: Client, row: Any) -> Approve:
    form = opened(client, list_of(type(row))) | {"action": "approve", "_selected_action": str(row.pk)}

    def approve() -> str:
        asked = client.post(list_of(type(row)), form)
        if asked.status_code == 302:
            return " ".join(messages_of(asked))
        return " ".join(messages_of(client.post(list_of(type(row)), Form(asked.content.decode()).data)))

    return approve


def chosen_in_the_list_and_asked(client: Client, row: Any) -> Approve:
    form = opened(client, list_of(type(row))) | {"action": "approve", "_selected_action": str(row.pk)}
    question = Form(client.post(list_of(type(row)), form).content.decode()).data
    return lambda: " ".join(messages_of(client.post(list_of(type(row)), question)))


def all_that_match(client: Client, row: Any) -> Approve:
    """The reviewer has read this row as one of a page. What they have not read is another test's."""
    form = opened(client, list_of(type(row))) | {"action": "approve", "select_across": "1"}
    form["_selected_action"] = str(row.pk)
    question = Form(client.post(list_of(type(row)), form).content.decode()).data
    return lambda: " ".join(messages_of(client.post(list_of(type(row)), question)))


def on_its_page(client: Client, row: Any) -> Approve:
    form = opened(client, page_of(row)) | {"_approve": "1"}

    def approve() -> str:
        response = client.post(page_of(row), form)
        return "" if response.status_code == 302 else response.content.decode()

    return approve


def at_the_desk(client: Client, row: Any) -> Approve:
    form = opened_at_desk(client)

    def approve() -> str:
        response = decide(client, form, "approve")
        return "" if response.status_code == 200 else str(response.json()["item"])

    return approve


WAYS: list[Way] = [
    over_rest,
    chosen_in_the_list,
    chosen_in_the_list_and_asked,
    all_that_match,
    on_its_page,
    at_the_desk,
]


# What may happen in between.


def edited_by_its_author(row: Any) -> None:
    assert send(member("author"), "PATCH", f"{path_of(row)}/{row.pk}", {text_of(row): "MALICE"}).status_code == 200


def edited_by_a_program(row: Any) -> None:
    if isinstance(row, MemoCard):
        cards.update(key=row.pk, changes={"front": "MALICE"}, editor=SYSTEM)
    else:
        questions.update(key=row.pk, changes={"stem": "MALICE"}, editor=SYSTEM)


def imported_over(row: Any) -> None:
    if isinstance(row, MemoCard):
        file, kind = b"external_id,front,back\n1,MALICE,b\n", RowKind.CARD
    else:
        file, kind = b"external_id,stem,choice_1,choice_2,answer\n1,MALICE,a,b,1\n", RowKind.QUESTION
    report = store(read_file(BytesIO(file), name="rows.csv", kind=kind), topic=row.topic.name, editor=SYSTEM)
    assert report.changed == 1


def moved(row: Any) -> None:
    topic = TopicFactory.create(name="MALICE").pk
    if isinstance(row, MemoCard):
        cards.move(keys=[row.pk], topic_id=topic, editor=AUTHOR)
    else:
        questions.move(keys=[row.pk], topic_id=topic, editor=AUTHOR)


def tagged(row: Any) -> None:
    cards.tag(keys=[row.pk], add=["MALICE"], editor=SYSTEM)


def explained_by_a_worker(row: Any) -> None:
    questions.update(key=row.pk, changes={"explanation": "MALICE", "explanation_generator": "a model"}, editor=SYSTEM)


EDITS: list[tuple[Any, Callable[[Any], None], str]] = [
    (MemoCard, edited_by_its_author, "front"),
    (MemoCard, edited_by_a_program, "front"),
    (MemoCard, imported_over, "front"),
    (MemoCard, moved, "topic"),
    (MemoCard, tagged, "tags"),
    (Question, edited_by_its_author, "stem"),
    (Question, edited_by_a_program, "stem"),
    (Question, imported_over, "stem"),
    (Question, moved, "topic"),
    (Question, explained_by_a_worker, "explanation"),
]
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@each_way
@pytest.mark.parametrize(("model", "edit", "field"), EDITS, ids=lambda value: getattr(value, "__name__", None))
def test_an_edit_in_between_is_refused_with_what_changed(
    way: Way, model: Any, edit: Callable[[Any], None], field: str
) -> None:
    row, client = waiting(model), member("reviewer")
    approve = way(client, row)
    edit(row)
    sentence = approve()
    assert not is_published(row)
    assert field in sentence.lower()
    if way not in {on_its_page, at_the_desk}:
        assert str(row) in sentence
        assert "so nothing was done" in sentence
    assert "Approved." not in noted()
    # Read again, it is approved as it is now.
    way(client, row)()
    assert is_published(row)


@each_way
@pytest.mark.parametrize("model", [MemoCard, Question])
def test_an_edit_that_is_not_committed_yet_is_waited_for_and_refused(way: Way, model: Any, in_thread: Start) -> None:
    row, client = waiting(model), member("reviewer")
    approve = way(client, row)
    with transaction.atomic():
        edited_by_a_program(row)
        answer = in_thread(approve)
        wait_until_somebody_waits()
    sentence = answer.result(timeout=20)
    assert not is_published(row)
    assert text_of(row) in sentence.lower()


@each_way
@pytest.mark.parametrize("model", [MemoCard, Question])
def test_what_learners_do_not_see_may_change_in_between(way: Way, model: Any) -> None:
    row, client = waiting(model), member("reviewer")
    approve = way(client, row)
    if model is MemoCard:
        cards.delete(keys=[row.pk], editor=SYSTEM)
        cards.restore(keys=[row.pk], editor=SYSTEM)
    else:
        questions.delete(keys=[row.pk], editor=SYSTEM)
        questions.restore(keys=[row.pk], editor=SYSTEM)
    approve()
    assert is_published(row)


def test_one_row_that_changed_keeps_all_others_waiting(admin_client: Client) -> None:
    rows = [waiting(MemoCard, front=f"card {number}") for number in range(12)]
    body = read(*rows)
    for row in rows[:11]:
        cards.update(key=row.pk, changes={"back": "MALICE", "tags": ["MALICE"]}, editor=SYSTEM)
    answer = problem(send(admin_client, "POST", "/study-cards/approve", body), 409, "changed-since-read")
    assert answer["changed"] == [{"id": row.pk, "fields": ["back", "tags"]} for row in rows[:11]]
    assert answer["detail"].startswith(
        "11 rows have changed since they were read, so nothing was done: “card 0” (back, tag"
    )
    assert answer["detail"].endswith("“card 9” (back, tags) …. Read them again.")
    assert MemoCard.objects.filter(needs_review=True).count() == 12


def test_of_all_that_match_nobody_has_read_the_rest_so_it_is_asked_anew_with_what_changed() -> None:
    client, topic = member("reviewer"), TopicFactory.create()
    rows = [waiting(MemoCard, topic=topic, front=f"card {number:03}", external_id=str(number)) for number in range(101)]
    form = opened(client, list_of(MemoCard)) | {"action": "approve", "select_across": "1"}
    form["_selected_action"] = str(rows[0].pk)
    question = client.post(list_of(MemoCard), form).content.decode()
    assert "Approve 101 rows?" in question
    unread = next(row for row in rows if f"{row.pk}:" not in form["read"])
    edited_by_a_program(unread)
    again = client.post(list_of(MemoCard), Form(question).data).content.decode()
    assert "Nothing was done: 1 row has changed since you were asked: “MALICE”." in again
    assert MemoCard.objects.filter(needs_review=True).count() == 101
    client.post(list_of(MemoCard), Form(again).data)
    assert not MemoCard.objects.filter(needs_review=True).exists()


@pytest.mark.parametrize("asked_at", ["", "yesterday", "2026-13-45T99:00:00Z", "2026-01-01T00:00:00"])
def test_an_answer_to_no_question_is_asked(asked_at: str) -> None:
    card, client = waiting(MemoCard), member("reviewer")
    values = {"action": "approve", "_selected_action": card.pk, "select_across": "1", "confirmed": "1-x"}
    html = client.post(list_of(MemoCard), {**values, "asked_at": asked_at}).content.decode()
    assert "Approve 1 row?" in html
    assert not is_published(card)


@pytest.mark.parametrize("given", [{}, {"confirmed": "1"}, {"read": "nonsense 7 :x 99999999999999999999:y"}])
def test_a_list_action_that_does_not_say_what_was_read_approves_nothing(given: dict[str, str]) -> None:
    card, client = waiting(MemoCard), member("reviewer")
    response = client.post(list_of(MemoCard), {"action": "approve", "_selected_action": card.pk, **given})
    assert messages_of(response) == ["Nothing was done: choose the rows in the list, where you have them before you."]
    assert not is_published(card)


def test_a_page_that_does_not_say_what_it_showed_approves_nothing() -> None:
    card, client = waiting(MemoCard), member("reviewer")
    values = {
        "topic": card.topic_id,
        "front": card.front,
        "back": card.back,
        "tags": "",
        "source": "",
        "external_id": "1",
    }
    client.post(page_of(card), {**values, "_approve": "1"})
    decide(client, {"key": f"card-{card.pk}", "front": card.front, "back": card.back}, "approve")
    assert not is_published(card)


def test_over_rest_a_list_of_ids_is_no_approval_any_more(admin_client: Client) -> None:
    card = waiting(MemoCard)
    response = send(admin_client, "POST", "/study-cards/approve", {"ids": [card.pk]})
    assert response.status_code == 422
    assert 'Send {"items": [{"id": …, "version": …}]}' in str(response.json()["errors"])
    body = {"items": [*read(card)["items"], {"id": card.pk, "version": "-"}]}
    assert "Name each row once." in str(send(admin_client, "POST", "/study-cards/approve", body).json()["errors"])
    for version in ("-", "x" * 200, "", "\0"):
        send(admin_client, "POST", "/study-cards/approve", {"items": [{"id": card.pk, "version": version}]})
    assert not is_published(card)


# What a version is


@pytest.mark.parametrize("model", [MemoCard, Question])
def test_a_version_is_of_the_content_alone(model: Any) -> None:
    """The same content, the same version; any other of a column that learners see, another, which names the column."""
    row = waiting(model)
    [version] = versions_of(model, [row.pk]).values()
    others = {
        "front": "f", "back": "b", "tags": ["x"], "stem": "s", "choices": ["b", "a"], "answer": 2, "source": "s",
        "explanation": "e", "topic_id": TopicFactory.create().pk, "question_id": QuestionFactory.create().pk,
    }  # fmt: skip
    for column in VOUCHED_FOR[model]:
        before = getattr(row, column)
        model.objects.filter(pk=row.pk).update(**{column: others[column]})
        with pytest.raises(ChangedSince) as refusal:
            approve_as(row, version)
        assert [list(changed.fields) for changed in refusal.value.rows] == [[column]]
        model.objects.filter(pk=row.pk).update(**{column: before}, external_id="2", created_at=row.updated_at)
    assert versions_of(model, [row.pk]) == {row.pk: version}


def approve_as(row: Any, version: str) -> None:
    if isinstance(row, MemoCard):
        cards.approve(versions={row.pk: version}, editor=SYSTEM)
    else:
        questions.approve(versions={row.pk: version}, editor=SYSTEM)


def test_what_is_moved_from_one_column_into_the_next_is_another_version() -> None:
    pairs = [("a", "b"), ("ab", "-"), ("a,b", "c"), ("a", "b,c"), ('a","b', "c"), ("a", 'b","c')]
    rows = [
        MemoCardFactory.create(front=front, back=back or " b", topic=TopicFactory.create()) for front, back in pairs
    ]
    MemoCard.objects.update(topic=rows[0].topic)
    assert len(set(versions_of(MemoCard, [row.pk for row in rows]).values())) == len(pairs)


@pytest.mark.parametrize("model", [MemoCard, Question])
def test_each_answer_about_a_row_has_its_version(model: Any, admin_client: Client) -> None:
    row, path = waiting(model), path_of(waiting(model, external_id="2"))
    [version] = versions_of(model, [row.pk]).values()
    listed = send(admin_client, "GET", f"{path}?limit=1").json()["items"]
    assert [item["version"] for item in listed] == [version]
    patched = send(admin_client, "PATCH", f"{path}/{row.pk}", {text_of(row): "New"}).json()
    assert [patched["version"]] == list(versions_of(model, [row.pk]).values()) != [version]
    send(admin_client, "DELETE", f"{path}/{row.pk}")
    restored = send(admin_client, "POST", f"{path}/{row.pk}/restore").json()
    assert restored["version"] == patched["version"]
    if model is Question:
        assert send(admin_client, "GET", f"{path}/{row.pk}").json()["version"] == patched["version"]


@pytest.mark.parametrize("size", [5, 500])
def test_a_page_of_a_list_reads_its_versions_in_its_one_statement(size: int, admin_client: Client) -> None:
    MemoCardFactory.create_batch(size, topic=TopicFactory.create())
    send(admin_client, "GET", "/study-cards?limit=1")
    with CaptureQueriesContext(connection) as queries:
        assert len(send(admin_client, "GET", "/study-cards?limit=1000").json()["items"]) == size
    assert len([query for query in queries if "memocards_memocard" in query["sql"]]) == 1


# Changes that wait for one another


def changed_by(row: Any) -> list[tuple[str, str]]:
    """Who changed what, by the history, oldest first."""
    entries = LogEntry.objects.filter(object_id=str(row.pk)).order_by("pk")
    return [(str(entry.user), sentence(entry)) for entry in entries]


def test_a_patch_that_waits_compares_with_what_it_finds_then(in_thread: Start) -> None:
    """Not one entry too many, and none too few."""
    author, reviewer = member("author"), member("reviewer")
    first, second = (cast(User, get_user(client)).username for client in (author, reviewer))
    same, back = waiting(MemoCard, front="old"), waiting(MemoCard, front="old", external_id="2")
    for card, front in ((same, "new"), (back, "old")):
        with transaction.atomic():
            assert send(author, "PATCH", f"/study-cards/{card.pk}", {"front": "new"}).status_code == 200
            other = in_thread(send, reviewer, "PATCH", f"/study-cards/{card.pk}", {"front": front})
            wait_until_somebody_waits()
        assert other.result(timeout=20).status_code == 200
    assert changed_by(same) == [(first, "Changed Front.")]
    assert changed_by(back) == [(first, "Changed Front."), (second, "Changed Front.")]


@pytest.mark.parametrize("model", [MemoCard, Question])
def test_an_edit_that_waits_for_an_approval_takes_it_away_and_says_so(model: Any, in_thread: Start) -> None:
    row, author = waiting(model), member("author")
    with transaction.atomic():
        approve_as(row, *versions_of(model, [row.pk]).values())
        edit = in_thread(send, author, "PATCH", f"{path_of(row)}/{row.pk}", {text_of(row): "MALICE"})
        wait_until_somebody_waits()
    assert edit.result(timeout=20).json()["needs_review"] is True
    assert not is_published(row)
    [(_who, said)] = changed_by(row)
    assert said.count("Un-approved") == 1


def test_of_two_who_delete_or_restore_at_once_one_is_in_the_history(admin_client: Client, in_thread: Start) -> None:
    card, topic = waiting(MemoCard), TopicFactory.create()
    for path in (f"/study-cards/{card.pk}", f"/topics/{topic.pk}"):
        for method, call in (("DELETE", path), ("POST", f"{path}/restore")):
            with transaction.atomic():
                send(admin_client, method, call)
                other = in_thread(send, admin_client, method, call)
                wait_until_somebody_waits()
            assert other.result(timeout=20).status_code < 300
    for row in (card, topic):
        assert [said for _who, said in changed_by(row)] == ["Deleted.", "Restored."]


@pytest.mark.parametrize("model", [MemoCard, Question])
def test_a_patch_may_say_what_it_is_about(model: Any, admin_client: Client) -> None:
    row = waiting(model)
    path = f"{path_of(row)}/{row.pk}"
    [version] = versions_of(model, [row.pk]).values()
    for if_match in ("*", f'"{version}"', version):
        assert send(admin_client, "PATCH", path, {}, headers={"If-Match": if_match}).status_code == 200
    edited_by_a_program(row)
    response = send(admin_client, "PATCH", path, {text_of(row): "Mine"}, headers={"If-Match": f'"{version}"'})
    assert problem(response, 412, "changed-since-read")["changed"] == [{"id": row.pk, "fields": [text_of(row)]}]
    row.refresh_from_db()
    assert getattr(row, text_of(row)) == "MALICE"
