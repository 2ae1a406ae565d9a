"""The three groups: what each is for, and above all what it may not do."""

import importlib
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from memocards.models import MemoCard, Question, Topic
from publish.models import FeedState, PublishedItem, PublishOutbox, SetAside, Subscriber
from tests.factories import (
    MemoCardFactory,
    PublishedItemFactory,
    PublishOutboxFactory,
    QuestionFactory,
    SubscriberFactory,
    TopicFactory,
    UserFactory,
)
from tests.memocards.admin.test_content import Form, act, list_of, page_of, token, touches

pytestmark = pytest.mark.django_db
# A refusal rolls back the transaction of the request, which must not be the test's.
own_transactions = pytest.mark.django_db(transaction=True)
CONTENT = ("memocard", "question")


@pytest.fixture(autouse=True)
def _groups() -> None:
    """As the migration made them: a test of its own transactions before this one may have emptied the tables."""
    migration = importlib.import_module("memocards.migrations.0003_groups")
    with connection.schema_editor() as editor:
        migration.create_groups(apps, editor)


def member(group: str) -> Client:
    user: User = UserFactory.create(is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def may(group: str) -> set[str]:
    permissions = Group.objects.get(name=group).permissions.values_list("content_type__app_label", "codename")
    return {f"{label}.{codename}" for label, codename in permissions}


def test_no_group_may_do_what_another_is_for() -> None:
    author, reviewer, operator = may("author"), may("reviewer"), may("operator")
    assert author == {
        f"memocards.{verb}_{model}" for verb in ("add", "change", "view") for model in ("topic", *CONTENT)
    }
    assert reviewer == {
        "memocards.view_topic",
        "admin.view_logentry",
        *(f"memocards.{verb}_{model}" for verb in ("view", "change", "delete", "approve") for model in CONTENT),
    }
    assert all(name.startswith("publish.") for name in operator - {"auth.view_user"})
    assert not [
        name
        for name in operator
        if name.startswith(("publish.change_", "publish.add_", "publish.delete_"))
        and not name.endswith(("_subscriber", "_setaside"))
    ]


def test_migrating_again_changes_nothing_and_takes_nothing_away() -> None:
    group = Group.objects.get(name="author")
    before = may("author")
    group.permissions.add(*Group.objects.get(name="operator").permissions.all()[:1])
    migration = importlib.import_module("memocards.migrations.0003_groups")
    with connection.schema_editor() as editor:
        migration.create_groups(apps, editor)
    assert before < may("author")
    assert Group.objects.count() == 3


@own_transactions
@pytest.mark.parametrize(("model", "factory"), [(MemoCard, MemoCardFactory), (Question, QuestionFactory)])
def test_an_author_writes_and_does_not_approve(model: Any, factory: Any) -> None:
    client = member("author")
    waiting, approved = factory.create(needs_review=True), factory.create()
    form = Form(client.get(page_of(waiting)).content.decode()).data
    field = "front" if model is MemoCard else "stem"
    assert client.post(page_of(waiting), form | {field: "written"}).status_code == 302
    waiting.refresh_from_db()
    assert getattr(waiting, field) == "written"

    PublishOutbox.objects.all().delete()
    for action, row in (("approve", waiting), ("unapprove", approved), ("delete_selected", approved)):
        act(client, model, action, row, query="?state=live", confirmed=token(row))
    form = Form(client.get(page_of(waiting)).content.decode()).data
    html = client.get(page_of(waiting)).content.decode()
    assert "_approve" not in html
    assert (
        client.post(reverse(f"admin:memocards_{model._meta.model_name}_delete", args=[approved.pk])).status_code == 403
    )
    assert client.get(reverse("admin:review")).status_code == 403
    assert touches() == []


@own_transactions
def test_an_author_who_forges_the_button_is_refused() -> None:
    client = member("author")
    card = MemoCardFactory.create(needs_review=True)
    form = Form(client.get(page_of(card)).content.decode()).data
    assert client.post(page_of(card), form | {"front": "forged", "_approve": "1"}).status_code == 403
    card.refresh_from_db()
    assert card.needs_review
    assert card.front != "forged"


def test_a_question_that_an_author_adds_waits_for_a_reviewer(admin_client: Client) -> None:
    data = {"topic": TopicFactory.create().pk, "stem": "Why?", "choices_0": "a", "choices_1": "b", "answer": "1"}
    add = reverse("admin:memocards_question_add")
    assert member("author").post(add, data).status_code == 302
    assert admin_client.post(add, data).status_code == 302
    by_author, by_admin = Question.objects.order_by("pk")
    assert (by_author.needs_review, by_admin.needs_review) == (True, False)
    assert by_author.author is not None
    assert touches()[-2:] == [("question", by_author.pk, True), ("question", by_admin.pk, False)]


def test_an_author_sees_and_touches_nothing_of_publishing() -> None:
    _closed_to(member("author"))


@own_transactions
def test_a_reviewer_approves_and_deletes_and_adds_nothing() -> None:
    client = member("reviewer")
    card, question = MemoCardFactory.create(needs_review=True), QuestionFactory.create(needs_review=True)
    assert client.get(reverse("admin:review")).status_code == 200
    act(client, MemoCard, "approve", card)
    act(client, Question, "approve", question)
    assert not MemoCard.objects.get().needs_review
    assert not Question.objects.get().needs_review
    for model in (*CONTENT, "topic"):
        assert client.post(reverse(f"admin:memocards_{model}_add"), {"name": "x"}).status_code == 403
    assert client.post(page_of(card.topic), {"name": "x"}).status_code == 403
    act(client, Topic, "delete_selected", card.topic, confirmed=token(card.topic))
    act(client, Topic, "delete_with_content", card.topic, confirmed="1-0-1")
    assert not Topic.objects.exclude(deleted_at=None).exists()
    act(client, MemoCard, "delete_selected", card, query="?state=live", confirmed=token(card))
    assert MemoCard.objects.get().deleted_at is not None
    _closed_to(client)


def test_a_reviewer_reads_the_history_of_content_alone(admin_client: Client) -> None:
    card = MemoCardFactory.create(needs_review=True)
    act(admin_client, MemoCard, "approve", card)
    subscriber = SubscriberFactory.create(name="secret phone", revoked_at="2026-01-01T00:00:00Z")
    admin_client.post(reverse("admin:publish_subscriber_delete", args=[subscriber.pk]), {"post": "yes"})
    history = "/admin/admin/logentry/"
    html = member("reviewer").get(history).content.decode()
    assert "Approved." in html
    assert "secret phone" not in html
    assert "secret phone" in admin_client.get(history).content.decode()
    assert member("author").get(history).status_code == 403
    assert member("operator").get(history).status_code == 403


@own_transactions
def test_an_operator_looks_after_publishing_and_not_after_content() -> None:
    client = member("operator")
    card, question = MemoCardFactory.create(needs_review=True), QuestionFactory.create(needs_review=True)
    for row in (card, question, card.topic):
        assert client.get(list_of(type(row))).status_code == 403
        assert client.get(page_of(row)).status_code == 403
        assert client.post(page_of(row), {"front": "x"}).status_code == 403
        act(client, type(row), "approve", row, confirmed="1")
    assert client.get(reverse("admin:review")).status_code == 403
    assert touches() == []

    held = SetAside.objects.create(kind="card", source_id=card.pk, outbox_id=1, error="unreadable")
    act(client, SetAside, "requeue", held)
    assert touches() == [("card", card.pk, True)]
    subscriber = SubscriberFactory.create()
    act(client, Subscriber, "revoke", subscriber)
    subscriber.refresh_from_db()
    assert subscriber.revoked_at is not None


def test_an_operator_changes_no_row_of_the_feed() -> None:
    client = member("operator")
    rows: list[Model] = [PublishOutboxFactory.create(), PublishedItemFactory.create()]
    for row in rows:
        assert client.get(page_of(row)).status_code == 200
        assert client.post(page_of(row), {"kind": "topic"}).status_code == 403
        assert client.post(page_of(row).replace("change", "delete"), {"post": "yes"}).status_code == 403


def _closed_to(client: Client) -> None:
    for model in (PublishOutbox, PublishedItem, FeedState, SetAside, Subscriber):
        assert client.get(list_of(model)).status_code == 403
    held = SetAside.objects.create(kind="card", source_id=1, outbox_id=1, error="unreadable")
    act(client, SetAside, "requeue", held)
    assert SetAside.objects.exists()
    assert client.post(reverse("admin:publish_subscriber_add"), {"name": "x"}).status_code == 403
    assert client.get("/admin/auth/user/").status_code == 403
    assert client.get("/admin/auth/group/").status_code == 403
