"""The census: every service that writes what is published is run here, and must tell the outbox what it did, and the
history who did it.

A service that this list does not know fails the first test: add it, with a situation in which it changes something.
"""

import importlib
import inspect
import pkgutil
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone
from pytest_django.fixtures import Settings

import memocards
from kit.scheduling import Outcome
from memocards.content import sample, topics
from memocards.content.cards import cards
from memocards.content.editorial import Editorial
from memocards.content.editors import SYSTEM, Editor
from memocards.content.questions import questions
from memocards.content.versions import versions_of
from memocards.errors import Conflict
from memocards.explaining import requesting
from memocards.importing.reading import read
from memocards.importing.storing import store
from memocards.learning import erasing, future_answers, rating, rescheduling
from memocards.learning.rating import SentAnswer
from memocards.models import MemoCard, Question, Review, Topic
from tests.factories import MemoCardFactory, QuestionFactory, TopicFactory, UserFactory
from tests.memocards.editors import reviewer
from tests.memocards.outbox import Key, forget, outbox, truth

LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)
GOOD = Outcome.GOOD

pytestmark = pytest.mark.django_db(transaction=True)

Run = Callable[[], object]
Situation = Callable[[], Run]

# They call services, and write nothing themselves; or they write only who looks at what, which nobody publishes.
PASSED_OVER = ("memocards.rest.content", "memocards.rest.learning", "memocards.admin", "memocards.content.pile")

# Public, and no writers of what is published; or unsafe alone, and so run by those that are listed below.
OTHERS = {
    "memocards.content.topics.require_open_topics",
    "memocards.content.topics.lock_with_topic",
    "memocards.content.cards.change_of_tags",
    "memocards.learning.learners.lock_learner",
    "memocards.learning.learners.study_clock",
    "memocards.learning.rescheduling.outdated",
    "memocards.learning.rescheduling.schedulers_of",
    "memocards.learning.rescheduling.fold_rows",
    "memocards.learning.future_answers.answers_from_the_future",
    "memocards.learning.erasing.count_of",
    "memocards.explaining.requesting.endpoint_is_set",
    "memocards.explaining.requesting.content_of",
    "memocards.explaining.requesting.is_under_way",
    "memocards.explaining.requesting.ask_for",
    "memocards.explaining.requesting.defer",
    "memocards.explaining.requesting.job_manager",
    "memocards.explaining.requesting.next_attempt_at",
    "memocards.explaining.work.worker_is_alive",
    # Needs an endpoint to ask: see test_explaining.py.
    "memocards.explaining.work.explain",
    "memocards.explaining.work.retry_stalled",
    "memocards.learning.learners.read_settings",
    "memocards.learning.learners.change_settings",
    "memocards.importing.storing.preview",
    "memocards.importing.storing.require_topic",
    "memocards.content.sample.topic_files",
    "memocards.content.sample.create_demo_users",
}


def topic(**fields: Any) -> Topic:
    return TopicFactory.create(**fields)


def question(**fields: Any) -> Question:
    return QuestionFactory.create(explanation="Because.", explanation_status="ready", **fields)


def card(**fields: Any) -> MemoCard:
    return MemoCardFactory.create(**fields)


def an_editor() -> Editor:
    return reviewer(UserFactory.create().pk)


def full_topic(*, deleted: bool) -> Topic:
    deleted_at = LONG_AGO if deleted else None
    row = topic(deleted_at=deleted_at)
    question(topic=row, deleted_at=deleted_at)
    card(topic=row, deleted_at=deleted_at)
    return row


def rated(**fields: Any) -> tuple[int, int]:
    """A learner and a card that the learner rated."""
    learner, rated_card = UserFactory.create(), card(**fields)
    at = timezone.now() - timedelta(days=9)
    rating.rate_card(learner_id=learner.pk, card_id=rated_card.pk, review_id=uuid.uuid4(), outcome=GOOD, reviewed_at=at)
    return learner.pk, rated_card.pk


def moved_card() -> Run:
    _learner, key = rated()
    target = topic().pk
    editor = an_editor()
    return lambda: cards.update(key=key, changes={"topic_id": target}, editor=editor)


def moved_cards() -> Run:
    _learner, key = rated()
    target = topic().pk
    editor = an_editor()
    return lambda: cards.move(keys=[key], topic_id=target, editor=editor)


def second_answer() -> Run:
    learner, key = rated()
    return lambda: rating.rate_card(learner_id=learner, card_id=key, review_id=uuid.uuid4(), outcome=Outcome.AGAIN)


def answers_made_offline() -> Run:
    learner, key = rated()
    answers = [SentAnswer(key, uuid.uuid4(), GOOD), SentAnswer(card().pk, uuid.uuid4(), GOOD)]
    return lambda: rating.rate_cards(learner_id=learner, answers=answers)


def imported() -> Run:
    """A new card, and a live one that the file changes: it goes back to review."""
    known = card(external_id="known")
    file = BytesIO(b"external_id,front,back\nknown,Changed,Back\nnew,Front,Back\n")
    editor = an_editor()
    return lambda: store(read(file, name="cards.csv"), topic=known.topic.name, editor=editor)


def undone_answer() -> Run:
    learner, key = rated()
    return lambda: rating.undo_review(learner_id=learner, card_id=key)


def erased_learner() -> Run:
    learner, _key = rated()
    return lambda: erasing.erase_learner(learner_id=learner)


def rescheduled() -> Run:
    learner, _key = rated()
    Topic.objects.update(scheduler="fsrs")
    return lambda: rescheduling.reschedule_page(learner_id=learner)


def brought_back() -> Run:
    learner, _key = rated()
    Review.objects.update(reviewed_at=timezone.now() + timedelta(days=400), claimed_at=None)
    return lambda: future_answers.bring_back(learner_id=learner)


def service(function: Callable[..., object], **arguments: Callable[[], object]) -> Situation:
    """The function, with arguments that are made first."""

    def situation() -> Run:
        values = {name: make() for name, make in arguments.items()}
        return lambda: function(**values)

    return situation


def key_of(make: Callable[..., Any], **fields: Any) -> Callable[[], int]:
    return lambda: make(**fields).pk


def keys_of(make: Callable[..., Any], **fields: Any) -> Callable[[], list[int]]:
    return lambda: [make(**fields).pk for _ in range(2)]


def versions_made(make: Callable[..., Any], **fields: Any) -> Callable[[], dict[int, str]]:
    def versions() -> dict[int, str]:
        rows = [make(**fields) for _ in range(2)]
        return versions_of(type(rows[0]), [row.pk for row in rows])

    return versions


def value(given: Any) -> Callable[[], Any]:
    return lambda: given


SENT_BACK: dict[str, Any] = {"needs_review": True, "sent_back_at": LONG_AGO, "sent_back_reason": "Wrong."}


def edit(function: Callable[..., object], **arguments: Callable[[], object]) -> Situation:
    """The same of a service that is told who acts."""
    return service(function, editor=an_editor, **arguments)


def editorial(name: str, rows: Editorial[Any], make: Callable[..., Any]) -> dict[str, Situation]:
    """What is done to questions and cards alike."""
    return {
        f"{name}.approve": edit(rows.approve, versions=versions_made(make, needs_review=True)),
        f"{name}.unapprove": edit(rows.unapprove, keys=keys_of(make)),
        f"{name}.send_back": edit(rows.send_back, keys=keys_of(make), reason=value("Wrong.")),
        f"{name}.take_back": edit(rows.take_back, keys=keys_of(make, **SENT_BACK)),
        f"{name}.delete": edit(rows.delete, keys=keys_of(make)),
        f"{name}.restore": edit(rows.restore, keys=keys_of(make, deleted_at=LONG_AGO)),
    }


EDITS: dict[str, Situation] = {
    "memocards.content.topics.create_topic": edit(topics.create_topic, name=value("Rivers")),
    "memocards.content.topics.update_topic": edit(
        topics.update_topic, topic_id=key_of(topic), changes=value({"name": "Lakes"})
    ),
    "memocards.content.topics.delete_topic": edit(
        topics.delete_topic, topic_id=key_of(full_topic, deleted=False), cascade=value(True)
    ),
    "memocards.content.topics.restore_topic": edit(topics.restore_topic, topic_id=key_of(full_topic, deleted=True)),
    **editorial("memocards.content.questions", questions, question),
    "memocards.content.questions.create": edit(
        questions.create,
        topic_id=key_of(topic),
        stem=value("Which?"),
        choices=value(["a", "b"]),
        answer=value(1),
    ),
    "memocards.content.questions.update": edit(questions.update, key=key_of(question), changes=value({"answer": 2})),
    "memocards.content.questions.move": edit(questions.move, keys=keys_of(question), topic_id=key_of(topic)),
    "memocards.content.questions.set_explanation": edit(
        questions.set_explanation, key=key_of(question), body=value("For another reason.")
    ),
    "memocards.content.questions.clear_explanation": edit(questions.clear_explanation, key=key_of(question)),
    "memocards.content.questions.request_explanation": edit(
        questions.request_explanation, key=key_of(QuestionFactory.create)
    ),
    "memocards.content.questions.request_explanations": edit(
        questions.request_explanations, keys=keys_of(QuestionFactory.create)
    ),
    **editorial("memocards.content.cards", cards, card),
    "memocards.content.cards.create": edit(
        cards.create,
        topic_id=key_of(topic),
        front=value("Front"),
        back=value("Back"),
        needs_review=value(False),
    ),
    "memocards.content.cards.update": moved_card,
    "memocards.content.cards.move": moved_cards,
    "memocards.content.cards.tag": edit(
        cards.tag, keys=keys_of(card, tags=["old"]), add=value(["new"]), remove=value(["old"])
    ),
    "memocards.importing.storing.store": imported,
}

SITUATIONS: dict[str, Situation] = {
    **EDITS,
    # Alone they note nothing in the history: whoever asks is known to those of the same name in content.questions.
    "memocards.explaining.requesting.request_explanation": service(
        requesting.request_explanation, question_id=key_of(QuestionFactory.create)
    ),
    "memocards.explaining.requesting.request_explanations": service(
        requesting.request_explanations, question_ids=keys_of(QuestionFactory.create)
    ),
    "memocards.learning.rating.rate_card": second_answer,
    "memocards.learning.rating.rate_cards": answers_made_offline,
    "memocards.learning.rating.undo_review": undone_answer,
    "memocards.learning.rescheduling.reschedule_page": rescheduled,
    "memocards.learning.future_answers.bring_back": brought_back,
    "memocards.learning.erasing.erase_learner": erased_learner,
    "memocards.content.sample.load_topic": service(sample.load_topic, sample=lambda: next(sample.topic_files())),
}


# Of an Editorial: what its operations are made of.
NO_EDITS = {"enqueue", "waits_at_first"}

# Their content has no entry of its own.
WITH_ALL_CONTENT = {"memocards.content.topics.delete_topic", "memocards.content.topics.restore_topic"}

# What they change is not visible to viewers, before as after.
OUT_OF_SIGHT = {
    "memocards.content.questions.take_back",
    "memocards.content.questions.request_explanation",
    "memocards.content.questions.request_explanations",
    "memocards.content.cards.take_back",
    "memocards.explaining.requesting.request_explanation",
    "memocards.explaining.requesting.request_explanations",
}


def writers() -> set[str]:
    """The public functions of every module that begins transactions or enqueues, and every editorial operation."""
    names: set[str] = set()
    for info in pkgutil.walk_packages(memocards.__path__, "memocards."):
        module = importlib.import_module(info.name)
        writes = any(name == "in_transaction" or name.startswith("enqueue_") for name in vars(module))
        if info.name.startswith(PASSED_OVER) or not writes:
            continue
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == info.name and not name.startswith("_"):
                names.add(f"{info.name}.{name}")
        for rows in vars(module).values():
            if isinstance(rows, Editorial) and type(rows).__module__ == info.name:
                methods = inspect.getmembers(rows, inspect.ismethod)
                names |= {f"{info.name}.{name}" for name, _method in methods if name not in NO_EDITS}
    return {name for name in names if not name.rpartition(".")[2].startswith("_")}


def test_every_service_is_counted() -> None:
    assert writers() == set(SITUATIONS) | OTHERS


@pytest.mark.parametrize("name", sorted(SITUATIONS))
def test_a_service_tells_the_outbox_what_it_did(name: str, settings: Settings) -> None:
    settings.LLM_BASE_URL = "http://localhost:9/v1"
    run = SITUATIONS[name]()
    forget()
    before = truth()
    run()
    after = truth()
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    assert bool(changed) != (name in OUT_OF_SIGHT), "In this situation nothing changes that is published."
    assert outbox()
    assert changed <= set(outbox())
    assert outbox() == {key: after.get(key) for key in outbox()}
    assert bool(history()) == (name in EDITS)


@pytest.mark.parametrize("name", sorted(EDITS))
def test_an_edit_is_noted_in_the_history(name: str, settings: Settings) -> None:
    settings.LLM_BASE_URL = "http://localhost:9/v1"
    run = EDITS[name]()
    before = truth()
    run()
    after = truth()
    changed = {row_of(key) for key in before | after if before.get(key) != after.get(key)} - {None}
    if name in WITH_ALL_CONTENT:
        changed = {row for row in changed if row and row[0] == "topic"}
    assert history()
    assert changed <= set(history())


def test_nobodys_edit_has_no_history() -> None:
    topic = topics.create_topic(name="Rivers", editor=SYSTEM)
    key = cards.create(topic_id=topic.pk, front="Front", back="Back", editor=SYSTEM).pk
    cards.delete(keys=[key], editor=SYSTEM)
    assert not history()


def test_a_refused_edit_has_no_history() -> None:
    key, editor = card(deleted_at=LONG_AGO).pk, an_editor()
    with pytest.raises(Conflict):
        cards.update(key=key, changes={"front": "New"}, editor=editor)
    assert not history()


def row_of(key: Key) -> tuple[str, str] | None:
    """The row of content that is published under this key; None for a learner's progress."""
    models = {"topic": "topic", "question": "question", "explanation": "question", "card": "memocard"}
    return (models[key[0]], str(key[1])) if key[0] in models else None


def history() -> list[tuple[str, str]]:
    """The rows of the entries, as row_of() names them."""
    return list(LogEntry.objects.values_list("content_type__model", "object_id"))
