"""Publishing in the back office: the outbox and the feed to look at, subscribers to add and revoke."""

import hashlib
import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from kit.lists import EstimatingPaginator
from publish import relay
from publish.models import FeedState, PublishedItem, PublishOutbox, SetAside, Subscriber
from publish.subscribers import authenticate
from tests.factories import PublishedItemFactory, PublishOutboxFactory, SubscriberFactory, UserFactory

pytestmark = pytest.mark.django_db


def page_of(row: Model) -> str:
    return reverse(f"admin:publish_{row._meta.model_name}_change", args=[row.pk])


def list_of(model: type[Model]) -> str:
    return reverse(f"admin:publish_{model._meta.model_name}_changelist")


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


# The outbox, the items, the state of the feed


def read_only_row(model: type[Model]) -> Any:
    if model is FeedState:
        relay.lock_feed()
        return FeedState.objects.get()
    if model is SetAside:
        return SetAside.objects.create(kind="card", source_id=1, outbox_id=1, error="a payload nobody can read")
    return PublishOutboxFactory.create() if model is PublishOutbox else PublishedItemFactory.create()


@pytest.mark.parametrize("model", [PublishOutbox, PublishedItem, FeedState, SetAside])
def test_what_the_relay_keeps_is_read_only(admin_client: Client, model: type[Model]) -> None:
    row = read_only_row(model)
    before = model._default_manager.filter(pk=row.pk).values().get()
    assert admin_client.get(page_of(row)).status_code == 200
    assert admin_client.post(page_of(row), {"kind": "topic", "last_seq": "9"}).status_code == 403
    assert admin_client.post(page_of(row).replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert admin_client.post(list_of(model).rstrip("/") + "/add/", {"kind": "card"}).status_code == 403
    admin_client.post(list_of(model), {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})
    assert model._default_manager.filter(pk=row.pk).values().get() == before


def test_a_row_shows_its_payload_and_its_hash(admin_client: Client) -> None:
    item = PublishedItemFactory.create(payload={"front": "세종 & <b>", "tags": []})
    html = admin_client.get(page_of(item)).content.decode()
    assert "&quot;front&quot;: &quot;세종 &amp; &lt;b&gt;&quot;" in html
    assert item.payload_hash.hex() in html
    assert "Tombstone" in html


def test_a_key_is_found_by_its_number_and_kind(admin_client: Client) -> None:
    card, topic = PublishedItemFactory.create(source_id=42), PublishedItemFactory.create(kind="topic", source_id=42)

    def found(query: str) -> list[Model]:
        response = admin_client.get(list_of(PublishedItem), {"q": query})
        return list(response.context["cl"].result_list.order_by("seq"))

    assert found("42") == [card, topic]
    assert found("topic 42") == [topic]
    assert found("card") == [card]
    assert found("43") == found("nonsense") == found("9" * 30) == found("¼") == []


@pytest.mark.parametrize("model", [PublishOutbox, PublishedItem])
def test_a_list_reads_no_payload_and_counts_no_whole_table(
    admin_client: Client, model: type[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EstimatingPaginator, "COUNTED_ROWS", 10)
    monkeypatch.setattr(admin.site.get_model_admin(model), "list_per_page", 20)
    factory: Any = PublishOutboxFactory if model is PublishOutbox else PublishedItemFactory
    factory.create_batch(30)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {model._meta.db_table}")
    with CaptureQueriesContext(connection) as queries:
        response = admin_client.get(list_of(model))
    assert response.context["cl"].result_count == 30
    statements = [query["sql"] for query in queries if model._meta.db_table in query["sql"]]
    assert not any("payload" in sql for sql in statements)
    assert all("LIMIT" in sql or "pg_class" in sql for sql in statements)

    filtered = admin_client.get(list_of(model), {"kind": "card"})
    assert filtered.context["cl"].result_count == 10


# Subscribers


def test_a_token_is_shown_once_and_only_its_hash_is_kept(admin_client: Client) -> None:
    learner = UserFactory.create()
    response = admin_client.post(
        reverse("admin:publish_subscriber_add"),
        {"name": "nas", "learner": learner.pk, "kinds": ["card", "card_progress"]},
    )
    assert response.headers["Cache-Control"].split(", ").count("no-store") == 1
    (token,) = re.findall(r"<code>(sh_[\w-]{43})</code>", response.content.decode())
    subscriber = Subscriber.objects.get()
    assert bytes(subscriber.token_hash) == hashlib.sha256(token.encode()).digest()
    assert (subscriber.learner, subscriber.kinds) == (learner, ["card", "card_progress"])
    reader = authenticate(token)
    assert reader is not None
    assert reader.learner_id == learner.pk

    for page in (list_of(Subscriber), page_of(subscriber), page_of(subscriber).replace("change", "history")):
        assert token not in admin_client.get(page).content.decode()
    assert token not in str(list(LogEntry.objects.values()))
    # Neither in a cookie, nor in what a session has stored.
    assert token not in str(admin_client.cookies)
    assert token not in str([session.get_decoded() for session in Session.objects.all()])


def test_a_subscriber_that_contradicts_itself_is_an_error_of_the_form(admin_client: Client) -> None:
    SubscriberFactory.create(name="nas")
    add = reverse("admin:publish_subscriber_add")
    both = admin_client.post(add, {"name": "x", "learner": UserFactory.create().pk, "all_learners": "on"})
    assert "bound to one learner, or sees all; not both" in both.content.decode()
    assert "already exists" in admin_client.post(add, {"name": "nas"}).content.decode()
    assert "not one of the available choices" in (
        admin_client.post(add, {"name": "x", "kinds": ["secrets"]}).content.decode()
    )
    assert Subscriber.objects.count() == 1


def test_only_the_name_of_a_subscriber_is_changed(admin_client: Client) -> None:
    """Its cursor has passed what it was not shown: a wider view would have holes."""
    subscriber = SubscriberFactory.create(kinds=["card"])
    before = Subscriber.objects.values().get()
    admin_client.post(
        page_of(subscriber),
        {"name": "new name", "kinds": ["topic"], "all_learners": "on", "token_hash": "x", "token_prefix": "x"},
    )
    assert Subscriber.objects.values().get() == before | {"name": "new name"}


def test_a_revoked_token_opens_nothing_and_may_then_be_deleted(admin_client: Client) -> None:
    subscriber = SubscriberFactory.create(token="sh_for-this-test")
    assert authenticate("sh_for-this-test") is not None
    delete = reverse("admin:publish_subscriber_delete", args=[subscriber.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403

    response = admin_client.post(list_of(Subscriber), {"action": "revoke", "_selected_action": subscriber.pk})
    assert messages_of(response) == ["1 token revoked."]
    assert authenticate("sh_for-this-test") is None
    assert not admin_client.get(list_of(Subscriber), {"token": "valid"}).context["cl"].result_list

    admin_client.post(delete, {"post": "yes"})
    assert not Subscriber.objects.exists()
