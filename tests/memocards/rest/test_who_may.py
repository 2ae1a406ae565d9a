"""Who may do what: each group is tried against every write of the REST API, and all pages and actions of the admin.

A call, page or action that has no line here fails the tests.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.db import transaction
from django.db.models import Model
from django.test import Client
from django.urls import URLPattern, URLResolver, reverse
from pytest_django.fixtures import Settings

from memocards.content import history
from memocards.content.editors import Editor
from memocards.explaining.requesting import request_explanation
from memocards.models import CardProgress, ExplanationJob, LearnerSettings, MemoCard, Question, Review, Topic
from publish.models import (
    BackfillPosition,
    FeedState,
    PublishedItem,
    PublishOutbox,
    RelayHeartbeat,
    SetAside,
    Subscriber,
)
from studyhub.api import api
from tests.factories import (
    CardProgressFactory,
    LearnerSettingsFactory,
    MemoCardFactory,
    PublishedItemFactory,
    PublishOutboxFactory,
    QuestionFactory,
    ReviewFactory,
    SubscriberFactory,
    UserFactory,
)
from tests.memocards.admin.test_content import list_of
from tests.memocards.admin.test_groups import member
from tests.memocards.rest.test_content import LEARNER_CALLS, STAFF_CALLS, Call, make
from tests.memocards.rest.test_learning import CALLS as OTHER_CALLS

pytestmark = pytest.mark.django_db

# Below, a group stands for itself by its first letter.
GROUPS = ("author", "reviewer", "operator")
EVERYBODY = "aro"

CALLS = {
    "POST /topics": "a",
    "PATCH /topics/{topic_id}": "a",
    "DELETE /topics/{topic_id}": "",
    "POST /topics/{topic_id}/restore": "",
    "POST /questions": "a",
    "POST /questions/approve": "r",
    "POST /questions/send-back": "r",
    "POST /questions/unapprove": "r",
    "PATCH /questions/{question_id}": "ar",
    "DELETE /questions/{question_id}": "r",
    "POST /questions/{question_id}/restore": "r",
    "PUT /questions/{question_id}/explanation": "ar",
    "DELETE /questions/{question_id}/explanation": "ar",
    "POST /questions/{question_id}/explanation/request": "ar",
    "POST /study-cards": "a",
    "POST /study-cards/approve": "r",
    "POST /study-cards/send-back": "r",
    "POST /study-cards/unapprove": "r",
    "PATCH /study-cards/{card_id}": "ar",
    "DELETE /study-cards/{card_id}": "r",
    "POST /study-cards/{card_id}/restore": "r",
    # As learners, who write what is their own.
    "POST /study-cards/{card_id}/rate": EVERYBODY,
    "POST /study-cards/{card_id}/undo": EVERYBODY,
    "POST /reviews": EVERYBODY,
    "PATCH /settings": EVERYBODY,
}


@dataclass(frozen=True)
class Pages:
    """The pages of one model: who may look at its rows, who may send the forms, and who may start which action."""

    looks: str = ""
    adds: str = ""
    changes: str = ""
    deletes: str = ""
    imports: str = ""
    actions: Mapping[str, str] = field(default_factory=dict)


MODELS: dict[type[Model], Pages] = {
    Topic: Pages(
        looks="ar",
        adds="a",
        changes="a",
        actions={"delete_selected": "", "restore": "", "delete_with_content": ""},
    ),
    Question: Pages(
        looks="ar",
        adds="a",
        changes="ar",
        deletes="r",
        imports="a",
        actions={
            "approve": "r",
            "unapprove": "r",
            "move": "ar",
            "explain": "ar",
            "delete_selected": "r",
            "restore": "r",
        },
    ),
    MemoCard: Pages(
        looks="ar",
        adds="a",
        changes="ar",
        deletes="r",
        imports="a",
        actions={"approve": "r", "unapprove": "r", "move": "ar", "tag": "ar", "delete_selected": "r", "restore": "r"},
    ),
    ExplanationJob: Pages(looks="ar", actions={"try_now": "ar"}),
    LogEntry: Pages(looks="r"),
    LearnerSettings: Pages(actions={"delete_selected": ""}),
    CardProgress: Pages(),
    Review: Pages(),
    PublishOutbox: Pages(looks="o"),
    PublishedItem: Pages(looks="o"),
    FeedState: Pages(looks="o"),
    RelayHeartbeat: Pages(looks="o"),
    BackfillPosition: Pages(looks="o"),
    SetAside: Pages(looks="o", actions={"requeue": "o"}),
    Subscriber: Pages(looks="o", adds="o", changes="o", deletes="o", actions={"revoke": "o"}),
    User: Pages(looks="o", actions={"delete_selected": ""}),
    Group: Pages(actions={"delete_selected": ""}),
}

# What a page's address ends in → whom it is opened by, and who may send its form; None: there is none.
WHO: dict[str, Callable[[Pages], tuple[str, str | None]]] = {
    "changelist": lambda pages: (pages.looks, None),
    "history": lambda pages: (pages.looks, None),
    "add": lambda pages: (pages.adds, pages.adds),
    "change": lambda pages: (pages.looks, pages.changes),
    "delete": lambda pages: (pages.deletes, pages.deletes),
    "import": lambda pages: (pages.imports, pages.imports),
    "import_page": lambda pages: (pages.imports, pages.imports),
    "import_store": lambda pages: ("", pages.imports),
    "import_discard": lambda pages: ("", pages.imports),
    "password_change": lambda pages: (pages.changes, pages.changes),
}

SITE = {"review": "r", "index": EVERYBODY, "password_change": EVERYBODY, "jsi18n": EVERYBODY}
# They lead somewhere else, where it is asked again who may; or are for whoever is not logged in.
PASSED_OVER = {"login", "logout", "password_change_done", "autocomplete", "view_on_site", "app_list", None}


@pytest.fixture
def clients() -> dict[str, Client]:
    """By the first letter of the group."""
    return {group[0]: member(group) for group in GROUPS}


@pytest.fixture
def rows(settings: Settings) -> dict[type[Model], Model]:
    """One of each. With an endpoint, so that explanations may be asked for."""
    settings.LLM_BASE_URL = "http://localhost:9/v1"
    question = QuestionFactory.create()
    card = MemoCardFactory.create(topic=question.topic, question=question)
    user = UserFactory.create()
    with transaction.atomic():
        request_explanation(question_id=question.pk)
        history.log_event(MemoCard, [card.pk], history.APPROVED, editor=Editor(user.pk))
    first_rows = [model._default_manager.first() for model in (ExplanationJob, LogEntry, FeedState, Group)]
    new_rows = [
        question,
        card,
        question.topic,
        user,
        LearnerSettingsFactory.create(learner=user),
        CardProgressFactory.create(card=card, learner=user),
        ReviewFactory.create(card=card, learner=user),
        PublishOutboxFactory.create(),
        PublishedItemFactory.create(),
        RelayHeartbeat.objects.create(worker="hub:1"),
        BackfillPosition.objects.create(kind="card"),
        SetAside.objects.create(kind="card", source_id=card.pk, outbox_id=1, error="unreadable"),
        # Only what was revoked can be deleted.
        SubscriberFactory.create(revoked_at="2026-01-01T00:00:00Z"),
    ]
    return {type(row): row for row in [*first_rows, *new_rows] if row is not None}


def those_who_may(attempt: Callable[[Client], bool], clients: Mapping[str, Client]) -> str:
    """The letters of the groups for which the attempt succeeds. Whatever one did is undone for the next."""
    may = ""
    for letter, client in clients.items():
        client.cookies.pop("messages", None)
        with transaction.atomic():
            if attempt(client):
                may += letter
            transaction.set_rollback(True)
    return may


def may_open(method: str, address: str) -> Callable[[Client], bool]:
    def attempt(client: Client) -> bool:
        response = client.generic(method, address)
        assert response.status_code in {200, 302, 403, 405}, (method, address)
        return response.status_code not in {403, 405}

    return attempt


def may_start(model: type[Model], action: str, row: Model) -> Callable[[Client], bool]:
    def attempt(client: Client) -> bool:
        response: Any = client.post(list_of(model), {"action": action, "_selected_action": [row.pk]})
        if response.status_code == 403 or "cl" in (getattr(response, "context_data", None) or {}):
            return False
        return "No action selected." not in [str(message) for message in get_messages(response.wsgi_request)]

    return attempt


# REST


def test_every_write_of_the_api_has_a_line() -> None:
    writes = {
        f"{method.upper()} {path.removeprefix('/api')}"
        for path, operations in api.get_openapi_schema()["paths"].items()
        for method in operations
        if method != "get"
    }
    assert writes == set(CALLS)


def test_each_group_may_call_what_it_is_for(clients: dict[str, Client], rows: dict[type[Model], Model]) -> None:
    ids = {"topic_id": rows[Topic].pk, "question_id": rows[Question].pk, "card_id": rows[MemoCard].pk}
    # What can be asked for again, and taken back.
    Question.objects.update(explanation_status="failed")
    for client in clients.values():
        ReviewFactory.create(card=rows[MemoCard], learner_id=client.session["_auth_user_id"])
    known: list[Any] = [*STAFF_CALLS, *LEARNER_CALLS, *OTHER_CALLS]
    calls = {f"{call.method} {call.path.partition('?')[0]}": call for call in known if call.method != "GET"}
    permitted = {}
    for name, call in calls.items():
        as_staff = Call(call.method, call.path, None, call.body)

        def attempt(client: Client, call: Call = as_staff) -> bool:
            status = make(call, client, ids).status_code
            assert status < 300 or status == 403, (call, status)
            return bool(status != 403)

        permitted[name] = those_who_may(attempt, clients)
    assert permitted == CALLS


# The back office


def named(pattern: URLPattern | URLResolver) -> Iterator[str | None]:
    if isinstance(pattern, URLPattern):
        yield pattern.name
    else:
        for inner in pattern.url_patterns:
            yield from named(inner)


def page_names(model: type[Model]) -> Iterator[str]:
    prefix = f"{model._meta.app_label}_{model._meta.model_name}_"
    for url in admin.site._registry[model].get_urls():
        if isinstance(url, URLPattern) and url.name is not None:
            yield url.name.removeprefix("auth_user_" if model is User else prefix)


def test_every_page_of_the_back_office_has_a_line() -> None:
    assert set(admin.site._registry) == set(MODELS)
    of_models = {
        f"{model._meta.app_label}_{model._meta.model_name}_{name}" for model in MODELS for name in page_names(model)
    }
    everything = {name for pattern in admin.site.get_urls() for name in named(pattern)}
    assert everything - of_models == set(SITE) | PASSED_OVER


def test_each_group_may_open_what_it_is_for(clients: dict[str, Client]) -> None:
    permitted = {name: those_who_may(may_open("GET", reverse(f"admin:{name}")), clients) for name in SITE}
    assert permitted == SITE
    assert those_who_may(may_open("POST", reverse("admin:review")), clients) == "r"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_each_group_may_do_with_a_model_what_it_is_for(
    model: type[Model], clients: dict[str, Client], rows: dict[type[Model], Model]
) -> None:
    permitted, expected = {}, {}
    for name in page_names(model):
        opens, sends = WHO[name](MODELS[model])
        keys = [] if name in {"changelist", "add", "import"} else [rows[model].pk]
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=keys)
        expected[f"open {name}"] = opens
        permitted[f"open {name}"] = those_who_may(may_open("GET", address), clients)
        if sends is not None:
            expected[f"send {name}"] = sends
            permitted[f"send {name}"] = those_who_may(may_open("POST", address), clients)
    for action, who in MODELS[model].actions.items():
        expected[action] = who
        permitted[action] = those_who_may(may_start(model, action, rows[model]), clients)
    assert permitted == expected


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_action_has_a_line(model: type[Model], rf: Any) -> None:
    """As a superuser sees them, to whom none is hidden."""
    request = rf.get("/")
    request.user = UserFactory.create(is_staff=True, is_superuser=True)
    offered = set(admin.site._registry[model].get_actions(request))
    assert offered == set(MODELS[model].actions)
