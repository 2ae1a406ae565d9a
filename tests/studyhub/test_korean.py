"""The back office in Korean: no page, whatever is registered there, shows a word of English.

The rows are in Korean, so whatever Latin word is seen was written by the hub. A model that is registered later wants a
row in rows(); its pages, filters and actions are then looked at like the others'.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from itertools import cycle
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as project
from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override

from memocards.admin.importing import line, work
from memocards.content import topics
from memocards.content.editors import SYSTEM
from memocards.explaining.requesting import request_explanations
from memocards.importing.formats.columns import CARD_NAMES, QUESTION_NAMES
from memocards.models import ExplanationStatus, LearnerSettings, MemoCard, Question, Topic
from publish.models import BackfillPosition, FeedState, RelayHeartbeat, SetAside, Subscriber
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
from tests.memocards.admin.test_content import Form, list_of, page_of
from tests.studyhub.visible import VisibleText, latin_words

# A refusal rolls back the request's own transaction, which must not be the test's.
pytestmark = pytest.mark.django_db(transaction=True)

# Names that are the same in every language.
NAMES = {
    *("StudyHub", "FSRS", "ID", "Id", "SHA-256", "UTC", "OpenAI"),
    *("CSV", "TSV", "XLSX", "Excel", "JSON", "Lines", "HTML", "Markdown", "Anki", "ZIP", "PDF", "gzip"),
    *("UTF-8", "UTF-16", "CP949", "EUC-KR", "Shift", "JIS", "GB", "Big5", "Windows"),
    *("Control", "Command", "Mac", "Single", "Sign-On", "LDAP"),  # in Django's Korean
}
# A kind of the feed, which is an identifier, alone or before the number of a row; and what is to be typed.
IN_CODE = re.compile(
    r"\b(topic|question|explanation|card|card_progress)(?= \(?\d|, 위치|$)|python -m memocards.explaining"
)
# In a file; only where a text is about the names of columns.
COLUMNS = {*CARD_NAMES, *QUESTION_NAMES}
# Django shows these in English whatever the language.
DJANGOS = {
    *("Search", "True", "False"),
    "If disabled, the current password for this user will be lost.",
    "Whether the user will be able to authenticate using a password or not. If disabled, they may still be able to "
    "authenticate using other backends, such as Single Sign-On or LDAP.",
}

QUESTION: dict[str, Any] = {"stem": "수도는?", "choices": ["서울", "부산"]}
CARD: dict[str, Any] = {"front": "수도", "back": "서울"}
EXPLAINED: dict[str, dict[str, Any]] = {
    "ready": {"explanation": "서울입니다.", "explanation_generator": "모델"},
    "failed": {"explanation_error": "답이 없습니다.", "explanation_attempts": 5},
    "pending": {"explanation_error": "답이 없습니다.", "explanation_attempts": 1},
}
STATES: list[Callable[[User, Any], dict[str, Any]]] = [
    lambda user, now: {"needs_review": True},
    lambda user, now: {"needs_review": True, "claimed_by": user, "claimed_until": now + timedelta(minutes=5)},
    lambda user, now: {
        "needs_review": True, "sent_back_at": now, "sent_back_by": user, "sent_back_reason": "다시 써 주십시오."
    },
    lambda user, now: {"needs_review": True, "sent_back_reason": "다시 써 주십시오."},
    lambda user, now: {"needs_review": False, "reviewed_by": user, "reviewed_at": now},
    lambda user, now: {"needs_review": False, "reviewed_at": now},
    lambda user, now: {"needs_review": False, "deleted_at": now},
]  # fmt: skip


@pytest.fixture
def korean_groups(transactional_db: None) -> Iterator[None]:
    """One group with a Korean name, in place of those that migrations made, which are every other test's, too."""
    permissions = {group.name: list(group.permissions.all()) for group in Group.objects.all()}
    Group.objects.all().delete()
    Group.objects.create(name="편집자")
    yield
    Group.objects.all().delete()
    for name, may in permissions.items():
        Group.objects.create(name=name).permissions.set(may)


@pytest.fixture
def rows(settings: Any, korean_groups: None) -> None:
    """Rows of every model in every state, in Korean."""
    # Explanations can be asked for; nobody does.
    settings.LLM_BASE_URL, settings.LLM_MODEL = "http://localhost:9/v1", "모델"
    author, learner = UserFactory.create(username="저자", is_staff=True), UserFactory.create(username="학습자")
    topic = TopicFactory.create(name="한국사", description="설명")
    TopicFactory.create(name="지운 주제", deleted_at=timezone.now())
    for state, status in zip(STATES, cycle(ExplanationStatus.values)):
        common = {"topic": topic, "author": author, "source": "교과서", **state(author, timezone.now())}
        QuestionFactory.create(**QUESTION, **common, explanation_status=status, **EXPLAINED.get(status, {}))
        MemoCardFactory.create(**CARD, **common)
    question = QuestionFactory.create(topic=topic, **QUESTION)
    request_explanations(question_ids=[question.pk])
    leech = MemoCardFactory.create(topic=topic, question=question, tags=["왕"], **CARD)
    LearnerSettingsFactory.create(learner=learner)
    CardProgressFactory.create(card=leech, learner=learner, lapse_count=8, review_count=20)
    ReviewFactory.create(card=leech, learner=learner)
    ReviewFactory.create(card=leech, learner=learner, undone_at=timezone.now(), due_after=timezone.now())
    _publish(leech, learner)
    _log(author, leech)


def _publish(card: MemoCard, learner: User) -> None:
    PublishedItemFactory.create(source_id=card.pk)
    PublishedItemFactory.create(source_id=card.pk - 1, deleted=True)
    PublishOutboxFactory.create(source_id=card.pk)
    RelayHeartbeat.objects.create(worker="1", worked_at=timezone.now())
    BackfillPosition.objects.create(kind="card", last_id=7)
    SetAside.objects.create(kind="card", source_id=card.pk, outbox_id=1, error="오류")
    FeedState.objects.update(last_seq=9, tombstone_floor=5)
    SubscriberFactory.create(
        name="벽에 걸린 화면", token="111111111111", learner=learner, last_seen_at=timezone.now(), last_seq=2
    )
    SubscriberFactory.create(name="휴대 전화", token="222222222222", all_learners=True, kinds=["card"])
    SubscriberFactory.create(name="옛 화면", token="333333333333", revoked_at=timezone.now())


def _log(user: User, card: MemoCard) -> None:
    entries: Any = LogEntry.objects
    changed = json.dumps([{"changed": {"fields": ["front"]}}])
    for flag, message in ((ADDITION, '[{"added": {}}]'), (CHANGE, changed), (DELETION, "")):
        entries.log_actions(user_id=user.pk, queryset=[card, card], action_flag=flag, change_message=message)


class Walk:
    """A way through the pages: every answer is read, and English in it is kept with the page's address."""

    def __init__(self) -> None:
        self.client = Client(headers={"Accept-Language": "ko"})
        self.client.force_login(User.objects.create_superuser("관리자"))
        self.read: set[str] = set()
        self.english: set[tuple[str, str]] = set()

    def get(self, page: str) -> str:
        return self._take(page, self.client.get(page))

    def post(self, page: str, data: Any) -> str:
        return self._take(page, self.client.post(page, data))

    def look(self, page: str, html: str) -> None:
        self.read.add(page)
        for text in {*VisibleText(html).pieces} - DJANGOS:
            names = NAMES | COLUMNS if "열 이름" in text else NAMES
            if not names.issuperset(latin_words(IN_CODE.sub("", text))):
                self.english.add((page, text))

    def _take(self, page: str, response: Any) -> str:
        # Where there is nothing to add, to delete, or to get, there is no page of the hub's.
        if response.status_code in {403, 404, 405} or not response["Content-Type"].startswith("text/html"):
            return ""
        # What the page after a redirect would begin with.
        messages = get_messages(response.wsgi_request) if response.status_code == 302 else ()
        html: str = response.content.decode() + "".join(f"<p>{message}</p>" for message in messages)
        self.look(page, html)
        return html


@pytest.fixture
def walk(db: None) -> Iterator[Walk]:
    # A thread keeps the language of its last request, which the next test has not asked for.
    with override("ko"):
        yield Walk()


EVERY_ADMIN = [pytest.param(model, of, id=model._meta.model_name) for model, of in admin.site._registry.items()]


@pytest.mark.parametrize(("model", "model_admin"), EVERY_ADMIN)
@pytest.mark.usefixtures("rows")
def test_lists_forms_and_histories_are_in_korean(model: type[Model], model_admin: Any, walk: Walk) -> None:
    keys = model._default_manager.values_list("pk", flat=True)
    assert keys, "Without a row there is nothing to read: add one to rows()."
    for name, has_key in pages_of(model_admin):
        for arguments in [[quote(key)] for key in keys] if has_key else [[]]:
            walk.get(reverse(f"admin:{name}", args=arguments))
    for query in filters_in(walk.get(list_of(model))):
        walk.get(list_of(model) + query)
    walk.post(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add"), {})
    assert len(walk.read) > len(keys)
    assert walk.english == set()


def pages_of(model_admin: Any) -> list[tuple[str, bool]]:
    """The names of a model's pages, and whether each is about one row."""
    named = [pattern for pattern in model_admin.get_urls() if pattern.name]
    return [(pattern.name, "<" in str(pattern.pattern)) for pattern in named]


def filters_in(html: str) -> list[str]:
    """The queries that a list offers to filter it by."""
    _before, _start, side = html.partition('id="changelist-filter"')
    return sorted({unescape(query) for query in re.findall(r'href="(\?[^"]*)"', side)})


@pytest.mark.parametrize(("model", "model_admin"), EVERY_ADMIN)
@pytest.mark.usefixtures("rows")
def test_actions_their_questions_and_their_answers_are_in_korean(
    model: type[Model], model_admin: Any, walk: Walk
) -> None:
    states = [query for query in filters_in(walk.get(list_of(model))) if re.search("state=(live|deleted)", query)]
    lists = [list_of(model) + query for query in ["", *states]]
    chosen = {"_selected_action": list(model._default_manager.values_list("pk", flat=True))}
    actions = [name for _function, name, _description in model_admin._get_base_actions()]
    answers = [(page, answer) for page in lists for name in actions if (answer := asked(walk, page, name, chosen))]
    for page, answer in answers:
        walk.post(page, {**answer, **chosen, "topic": topic_id(), "add": "새 태그"})
    assert walk.english == set()


def asked(walk: Walk, page: str, action: str, chosen: dict[str, Any]) -> dict[str, str]:
    """The form in which an action asks first; nothing for one that has just acted."""
    read = Form(walk.get(page)).data.get("read", "")
    form = Form(walk.post(page, {"action": action, "ask": "1", "read": read, **chosen})).data
    return {**form, "action": action} if "confirmed" in form or "post" in form else {}


def topic_id() -> int:
    return topics.create_topic(name=f"새 주제 {Topic.objects.count()}", editor=SYSTEM).pk


@pytest.mark.parametrize("model", [Topic, Question, MemoCard, LearnerSettings, Subscriber])
@pytest.mark.usefixtures("rows")
def test_what_a_form_answers_is_in_korean(model: Any, walk: Walk) -> None:
    for row in model.objects.all():
        html = walk.get(page_of(row))
        sent = Form(html).data
        changed = {name: "바꾼 글" for name in ("front", "stem", "description", "name") if name in sent}
        walk.post(page_of(row), dict.fromkeys(sent, ""))
        for button in re.findall(r'type="submit"[^>]*name="(_\w+)"', html):
            walk.post(page_of(row), {**sent, **changed, button: "1"})
        walk.get(page_of(row).replace("/change/", "/history/"))
    walk.get(reverse("admin:admin_logentry_changelist"))
    assert walk.english == set()


@pytest.mark.usefixtures("rows")
def test_the_first_page_and_those_of_an_account_are_in_korean(walk: Walk) -> None:
    for name in ("index", "password_change", "password_change_done"):
        walk.get(reverse(f"admin:{name}"))
    for app in ("memocards", "publish", "auth", "admin"):
        walk.get(reverse("admin:app_list", args=[app]))
    walk.client.logout()
    for name in ("admin:login", "login"):
        walk.get(reverse(name))
        walk.post(reverse(name), {"username": "관리자", "password": "틀림"})
    assert len(walk.read) == 9
    assert walk.english == set()


def test_a_page_that_is_not_there_says_so_in_korean(walk: Walk) -> None:
    for page in ("/nothing/", "/admin/nothing/"):
        response = walk.client.get(page)
        assert response.status_code == 404
        walk.look(page, response.content.decode())
    assert walk.english == set()


@pytest.mark.usefixtures("rows")
def test_a_full_topic_is_refused_in_korean(walk: Walk) -> None:
    topic = Topic.objects.get(name="한국사")
    html = walk.post(reverse("admin:memocards_topic_delete", args=[topic.pk]), {"post": "yes"})
    assert "먼저 삭제하거나" in html
    assert walk.english == set()


@pytest.mark.usefixtures("rows")
def test_a_conflict_with_another_editor_is_told_in_korean(walk: Walk) -> None:
    card = MemoCard.objects.filter(needs_review=True).first()
    assert card is not None
    sent = Form(walk.get(page_of(card))).data
    MemoCard.objects.filter(pk=card.pk).update(front="남이 쓴 글")
    assert "덮어쓰려면" in walk.post(page_of(card), {**sent, "front": "내가 쓴 글"})
    assert walk.english == set()


# The review desk

DESK = "/admin/review/"
DECISIONS: list[dict[str, str]] = [
    {"action": "save"},
    {"action": "send_back"},
    {"action": "send_back", "reason": "다시 써 주십시오."},
    {"action": "undo", "undo": "send_back"},
    {"action": "approve"},
    {"action": "approve"},
    {"action": "undo", "undo": "approve"},
    {"action": "skip"},
    {"action": "delete"},
    {"action": "delete"},
    {"action": "undo", "undo": "delete"},
    {"action": "undo", "undo": "send_back"},
    {"action": "none"},
]


@pytest.mark.parametrize("kind", ["question", "card"])
@pytest.mark.usefixtures("rows")
def test_the_review_desk_is_in_korean(kind: str, walk: Walk) -> None:
    page = f"{DESK}?kind={kind}"
    sent = Form(walk.get(page)).data
    assert sent["key"].startswith(kind)
    walk.post(page, {**sent, "back": "", "stem": "", "action": "save"})
    walk.post(page, {**sent, "initial-back": "다른 글", "initial-stem": "다른 글", "action": "approve"})
    for decision in DECISIONS:
        walk.post(page, {**sent, **decision})
    walk.post(page, {"action": "approve"})
    assert walk.english == set()


@pytest.mark.usefixtures("rows")
def test_what_the_script_of_the_desk_is_answered_is_in_korean(walk: Walk) -> None:
    sent = Form(walk.get(DESK)).data
    for decision in DECISIONS:
        answer = walk.client.post(DESK, {**sent, **decision}, headers={"Accept": "application/json"}).json()
        walk.look(str(decision), "".join([answer["text"], answer.get("item", ""), *answer["next"]]))
    assert walk.english == set()


@pytest.mark.usefixtures("korean_groups")
def test_an_empty_desk_and_empty_lists_are_in_korean(walk: Walk) -> None:
    for page in (DESK, reverse("admin:index"), *(list_of(model) for model in admin.site._registry)):
        walk.get(page)
    assert walk.english == set()


# Import

CARDS = "front,back,tags,모름\n수도,서울,왕,1\n수도,부산,,\n,비었음,,\n많음,많음,,,,\n".encode()
QUESTIONS = "stem,choices,answer\n수도는?,서울|부산,1\n강은?,한강,3\n산은?,백두산|,없음\n".encode()
REFUSED = [b"", "front,다른\n".encode(), b"%PDF-1", b"PK\x03\x04", b"[1]", b"\x1f\x8b", b"\xd0\xcf\x11\xe0", b"\0\1\2"]


@pytest.mark.parametrize(
    ("model", "content"), [("memocard", CARDS), ("question", QUESTIONS)], ids=["cards", "questions"]
)
@pytest.mark.usefixtures("rows")
def test_an_import_is_in_korean(
    model: str, content: bytes, walk: Walk, settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATA_DIR = tmp_path
    page = reverse(f"admin:memocards_{model}_import")
    sent = Form(walk.get(page)).data
    everywhere = {**sent, "topic": topic_id()}

    def upload(choices: dict[str, Any], name: str, file: bytes) -> tuple[str, str]:
        """Choose a file; the address and the text of the page that follows."""
        address = walk.client.post(page, {**choices, "import_file": SimpleUploadedFile(name, file)}).headers["Location"]
        return address, walk.get(address)

    walk.post(page, sent)
    with monkeypatch.context() as patched:
        patched.setattr(line, "ensure_worker", lambda: None)
        waiting, _shown = upload(everywhere, "기다림.csv", content)
        walk.get(page)
        assert walk.client.post(f"{waiting}discard/").headers["Location"] == page
    # What the process of the line does, done here.
    monkeypatch.setattr(line, "ensure_worker", work.work_off)
    address, shown = upload(everywhere, "파일.csv", content)
    answer = {"at_stake": Form(shown).data["at_stake"]}
    assert walk.client.post(f"{address}store/", answer).headers["Location"] == address
    assert walk.client.get(address).headers["Location"] == list_of(apps.get_model("memocards", model))
    walk.post(f"{address}store/", answer)
    upload(sent, "파일.csv", content)
    for refused in REFUSED:
        answer_to = walk.client.post(page, {**everywhere, "import_file": SimpleUploadedFile("파일", refused)})
        walk.get(answer_to.headers.get("Location", page))
    assert walk.english == set()


# What looks for English


def test_english_is_found_wherever_it_is_shown(walk: Walk) -> None:
    seen = """<title>Title</title><p title="Tip">글 <b>Bold</b></p><input type="submit" value="Send">
      <input placeholder="Hint"><button aria-label="Label">U</button><template>Later</template>"""
    walk.look("/", seen)
    assert {text for _page, text in walk.english} == {"Title", "Tip", "Bold", "Send", "Hint", "Label", "Later"}


def test_what_is_no_text_is_not_taken_for_english(walk: Walk) -> None:
    walk.look("/", '<script>let x</script><style>p {}</style><kbd>Esc</kbd><input name="name" value="value">한글 A CSV')
    assert walk.english == set()


def test_english_stays_english() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    assert project.LANGUAGE_CODE == "en"
    assert "Nothing here waits for you." in client.get(DESK).content.decode()
