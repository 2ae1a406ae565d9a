"""Explanations by a worker: against a local server that speaks the protocol, a real database, real processes."""

import gzip
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django import Settings

from memocards.content.editors import SYSTEM
from memocards.content.questions import questions
from memocards.content.versions import versions_of
from memocards.errors import Conflict, NotFound
from memocards.explaining.asking import Content, NoAnswer, ask
from memocards.explaining.requesting import LLM_HINT, QUEUE, TASK, request_explanation, request_explanations
from memocards.explaining.work import ATTEMPTS, explain, retry_stalled
from memocards.limits import TEXT_LIMIT
from memocards.models import Question
from publish.models import PublishedItem
from studyhub import settings as hub_settings
from tests.factories import QuestionFactory, TopicFactory, UserFactory
from tests.memocards.outbox import forget, outbox
from tests.memocards.waiting import wait_until

KEY = "sk-local-0123456789"
MODEL = "wise-owl"
CONTENT = Content("한국에서 가장 긴 강은?", ("한강", "낙동강"), 2)
Start = Callable[..., Future[Any]]


def completion(text: Any = "Because.", ending: Any = "stop") -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": ending, "message": {"role": "assistant", "content": text}}],
    }


class Reply:
    """One answer of the endpoint: a JSON body unless `raw` bytes are given; `cut`: hang up so many bytes early;
    `endless`: send them over and over."""

    def __init__(
        self,
        body: Any = None,
        *,
        status: int = 200,
        raw: bytes | None = None,
        kind: str = "application/json",
        cut: int = 0,
        drip: bool = False,
        endless: bool = False,
        **headers: str,
    ) -> None:
        self.status, self.kind, self.cut, self.drip, self.endless = status, kind, cut, drip, endless
        self.raw = json.dumps(completion() if body is None else body).encode() if raw is None else raw
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Endpoint:
    """An OpenAI-compatible server on this machine. It gives `replies` in turn, the last one for ever.

    While `shut` it takes requests and lets them wait.
    """

    def __init__(self) -> None:
        self.replies = [Reply()]
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self._open = threading.Event()
        self._open.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def prompts(self) -> list[str]:
        return [body["messages"][-1]["content"] for _headers, body in self.requests]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/chat/completions"
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                reply = endpoint.replies.pop(0) if len(endpoint.replies) > 1 else endpoint.replies[0]
                endpoint.requests.append(({name.title(): value for name, value in self.headers.items()}, body))
                endpoint._open.wait(20)
                try:
                    self._send(reply)
                except OSError:
                    # The one who asked has gone.
                    self.close_connection = True

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.kind)
                if not reply.endless:
                    self.send_header("Content-Length", str(len(reply.raw) + reply.cut))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if reply.drip:
                    for byte in reply.raw:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        time.sleep(0.05)
                elif reply.endless:
                    while True:
                        self.wfile.write(reply.raw)
                else:
                    self.wfile.write(reply.raw)
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture(autouse=True)
def _no_endpoint(settings: Settings) -> None:
    """Whatever the variables of whoever runs this say."""
    settings.LLM_BASE_URL = settings.LLM_MODEL = settings.LLM_API_KEY = ""


@pytest.fixture
def server(settings: Settings, _no_endpoint: None) -> Iterator[Endpoint]:
    """A running endpoint, which the hub is set to."""
    endpoint = Endpoint()
    thread = threading.Thread(target=endpoint.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    settings.LLM_BASE_URL, settings.LLM_MODEL, settings.LLM_API_KEY = endpoint.url, MODEL, KEY
    yield endpoint
    endpoint.open()
    endpoint.server.shutdown()
    endpoint.server.server_close()
    thread.join()


@pytest.fixture
def endpoint(server: Endpoint, transactional_db: None) -> Iterator[Endpoint]:
    """The same with a database, and without jobs afterwards: procrastinate's tables are not Django's to flush."""
    yield server
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM procrastinate_periodic_defers; DELETE FROM procrastinate_jobs;"
            " DELETE FROM procrastinate_workers"
        )


def create(**fields: Any) -> Question:
    return questions.create(
        topic_id=TopicFactory.create().pk,
        **{"stem": CONTENT.stem, "choices": list(CONTENT.choices), "answer": CONTENT.answer, **fields},
        editor=SYSTEM,
    )


def pending(**fields: Any) -> Question:
    return QuestionFactory.create(explanation_status="pending", **fields)


def jobs() -> list[ProcrastinateJob]:
    return list(ProcrastinateJob.objects.filter(task_name=TASK).order_by("pk"))


def job_ids() -> list[int]:
    """The questions that have a job."""
    return [job.args["question_id"] for job in jobs()]


def state(question: Question) -> tuple[str, str]:
    question.refresh_from_db()
    return question.explanation_status, question.explanation


def make_due() -> None:
    """Let the pause between two attempts be over."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'")


# Settings


@pytest.mark.parametrize(
    "url",
    [
        "localhost:11434",
        "ftp://host/v1",
        "http://",
        "http://me:secret@host/v1",
        "http://host/v1?key=secret",
        "http://[",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_repeating_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_BASE_URL", url)
    with pytest.raises(ImproperlyConfigured, match="LLM_BASE_URL may be") as refused:
        hub_settings._llm_base_url()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["", "http://localhost:11434/v1", "https://api.example.org/v1/", "http://[::1]:8080/v1"]
)
def test_addresses_of_endpoints(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_BASE_URL", f" {url} ")
    assert hub_settings._llm_base_url() == url


@pytest.mark.parametrize("key", ["sk with blanks", "sk\nbreak", "sk-키"])
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_API_KEY", key)
    with pytest.raises(ImproperlyConfigured, match="LLM_API_KEY may be") as refused:
        hub_settings._llm_api_key()
    assert key not in str(refused.value)


def test_an_endpoint_wants_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_settings, "LLM_BASE_URL", "http://localhost/v1")
    monkeypatch.setenv("LLM_MODEL", "")
    with pytest.raises(ImproperlyConfigured, match="LLM_MODEL is not"):
        hub_settings._llm_model()
    monkeypatch.setenv("LLM_MODEL", "x" * 201)
    with pytest.raises(ImproperlyConfigured, match="at most 200 characters"):
        hub_settings._llm_model()


# Asking


def test_the_model_is_given_the_question_its_numbered_choices_and_the_right_answer(server: Endpoint) -> None:
    server.replies = [Reply(completion("\n낙동강이 **510 km**로 가장 길다.\n"))]
    assert ask(CONTENT) == "낙동강이 **510 km**로 가장 길다."
    [(headers, body)] = server.requests
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body["model"] == MODEL
    instructions, question = body["messages"]
    assert (instructions["role"], question["role"]) == ("system", "user")
    assert "Markdown, in the language in which the question itself is written" in instructions["content"]
    assert question["content"] == "한국에서 가장 긴 강은?\n\n1. 한강\n2. 낙동강\n\nThe right choice: 2"


def test_without_a_key_none_is_sent(server: Endpoint, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "of-somebody-else")
    settings.LLM_API_KEY = ""
    assert ask(CONTENT) == "Because."
    [(headers, _body)] = server.requests
    assert "Authorization" not in headers
    assert "of-somebody-else" not in headers.values()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply({"error": {"message": "Slow down."}}, status=429), "refused with status 429: Slow down."),
        (Reply({"error": {"message": "Oh\x00no\n"}}, status=500), "refused with status 500: Oh no"),
        (Reply(raw=b"<html>", kind="text/html", status=502), "refused with status 502"),
        (Reply({"error": {"message": f"Bad key {KEY}!"}}, status=401), "refused with status 401: Bad key …!"),
        (Reply({"error": {"message": "No such model."}}, status=404), "refused with status 404: No such model."),
        (Reply(raw=b'{"choices": [{"mess'), "could not be read"),
        (Reply(raw=b"\xff\xfe\x00"), "could not be read"),
        (Reply(raw=b"<html>", kind="text/html"), "is not a chat completion"),
        (Reply({}), "is not a chat completion"),
        (Reply([]), "is not a chat completion"),
        (Reply("text"), "is not a chat completion"),
        (Reply({"choices": []}), "is not a chat completion"),
        (Reply({"choices": [{"finish_reason": "stop"}]}), "is not a chat completion"),
        (Reply(completion(17)), "is not a chat completion"),
        (Reply(cut=10), "could not be reached, or hung up"),
        (Reply(completion("Because", "length")), "was cut off"),
        (Reply(completion("Because", "max_tokens")), "was cut off"),
        (Reply(completion("Because", "tool_calls")), "says 'tool_calls' instead of \"stop\""),
        (Reply(completion("Because", ["stop"])), "says ['stop'] instead of \"stop\""),
        (Reply(completion("", "content_filter")), "withheld"),
        (Reply(completion("")), "was empty"),
        (Reply(completion(None)), "was empty"),
        (Reply(completion(" \n")), "was empty"),
        (Reply(completion("\u200b\u2060 \ufeff\u00ad\ufe0f\u3164\x1f")), "was empty"),
        (Reply(completion("x" * (TEXT_LIMIT + 1))), "has 20,001 characters"),
        (Reply(completion("a\x00b")), "NUL"),
        (Reply(completion("a\ud800b")), "half a character"),
    ],
)
def test_what_is_no_answer_ends_in_a_sentence(reply: Reply, reason: str, server: Endpoint) -> None:
    server.replies = [reply]
    with pytest.raises(NoAnswer) as refused:
        ask(CONTENT)
    assert reason in str(refused.value)
    assert KEY not in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(server.requests) == 1


def test_an_answer_of_the_greatest_length_is_one(server: Endpoint) -> None:
    server.replies = [Reply(completion("가" * TEXT_LIMIT))]
    assert len(ask(CONTENT)) == TEXT_LIMIT


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_without_end_is_read_up_to_a_limit(status: int, server: Endpoint) -> None:
    server.replies = [Reply(raw=b" " * 65_536, status=status, endless=True)]
    with pytest.raises(NoAnswer, match="is longer than 1,048,576 bytes"):
        ask(CONTENT)


@pytest.mark.parametrize("status", [200, 500])
def test_a_compressed_answer_is_not_unpacked(status: int, server: Endpoint) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    server.replies = [Reply(raw=bomb, status=status, Content_Encoding="gzip")]
    with pytest.raises(NoAnswer, match="is compressed"):
        ask(CONTENT)
    [(headers, _body)] = server.requests
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int, server: Endpoint) -> None:
    server.replies = [Reply(status=status, Location=f"{server.url}/chat/completions"), Reply()]
    with pytest.raises(NoAnswer, match=rf"redirects \(status {status}\)"):
        ask(CONTENT)
    assert len(server.requests) == 1


@pytest.mark.parametrize("choice", [{"finish_reason": None}, {}])
def test_an_ending_may_be_left_out(choice: dict[str, Any], server: Endpoint) -> None:
    server.replies = [Reply({"choices": [{**choice, "message": {"content": "Because."}}]})]
    assert ask(CONTENT) == "Because."


def test_a_long_refusal_is_shortened(server: Endpoint) -> None:
    server.replies = [Reply({"error": {"message": "x" * 10_000}}, status=500)]
    with pytest.raises(NoAnswer) as refused:
        ask(CONTENT)
    assert len(str(refused.value)) == 500


def test_an_endpoint_that_never_answers(server: Endpoint, settings: Settings) -> None:
    settings.LLM_TIMEOUT_SECONDS = 0.2
    server.shut()
    with pytest.raises(NoAnswer, match=r"did not answer within 0\.2 seconds"):
        ask(CONTENT)


def test_an_endpoint_that_drips(server: Endpoint, settings: Settings) -> None:
    settings.LLM_TIMEOUT_SECONDS = 0.3
    server.replies = [Reply(drip=True)]
    with pytest.raises(NoAnswer, match=r"did not answer within 0\.3 seconds"):
        ask(CONTENT)


def test_an_endpoint_that_is_not_there(server: Endpoint, settings: Settings) -> None:
    settings.LLM_BASE_URL = "http://127.0.0.1:1/v1"
    with pytest.raises(NoAnswer, match="could not be reached"):
        ask(CONTENT)


# Asked for in the transaction of the change


def test_a_new_question_has_a_job_in_the_same_transaction(endpoint: Endpoint) -> None:
    with transaction.atomic():
        question = create()
        assert job_ids() == [question.pk]
        transaction.set_rollback(True)
    assert job_ids() == []
    question = create()
    [job] = jobs()
    assert (job.args, job.queue_name, job.status) == ({"question_id": question.pk}, QUEUE, "todo")
    assert state(question) == ("pending", "")
    assert outbox()["explanation", question.pk] is None


def test_without_an_endpoint_nothing_is_asked_for(endpoint: Endpoint, settings: Settings) -> None:
    settings.LLM_BASE_URL = ""
    question = create()
    assert state(question) == ("none", "")
    assert job_ids() == []
    with pytest.raises(Conflict, match="set LLM_BASE_URL"):
        request_explanation(question_id=question.pk)
    with pytest.raises(Conflict, match="set LLM_BASE_URL"):
        request_explanations(question_ids=[question.pk])
    assert all(name in str(LLM_HINT) for name in ("LLM_BASE_URL", "LLM_MODEL", "LLM_API_KEY"))
    assert state(question) == ("none", "")


def test_nothing_is_asked_for_where_an_explanation_comes_along_or_by_the_thousand(endpoint: Endpoint) -> None:
    assert state(create(explanation_status="none")) == ("none", "")
    assert state(create(explanation="Because.", explanation_status="ready")) == ("ready", "Because.")
    assert job_ids() == []


def test_a_refused_question_leaves_no_job(endpoint: Endpoint) -> None:
    with pytest.raises(NotFound):
        questions.create(topic_id=2**40, stem="Which?", choices=["a", "b"], answer=1, editor=SYSTEM)
    assert job_ids() == []


def test_many_are_asked_for_at_once_except_where_that_makes_no_sense(endpoint: Endpoint) -> None:
    none, failed = QuestionFactory.create(), QuestionFactory.create(explanation_status="failed", explanation_attempts=5)
    ready = QuestionFactory.create(explanation_status="ready", explanation="Because.")
    deleted = QuestionFactory.create(deleted_at=timezone.now())
    under_way = create()
    ids = [question.pk for question in (none, failed, ready, deleted, under_way)]
    forget()
    assert request_explanations(question_ids=[*ids, 2**40]) == [none.pk, failed.pk]
    assert sorted(job_ids()) == sorted([none.pk, failed.pk, under_way.pk])
    assert outbox() == {("explanation", none.pk): None, ("explanation", failed.pk): None}
    assert state(ready) == ("ready", "Because.")
    failed.refresh_from_db()
    assert (failed.explanation_status, failed.explanation_attempts) == ("pending", 0)
    assert request_explanations(question_ids=ids) == []
    assert request_explanations(question_ids=[]) == []


@pytest.mark.parametrize("size", [1, 20])
def test_asking_for_many_costs_as_much_as_asking_for_one(
    size: int, endpoint: Endpoint, django_assert_num_queries: Any
) -> None:
    topic = TopicFactory.create()
    ids = [QuestionFactory.create(topic=topic).pk for _ in range(size)]
    with transaction.atomic(), django_assert_num_queries(6):
        assert request_explanations(question_ids=ids) == ids


def test_one_is_asked_for_and_asking_again_changes_nothing(endpoint: Endpoint) -> None:
    question = QuestionFactory.create()
    assert request_explanation(question_id=question.pk) is True
    assert state(question) == ("pending", "")
    [job] = jobs()
    assert request_explanation(question_id=question.pk) is False
    assert state(question) == ("pending", "")
    assert jobs() == [job]


def test_a_question_whose_job_was_lost_can_be_asked_for_again(endpoint: Endpoint) -> None:
    lost = QuestionFactory.create(explanation_status="running", explanation_attempts=3)
    assert request_explanation(question_id=lost.pk)
    lost.refresh_from_db()
    assert lost.explanation_attempts == 0
    assert job_ids() == [lost.pk]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"deleted_at": timezone.now()}, "deleted"),
        ({"explanation_status": "ready", "explanation": "Because."}, "withdraw it first"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_a_sentence(
    fields: dict[str, Any], sentence: str, endpoint: Endpoint
) -> None:
    question = QuestionFactory.create(**fields)
    with pytest.raises(Conflict, match=sentence):
        request_explanation(question_id=question.pk)
    with pytest.raises(NotFound):
        request_explanation(question_id=2**40)
    assert job_ids() == []


def test_an_edit_of_the_content_asks_anew_and_any_other_edit_does_not(endpoint: Endpoint) -> None:
    question = create()
    [job] = jobs()
    questions.update(key=question.pk, changes={"source": "Atlas", "stem": question.stem}, editor=SYSTEM)
    assert jobs() == [job]
    for changes in ({"stem": "Which?"}, {"choices": ["a", "b", "c"]}, {"answer": 1}):
        questions.update(key=question.pk, changes=changes, editor=SYSTEM)
        [new] = jobs()
        assert new.pk > job.pk
        job = new
    ready = QuestionFactory.create(explanation_status="ready", explanation="Because.")
    questions.update(key=ready.pk, changes={"stem": "Which?"}, editor=SYSTEM)
    assert state(ready) == ("ready", "Because.")
    assert jobs() == [job]


# The work


def test_an_explanation_is_stored_and_published_and_nothing_before(
    endpoint: Endpoint, drain: Callable[[], Any]
) -> None:
    question = create()
    drain()
    assert set(PublishedItem.objects.values_list("kind", flat=True)) == {"question"}
    assert explain(question.pk) == "explained"
    assert state(question) == ("ready", "Because.")
    assert (question.explanation_generator, question.explanation_error) == (MODEL, "")
    assert question.explanation_attempts == 1
    drain()
    item = PublishedItem.objects.get(kind="explanation")
    assert (item.source_id, item.payload["body"], item.deleted) == (question.pk, "Because.", False)
    assert explain(question.pk) == "nothing to do"
    assert len(endpoint.requests) == 1


def test_a_question_that_waits_for_review_is_explained_and_shown_later(endpoint: Endpoint) -> None:
    question = create(needs_review=True)
    assert explain(question.pk) == "explained"
    assert outbox()["explanation", question.pk] is None
    questions.approve(versions=versions_of(Question, [question.pk]), editor=SYSTEM)
    assert outbox()["explanation", question.pk] == {"question_id": question.pk, "body": "Because."}


@pytest.mark.parametrize("status", ["none", "ready", "failed"])
def test_a_job_too_many_does_nothing(status: str, endpoint: Endpoint) -> None:
    question = QuestionFactory.create(explanation_status=status, explanation="Mine.")
    assert explain(question.pk) == "nothing to do"
    assert explain(2**40) == "nothing to do"
    assert state(question) == (status, "Mine.")
    assert endpoint.requests == []


def test_a_deleted_question_is_not_explained_and_can_be_asked_for_when_restored(endpoint: Endpoint) -> None:
    question = create()
    questions.delete(keys=[question.pk], editor=SYSTEM)
    assert explain(question.pk) == "nothing to do"
    assert endpoint.requests == []
    questions.restore(keys=[question.pk], editor=SYSTEM)
    assert state(question) == ("none", "")
    assert request_explanations(question_ids=[question.pk]) == [question.pk]


def test_the_endpoint_is_not_asked_inside_a_transaction(endpoint: Endpoint) -> None:
    question = create()
    with transaction.atomic(), pytest.raises(RuntimeError, match="inside a transaction"):
        explain(question.pk)
    assert endpoint.requests == []


def in_flight(question: Question, endpoint: Endpoint, in_thread: Start) -> Future[Any]:
    """A job that has asked and waits for the answer."""
    endpoint.shut()
    job = in_thread(explain, question.pk)
    wait_until(lambda: bool(endpoint.requests))
    assert state(question)[0] == "running"
    return job


def test_nothing_is_locked_while_the_endpoint_is_asked_and_a_person_wins(endpoint: Endpoint, in_thread: Start) -> None:
    question = create()
    job = in_flight(question, endpoint, in_thread)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '200ms'")
        try:
            questions.set_explanation(key=question.pk, body="Mine.", editor=SYSTEM)
        finally:
            cursor.execute("RESET lock_timeout")
    endpoint.open()
    assert job.result() == "void"
    assert state(question) == ("ready", "Mine.")
    assert question.explanation_generator == ""
    assert outbox()["explanation", question.pk] == {"question_id": question.pk, "body": "Mine."}


@pytest.mark.parametrize("reply", [Reply(), Reply(status=500)], ids=["answer", "failure"])
def test_an_edit_makes_the_answer_in_flight_void_and_asks_again(
    reply: Reply, endpoint: Endpoint, in_thread: Start
) -> None:
    question = create()
    endpoint.replies = [reply, Reply(completion("Because of the new stem."))]
    job = in_flight(question, endpoint, in_thread)
    questions.update(key=question.pk, changes={"stem": "Which one?"}, editor=SYSTEM)
    endpoint.open()
    assert job.result() == "void"
    assert state(question) == ("pending", "")
    assert question.explanation_attempts == 0
    assert job_ids() == [question.pk]
    assert explain(question.pk) == "explained"
    assert state(question) == ("ready", "Because of the new stem.")
    assert endpoint.prompts()[1].startswith("Which one?")


def test_an_edit_past_the_services_is_noticed_as_well(endpoint: Endpoint, in_thread: Start) -> None:
    question = create()
    job = in_flight(question, endpoint, in_thread)
    ProcrastinateJob.objects.all()._raw_delete("default")
    Question.objects.filter(pk=question.pk).update(answer=1)
    endpoint.open()
    assert job.result() == "void"
    assert state(question) == ("pending", "")
    assert job_ids() == [question.pk]


def test_an_edit_and_its_undoing_leave_the_answer_valid(endpoint: Endpoint, in_thread: Start) -> None:
    question = create()
    job = in_flight(question, endpoint, in_thread)
    for stem in ("Which?", CONTENT.stem):
        questions.update(key=question.pk, changes={"stem": stem}, editor=SYSTEM)
    endpoint.open()
    assert job.result() == "explained"
    assert explain(question.pk) == "nothing to do"
    assert len(endpoint.requests) == 1


def test_a_withdrawn_request_takes_no_answer(endpoint: Endpoint, in_thread: Start) -> None:
    question = create()
    job = in_flight(question, endpoint, in_thread)
    questions.clear_explanation(key=question.pk, editor=SYSTEM)
    endpoint.open()
    assert job.result() == "void"
    assert state(question) == ("none", "")


def test_a_question_deleted_meanwhile_keeps_its_answer_but_shows_it_to_nobody(
    endpoint: Endpoint, in_thread: Start
) -> None:
    question = create()
    job = in_flight(question, endpoint, in_thread)
    questions.delete(keys=[question.pk], editor=SYSTEM)
    endpoint.open()
    assert job.result() == "explained"
    assert outbox()["explanation", question.pk] is None
    questions.restore(keys=[question.pk], editor=SYSTEM)
    assert outbox()["explanation", question.pk] == {"question_id": question.pk, "body": "Because."}


def test_a_question_unapproved_meanwhile_keeps_its_answer_until_it_is_approved_again(
    endpoint: Endpoint, in_thread: Start
) -> None:
    question = create()
    job = in_flight(question, endpoint, in_thread)
    questions.unapprove(keys=[question.pk], editor=SYSTEM)
    endpoint.open()
    assert job.result() == "explained"
    assert outbox()["explanation", question.pk] is None
    questions.approve(versions=versions_of(Question, [question.pk]), editor=SYSTEM)
    assert outbox()["explanation", question.pk] == {"question_id": question.pk, "body": "Because."}


# Failures


def test_failed_attempts_are_repeated_with_growing_pauses_and_end_in_the_reason(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    question = create()
    endpoint.replies = [Reply({"error": {"message": f"Overloaded, {KEY}."}}, status=500)]
    pauses = []
    with caplog.at_level(logging.DEBUG):
        for attempt in range(1, ATTEMPTS):
            before = timezone.now()
            assert explain(question.pk) == "waits for another attempt"
            [job] = jobs()
            assert job.scheduled_at is not None
            pauses.append((job.scheduled_at - before).total_seconds())
            assert state(question) == ("pending", "")
            assert question.explanation_attempts == attempt
            assert question.explanation_error == "The endpoint refused with status 500: Overloaded, …."
        assert explain(question.pk) == "failed"
    assert [10 <= pauses[0] <= 16, 40 <= pauses[1] <= 61, 160 <= pauses[2] <= 241, 640 <= pauses[3] <= 961] == [
        True
    ] * 4
    assert state(question) == ("failed", "")
    assert question.explanation_error == "The endpoint refused with status 500: Overloaded, …."
    assert outbox()["explanation", question.pk] is None
    assert "Overloaded" in caplog.text
    assert KEY not in caplog.text
    endpoint.replies = [Reply()]
    assert explain(question.pk) == "nothing to do"
    assert request_explanations(question_ids=[question.pk]) == [question.pk]
    assert explain(question.pk) == "explained"
    assert (state(question)[0], question.explanation_attempts, question.explanation_error) == ("ready", 1, "")


def test_an_endpoint_that_says_when_to_come_back_is_left_alone_until_then(endpoint: Endpoint) -> None:
    question = create()
    endpoint.replies = [Reply(status=429, Retry_After="300"), Reply(status=429, Retry_After="99999999")]
    for least, most in ((300, 451), (3600, 5401)):
        before = timezone.now()
        explain(question.pk)
        [job] = jobs()
        assert job.scheduled_at is not None
        assert least <= (job.scheduled_at - before).total_seconds() <= most


def test_an_edit_does_not_wait_for_the_pause_of_the_former_content(endpoint: Endpoint) -> None:
    question = create()
    endpoint.replies = [Reply(status=500), Reply()]
    explain(question.pk)
    questions.update(key=question.pk, changes={"stem": "Which?"}, editor=SYSTEM)
    [job] = jobs()
    assert job.scheduled_at is None
    question.refresh_from_db()
    assert (question.explanation_attempts, question.explanation_error) == (0, "")


def test_whoever_asks_again_cuts_the_pause_short_and_has_all_attempts_before_them(endpoint: Endpoint) -> None:
    question = create()
    endpoint.replies = [Reply(status=500), Reply()]
    explain(question.pk)
    [paused] = jobs()
    assert request_explanations(question_ids=[question.pk]) == [question.pk]
    [job] = jobs()
    assert job.pk != paused.pk
    assert job.scheduled_at is None
    assert state(question) == ("pending", "")
    assert (question.explanation_attempts, question.explanation_error) == (0, "")
    assert request_explanations(question_ids=[question.pk]) == []


def test_an_answer_that_the_database_refuses_is_a_failed_attempt(endpoint: Endpoint) -> None:
    question = create()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE memocards_question ADD CONSTRAINT no_becauses CHECK (explanation <> 'Because.')")
        try:
            assert explain(question.pk) == "waits for another attempt"
        finally:
            connection.cursor().execute("ALTER TABLE memocards_question DROP CONSTRAINT no_becauses")
    assert state(question) == ("pending", "")
    assert "The database refused the answer" in question.explanation_error
    assert "no_becauses" in question.explanation_error


def test_a_worker_that_dies_each_time_uses_up_the_attempts(endpoint: Endpoint) -> None:
    question = QuestionFactory.create(explanation_status="running", explanation_attempts=ATTEMPTS)
    assert explain(question.pk) == "nothing to do"
    assert state(question) == ("failed", "")
    assert question.explanation_error == "The worker was stopped each time before an answer came."


def test_an_endpoint_taken_away_meanwhile_is_a_failed_attempt(endpoint: Endpoint, settings: Settings) -> None:
    question = create()
    settings.LLM_BASE_URL = ""
    assert explain(question.pk) == "waits for another attempt"
    question.refresh_from_db()
    assert question.explanation_error == "No endpoint is set."


@pytest.mark.parametrize(
    ("worker", "started_seconds_ago", "stalled"),
    [("alive", 1, False), ("silent", 1, True), ("gone", 1, True), ("alive", 10_000, True)],
)
def test_a_job_that_nobody_works_on_waits_again(
    worker: str, started_seconds_ago: int, stalled: bool, endpoint: Endpoint
) -> None:
    create()
    silence = timedelta(seconds=60 if worker == "silent" else 0)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (%s) RETURNING id", [timezone.now() - silence]
        )
        worker_id = cursor.fetchone()[0] if worker != "gone" else None
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s", [worker_id])
        cursor.execute(
            "UPDATE procrastinate_events SET at = %s WHERE type = 'started'",
            [timezone.now() - timedelta(seconds=started_seconds_ago)],
        )
    assert retry_stalled() == stalled
    assert jobs()[0].status == ("todo" if stalled else "doing")


# The API


def client_with(*codenames: str) -> Client:
    user = UserFactory.create(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def test_staff_ask_for_an_explanation(endpoint: Endpoint, settings: Settings) -> None:
    question = QuestionFactory.create()
    path = f"/api/questions/{question.pk}/explanation/request"
    assert Client().post(path).status_code == 401
    assert client_with("view_question").post(path).status_code == 403
    staff = client_with("change_question")
    assert staff.post("/api/questions/1099511627776/explanation/request").status_code == 404
    answer = staff.post(path)
    assert (answer.status_code, answer.json()["explanation_status"]) == (200, "pending")
    assert job_ids() == [question.pk]
    settings.LLM_BASE_URL = ""
    refused = staff.post(path)
    assert (refused.status_code, refused.json()["detail"]) == (409, str(LLM_HINT))


# The worker


@pytest.fixture
def start(endpoint: Endpoint) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the worker as a supervisor does, in the test's database; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def launch(**environment: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "memocards.explaining"],
                cwd=django_settings.BASE_DIR,
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": "tests.settings",
                    "STUDYHUB_TEST_DATABASE": str(connection.settings_dict["NAME"]),
                    "LLM_BASE_URL": endpoint.url,
                    "LLM_MODEL": MODEL,
                    "LLM_API_KEY": KEY,
                    **environment,
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield launch
    endpoint.open()
    for process in started:
        process.kill()
        process.communicate()


def test_a_worker_explains_what_was_asked_before_and_after_its_start_and_repeats_what_failed(
    endpoint: Endpoint, start: Callable[..., subprocess.Popen[str]]
) -> None:
    endpoint.replies = [Reply({"error": {"message": f"No, {KEY}."}}, status=500), Reply()]
    first = create()
    worker = start()
    wait_until(lambda: state(first)[0] == "pending" and first.explanation_attempts == 1)
    wait_until(lambda: [job.status for job in jobs()] == ["todo"])
    make_due()
    second = create()
    wait_until(lambda: state(first)[0] == state(second)[0] == "ready")
    wait_until(lambda: not jobs())
    worker.terminate()
    _output, log = worker.communicate(timeout=10)
    assert worker.returncode == 0, log
    assert f"Question {first.pk}: explained by {MODEL}." in log
    assert f"Question {first.pk}: attempt 1 of 5: The endpoint refused with status 500: No, …." in log
    assert KEY not in log
    assert "Traceback" not in log


def test_sigterm_finishes_the_job_in_hand(endpoint: Endpoint, start: Callable[..., subprocess.Popen[str]]) -> None:
    endpoint.shut()
    question, later = create(), pending()
    worker = start()
    wait_until(lambda: bool(endpoint.requests))
    worker.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(timeout=0.5)
    endpoint.open()
    _output, log = worker.communicate(timeout=10)
    assert worker.returncode == 0, log
    assert state(question) == ("ready", "Because.")
    assert state(later)[0] == "pending"
    assert jobs() == []


def test_a_second_sigterm_forces_the_exit(endpoint: Endpoint, start: Callable[..., subprocess.Popen[str]]) -> None:
    endpoint.shut()
    create()
    worker = start()
    wait_until(lambda: bool(endpoint.requests))
    worker.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(timeout=0.5)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=5) == -signal.SIGTERM


def test_a_job_whose_worker_was_killed_is_done_by_another(
    endpoint: Endpoint, start: Callable[..., subprocess.Popen[str]]
) -> None:
    endpoint.shut()
    question = create()
    killed = start()
    wait_until(lambda: bool(endpoint.requests))
    killed.kill()
    killed.wait()
    endpoint.open()
    assert state(question) == ("running", "")
    # Half a minute passes without a heartbeat, and the minute of the last look is over.
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute'")
        cursor.execute("DELETE FROM procrastinate_periodic_defers")
    start()
    wait_until(lambda: state(question) == ("ready", "Because."))
    assert question.explanation_attempts == 2
    assert len(endpoint.requests) == 2


def test_a_worker_outlives_its_connections_to_the_database(
    endpoint: Endpoint, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = create()
    worker = start()
    wait_until(lambda: state(first)[0] == "ready")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    second = create()
    wait_until(lambda: state(second)[0] == "ready")
    assert worker.poll() is None


def test_without_an_endpoint_the_worker_says_how_to_set_one(start: Callable[..., subprocess.Popen[str]]) -> None:
    worker = start(LLM_BASE_URL="")
    _output, log = worker.communicate(timeout=20)
    assert (worker.returncode, log.strip()) == (1, str(LLM_HINT))
