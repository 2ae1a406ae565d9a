"""The back office: whatever is changed there goes through the services, is published, and is never overwritten."""

from html.parser import HTMLParser
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from memocards.admin.lists.choosing import as_read
from memocards.admin.lists.confirmation import at_stake, content_at_stake
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.questions import questions
from memocards.content.versions import versions_of
from memocards.models import LearnerSettings, MemoCard, Question, Topic
from publish.models import PublishedItem, PublishOutbox
from tests.factories import (
    CardProgressFactory,
    LearnerSettingsFactory,
    MemoCardFactory,
    PublishedItemFactory,
    PublishOutboxFactory,
    QuestionFactory,
    ReviewFactory,
    SubscriberFactory,
    TopicFactory,
    UserFactory,
)
from tests.memocards.noted import noted

pytestmark = pytest.mark.django_db
# A refusal rolls back the request's own transaction, which must not be the test's.
refused = pytest.mark.django_db(transaction=True)


class Form(HTMLParser):
    """What a browser would send from the page's form if nobody touched it, hidden fields included."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.data: dict[str, str] = {}
        self._area = self._select = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        name = attributes.get("name") or ""
        if tag == "input" and name and attributes.get("type") not in {"submit", "checkbox"}:
            self.data[name] = attributes.get("value") or ""
        elif tag == "textarea":
            self._area, self.data[name] = name, ""
        elif tag == "select":
            self._select, self.data[name] = name, ""
        elif tag == "option" and "selected" in attributes:
            self.data[self._select] = attributes.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            # The parser of a page drops the line break after the opening tag; a browser sends CR LF for the others.
            self.data[self._area] = self.data[self._area].removeprefix("\n").replace("\n", "\r\n")
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.data[self._area] += data


def page_of(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def list_of(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def opened(client: Client, page: str) -> dict[str, str]:
    return Form(client.get(page).content.decode()).data


def act(client: Client, model: Any, action: str, *rows: Model, query: str = "", **extra: str) -> list[str]:
    """Carry out an action of the list; returns what it told."""
    data = {"action": action, "_selected_action": [row.pk for row in rows], **extra}
    if action == "approve" and "confirmed" not in extra:
        data |= {"read": as_shown(*rows)}
        html = client.post(list_of(model) + query, data).content.decode()
        data |= {"confirmed": Form(html).data.get("confirmed", "")}
    return messages_of(client.post(list_of(model) + query, data))


def as_shown(*rows: Any) -> str:
    """What the list says that it shows of these rows."""
    return as_read(versions_of(type(rows[0]), [row.pk for row in rows]))


def token(*rows: Any) -> str:
    """What the page that asks about these rows sends along with a yes."""
    return at_stake(type(rows[0]), [row.pk for row in rows])


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def touches() -> list[tuple[str, int, bool]]:
    return sorted(PublishOutbox.objects.values_list("kind", "source_id", "deleted"))


@pytest.fixture
def author() -> Client:
    """Somebody who may look at cards and add them, but not change or delete them."""
    user = UserFactory.create(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_memocard", "add_memocard"]))
    client = Client()
    client.force_login(user)
    return client


# Every page


@pytest.fixture
def a_row_of_each() -> dict[str, Model]:
    card = MemoCardFactory.create(question=QuestionFactory.create(), tags=["a", "b, c"])
    learner = UserFactory.create()
    rows = [
        card,
        card.topic,
        card.question,
        learner,
        LearnerSettingsFactory.create(learner=learner),
        CardProgressFactory.create(card=card, learner=learner),
        ReviewFactory.create(card=card, learner=learner),
        PublishOutboxFactory.create(),
        PublishedItemFactory.create(),
        SubscriberFactory.create(learner=learner),
    ]
    return {row._meta.label: row for row in rows}


def test_every_model_is_registered() -> None:
    for name in ("memocards", "publish"):
        for model in apps.get_app_config(name).get_models():
            assert admin.site.is_registered(model), model


def test_every_page_of_every_model_answers(admin_client: Client, a_row_of_each: dict[str, Model]) -> None:
    for model, model_admin in admin.site._registry.items():
        assert admin_client.get(list_of(model)).status_code == 200, model
        assert admin_client.get(list_of(model), {"q": "card 1"}).status_code == 200, model
        add = admin_client.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add"))
        assert add.status_code == (200 if model_admin.has_add_permission(add.wsgi_request) else 403), model
        if row := a_row_of_each.get(model._meta.label):
            assert admin_client.get(page_of(row)).status_code == 200, model


def test_pages_carry_nothing_that_the_content_security_policy_forbids(
    admin_client: Client, a_row_of_each: dict[str, Model]
) -> None:
    for row in a_row_of_each.values():
        for page in (page_of(row), list_of(type(row))):
            html = admin_client.get(page).content.decode()
            assert "<style" not in html
            assert " style=" not in html
            assert "<script>" not in html


@pytest.mark.parametrize("label", ["memocards.CardProgress", "memocards.Review"])
def test_what_learners_did_is_read_only(admin_client: Client, a_row_of_each: dict[str, Model], label: str) -> None:
    row = a_row_of_each[label]
    assert admin_client.post(page_of(row), {}).status_code == 403
    assert admin_client.post(page_of(row).replace("change", "delete"), {"post": "yes"}).status_code == 403
    act(admin_client, type(row), "delete_selected", row, confirmed="1", post="yes")
    assert type(row)._default_manager.filter(pk=row.pk).exists()


# Forms


def test_a_card_added_waits_for_review_and_is_not_shown(admin_client: Client) -> None:
    topic = TopicFactory.create()
    admin_client.post(
        reverse("admin:memocards_memocard_add"),
        {"topic": topic.pk, "front": "One\r\ntwo", "back": "Back", "tags": "a\r\n\r\nb, c"},
    )
    card = MemoCard.objects.get()
    assert (card.front, card.tags, card.needs_review) == ("One\ntwo", ["a", "b, c"], True)
    assert touches() == [("card", card.pk, True)]
    assert LogEntry.objects.get().object_id == str(card.pk)


def test_saving_an_untouched_form_touches_nothing(admin_client: Client) -> None:
    question = QuestionFactory.create(stem="\n one\n\ntwo ", choices=["a\nb", "c, d"], explanation=" e\n")
    card = MemoCardFactory.create(front="\r\n x ", tags=["a, b"], question=question, topic=question.topic)
    for row in (question, card, card.topic):
        before = type(row)._default_manager.filter(pk=row.pk).values().get()
        assert admin_client.post(page_of(row), opened(admin_client, page_of(row))).status_code == 302
        assert type(row)._default_manager.filter(pk=row.pk).values().get() == before
    assert touches() == []


def test_a_stale_form_overwrites_only_what_its_editor_changed(admin_client: Client) -> None:
    card = MemoCardFactory.create(front="front", back="back", tags=["old"])
    form = opened(admin_client, page_of(card))
    elsewhere = TopicFactory.create()
    cards.update(key=card.pk, changes={"back": "theirs", "tags": ["new"], "topic_id": elsewhere.pk}, editor=SYSTEM)
    assert admin_client.post(page_of(card), form | {"front": "mine"}).status_code == 302
    card.refresh_from_db()
    assert (card.front, card.back, card.tags, card.topic) == ("mine", "theirs", ["new"], elsewhere)


def test_a_field_that_two_changed_is_refused_once_and_shown(admin_client: Client) -> None:
    question = QuestionFactory.create(choices=["a", "b"])
    form = opened(admin_client, page_of(question))
    questions.update(key=question.pk, changes={"choices": ["a", "theirs"]}, editor=SYSTEM)
    refused = admin_client.post(page_of(question), form | {"choices_1": "mine"})
    assert "Somebody else changed this meanwhile" in refused.content.decode()
    assert Question.objects.get().choices == ["a", "theirs"]
    admin_client.post(page_of(question), Form(refused.content.decode()).data)
    assert Question.objects.get().choices == ["a", "mine"]


@refused
def test_what_a_service_refuses_is_an_error_of_the_form(admin_client: Client) -> None:
    TopicFactory.create(name="Biology")
    topic = TopicFactory.create(name="Chemistry")
    question = QuestionFactory.create()
    for row, changes, sentence in (
        (topic, {"name": "Biology"}, "There is a topic of this name already."),
        (question, {"answer": "3"}, "The answer is the number of a choice, counted from 1."),
        (question, {"choices_1": ""}, "A question has 2 to 10 choices."),
    ):
        response = admin_client.post(page_of(row), opened(admin_client, page_of(row)) | changes)
        assert response.status_code == 200
        assert sentence in response.content.decode()
    assert touches() == []


@refused
def test_an_editor_whose_card_was_deleted_keeps_their_text(admin_client: Client) -> None:
    card = MemoCardFactory.create()
    form = opened(admin_client, page_of(card))
    cards.delete(keys=[card.pk], editor=SYSTEM)
    html = admin_client.post(page_of(card), form | {"front": "typed for an hour"}).content.decode()
    assert "This card is deleted. Restore it first." in html
    assert "typed for an hour" in html
    assert "_restore" in html


def test_an_explanation_written_by_a_person_is_ready_and_an_emptied_one_is_withdrawn(
    admin_client: Client,
) -> None:
    question = QuestionFactory.create(explanation_status="failed", explanation_error="timeout")
    form = opened(admin_client, page_of(question))
    admin_client.post(page_of(question), form | {"explanation": "Because.", "stem": "Why?"})
    question.refresh_from_db()
    assert (question.explanation_status, question.explanation, question.stem) == ("ready", "Because.", "Why?")
    assert question.explanation_error == ""
    assert ("explanation", question.pk, False) in touches()

    form = opened(admin_client, page_of(question))
    admin_client.post(page_of(question), form | {"explanation": ""})
    question.refresh_from_db()
    assert (question.explanation_status, question.explanation) == ("none", "")
    assert ("explanation", question.pk, True) in touches()


def test_learner_settings_are_validated_and_only_the_changed_one_is_written(admin_client: Client) -> None:
    settings = LearnerSettingsFactory.create()
    form = opened(admin_client, page_of(settings))
    refused = admin_client.post(page_of(settings), form | {"time_zone": "Mars/Olympus"})
    assert "This is not a time zone" in refused.content.decode()
    LearnerSettings.objects.update(new_per_day=5)
    admin_client.post(page_of(settings), form | {"time_zone": "Asia/Seoul"})
    settings.refresh_from_db()
    assert (settings.time_zone, settings.new_per_day) == ("Asia/Seoul", 5)
    again = {"learner": settings.learner_id, "new_per_day": 1, "desired_retention": 0.9}
    assert admin_client.post(reverse("admin:memocards_learnersettings_add"), again).status_code == 200


# Review


def test_the_list_opens_with_the_pile_that_waits(admin_client: Client) -> None:
    waiting, approved = MemoCardFactory.create(needs_review=True), MemoCardFactory.create()
    deleted = MemoCardFactory.create(needs_review=True)
    cards.delete(keys=[deleted.pk], editor=SYSTEM)

    def shown(query: str) -> list[Model]:
        return list(admin_client.get(list_of(MemoCard) + query).context["cl"].result_list.order_by("pk"))

    assert shown("") == shown("?state=waiting") == [waiting]
    assert shown("?state=approved") == [approved]
    assert shown("?state=live") == [waiting, approved]
    assert shown("?state=deleted") == [deleted]


@pytest.mark.parametrize(("model", "factory"), [(MemoCard, MemoCardFactory), (Question, QuestionFactory)])
def test_all_that_waits_is_approved_across_pages(
    admin_client: Client, admin_user: User, model: Any, factory: Any
) -> None:
    """The list is filtered to what waits, which no row does any more once it is approved."""
    waiting = factory.create_batch(120, needs_review=True, topic=TopicFactory.create())
    approved = factory.create()
    assert act(admin_client, model, "approve", waiting[0], select_across="1") == ["Approved. 120 of 120 rows."]
    assert not model.objects.filter(needs_review=True).exists()
    kind = "card" if model is MemoCard else "question"
    published = [touch for touch in touches() if touch[0] == kind]
    assert published == [(kind, row.pk, False) for row in waiting]
    assert noted().count("Approved.") == 120
    if model is MemoCard:
        assert set(MemoCard.objects.exclude(pk=approved.pk).values_list("reviewed_by", flat=True)) == {admin_user.pk}


def test_cards_sent_back_to_review_become_tombstones(admin_client: Client) -> None:
    card, other = MemoCardFactory.create_batch(2)
    act(admin_client, MemoCard, "unapprove", card, query="?state=approved")
    assert list(MemoCard.objects.filter(needs_review=True)) == [card]
    assert touches() == [("card", card.pk, True)]
    assert not MemoCard.objects.get(pk=other.pk).needs_review


def test_a_card_is_corrected_and_approved_with_one_click(admin_client: Client, admin_user: User) -> None:
    card = MemoCardFactory.create(needs_review=True)
    form = opened(admin_client, page_of(card))
    admin_client.post(page_of(card), form | {"front": "corrected", "_approve": "1"})
    card.refresh_from_db()
    assert (card.front, card.needs_review, card.reviewed_by) == ("corrected", False, admin_user)
    assert PublishOutbox.objects.order_by("id").last().payload["front"] == "corrected"  # type: ignore[union-attr]
    admin_client.post(page_of(card), opened(admin_client, page_of(card)) | {"_unapprove": "1"})
    card.refresh_from_db()
    assert card.needs_review


def test_whether_a_card_waits_is_no_field_of_its_form(admin_client: Client) -> None:
    card = MemoCardFactory.create(needs_review=True)
    form = opened(admin_client, page_of(card))
    admin_client.post(page_of(card), form | {"needs_review": "", "state": "approved"})
    assert MemoCard.objects.get().needs_review


@pytest.mark.parametrize("count", [5, 500])
@pytest.mark.parametrize(
    ("model", "action", "query", "statements"),
    [
        (MemoCard, "approve", "", 12),
        (MemoCard, "unapprove", "?state=approved", 12),
        (MemoCard, "delete_selected", "?state=live", 12),
        (MemoCard, "restore", "?state=deleted", 14),
        (Question, "approve", "", 13),
    ],
)
def test_an_action_costs_the_same_for_5_and_for_500_rows(
    admin_client: Client,
    django_assert_num_queries: Any,
    count: int,
    model: Any,
    action: str,
    query: str,
    statements: int,
) -> None:
    factory: Any = MemoCardFactory if model is MemoCard else QuestionFactory
    rows = factory.create_batch(count, topic=TopicFactory.create(), needs_review=action == "approve")
    if action == "restore":
        cards.delete(keys=[row.pk for row in rows], editor=SYSTEM)
    # Whatever is looked up once a process is looked up here.
    act(admin_client, model, "approve", first := factory.create(needs_review=True))
    first.delete()
    versions = versions_of(model, [row.pk for row in rows])
    yes = content_at_stake(versions) if action == "approve" else token(*rows)
    values = {
        "query": query,
        "select_across": "1",
        "confirmed": yes,
        "read": as_read({rows[0].pk: versions[rows[0].pk]}),
    }
    with django_assert_num_queries(statements):
        sentences = act(admin_client, model, action, rows[0], **values)
    assert f"{count} of {count} rows." in sentences[-1]


# Deletion


def test_cards_are_deleted_softly_after_a_question_and_restored(admin_client: Client) -> None:
    chosen = MemoCardFactory.create_batch(120, topic=TopicFactory.create())
    query = "?state=approved"
    page = admin_client.post(
        list_of(MemoCard) + query,
        {"action": "delete_selected", "_selected_action": [chosen[0].pk], "select_across": "1"},
    )
    assert "Delete 120 rows?" in page.content.decode()
    assert MemoCard.objects.filter(deleted_at=None).count() == 120
    form = Form(page.content.decode()).data
    admin_client.post(list_of(MemoCard) + query, form)
    assert MemoCard.objects.exclude(deleted_at=None).count() == 120
    assert touches() == [("card", card.pk, True) for card in chosen]

    PublishOutbox.objects.all().delete()
    act(admin_client, MemoCard, "restore", chosen[0], query="?state=deleted", select_across="1")
    assert touches() == [("card", card.pk, False) for card in chosen]


def test_a_deletion_is_asked_anew_when_there_is_more_to_delete_than_was_shown(admin_client: Client) -> None:
    card, _late = MemoCardFactory.create_batch(2)
    act(
        admin_client,
        MemoCard,
        "delete_selected",
        card,
        query="?state=live",
        select_across="1",
        confirmed=token(card),
    )
    assert not MemoCard.objects.exclude(deleted_at=None).exists()


def test_one_card_is_deleted_and_restored_on_its_own_page(admin_client: Client) -> None:
    card = MemoCardFactory.create()
    CardProgressFactory.create(card=card)
    page = reverse("admin:memocards_memocard_delete", args=[card.pk])
    assert "Are you sure" in admin_client.get(page).content.decode()
    admin_client.post(page, {"post": "yes"})
    card.refresh_from_db()
    assert card.deleted_at is not None
    assert touches() == [("card", card.pk, True)]
    admin_client.post(page_of(card), opened(admin_client, page_of(card)) | {"_restore": "1"})
    card.refresh_from_db()
    assert card.deleted_at is None


@refused
def test_a_card_of_a_deleted_topic_is_restored_with_its_topic_only(admin_client: Client) -> None:
    card = MemoCardFactory.create()
    topics.delete_topic(topic_id=card.topic_id, cascade=True, editor=SYSTEM)
    sentence = "This topic is deleted. Restore it, or choose another."
    assert act(admin_client, MemoCard, "restore", card, query="?state=deleted") == [sentence]
    page = admin_client.post(page_of(card), {"_restore": "1"})
    assert sentence in page.content.decode()
    act(admin_client, Topic, "restore", card.topic, query="?state=deleted")
    assert not MemoCard.objects.exclude(deleted_at=None).exists()


@refused
def test_a_topic_with_content_is_not_deleted_unless_that_is_asked_for(admin_client: Client) -> None:
    card = MemoCardFactory.create()
    empty = TopicFactory.create()
    sentence = "This topic still has 0 questions and 1 cards. Delete them first, or ask for cascade."

    on_page = admin_client.post(reverse("admin:memocards_topic_delete", args=[card.topic_id]), {"post": "yes"})
    assert sentence in messages_of(on_page)
    assert not LogEntry.objects.exists()

    in_list = act(admin_client, Topic, "delete_selected", card.topic, empty, confirmed=token(card.topic, empty))
    assert sentence in in_list
    assert "Deleted. 1 of 2 rows." in in_list
    assert list(Topic.objects.filter(deleted_at=None)) == [card.topic]

    response = admin_client.post(list_of(Topic), {"action": "delete_with_content", "_selected_action": [card.topic_id]})
    assert "Delete 1 topics with 0 questions and 1 cards?" in response.content.decode()
    assert Topic.objects.filter(deleted_at=None).exists()
    admin_client.post(list_of(Topic), Form(response.content.decode()).data)
    assert not Topic.objects.filter(deleted_at=None).exists()
    assert ("card", card.pk, True) in touches()


# Permissions


@refused
def test_without_permission_nothing_is_changed(author: Client) -> None:
    card = MemoCardFactory.create(needs_review=True)
    assert author.get(list_of(MemoCard)).status_code == 200
    assert author.get(page_of(card)).status_code == 200
    assert author.post(page_of(card), {"front": "x", "_approve": "1"}).status_code == 403
    assert author.post(reverse("admin:memocards_memocard_delete", args=[card.pk])).status_code == 403
    for action in ("approve", "unapprove", "delete_selected"):
        act(author, MemoCard, action, card, confirmed=token(card))
    gone = MemoCardFactory.create(deleted_at=timezone.now())
    act(author, MemoCard, "restore", gone, query="?state=deleted")
    assert "_restore" not in author.get(page_of(gone)).content.decode()
    assert author.post(page_of(gone), {"_restore": "1"}).status_code == 403
    assert author.get(list_of(Topic)).status_code == 403
    assert touches() == []


def test_content_is_deleted_along_only_by_those_who_may_delete_it(author: Client) -> None:
    user = User.objects.get(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__endswith="_topic"))
    card = MemoCardFactory.create()
    act(author, Topic, "delete_with_content", card.topic, confirmed="1-0-1")
    assert Topic.objects.get().deleted_at is None


def test_the_published_feed_is_left_to_the_relay(admin_client: Client) -> None:
    card = MemoCardFactory.create(needs_review=True)
    act(admin_client, MemoCard, "approve", card)
    assert not PublishedItem.objects.exists()
