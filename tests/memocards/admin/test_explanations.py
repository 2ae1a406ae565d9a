"""Explanations in the back office: the button that asks for one, what is said of it, and the list of jobs."""

from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django import Settings

from kit.transactions import in_transaction
from memocards.explaining.requesting import LLM_HINT, TASK, defer
from memocards.models import ExplanationJob, Question
from publish.models import PublishOutbox
from tests.factories import QuestionFactory, UserFactory
from tests.memocards.admin.test_content import Form, act, list_of, messages_of, opened, page_of
from tests.memocards.noted import noted

pytestmark = pytest.mark.django_db
# A refusal rolls back the request's own transaction, which must not be the test's.
refused = pytest.mark.django_db(transaction=True)

WRITE, AGAIN = "Write explanation", "Try explanation again"
FAILED = {"explanation_status": "failed", "explanation_attempts": 5, "explanation_error": "It said 500: Out of memory."}
PAUSED = {"explanation_status": "pending", "explanation_attempts": 2, "explanation_error": "It said 429: Slow down."}


@pytest.fixture(autouse=True)
def endpoint(settings: Settings) -> Settings:
    """One is set, which nobody asks here."""
    settings.LLM_BASE_URL, settings.LLM_MODEL = "http://localhost:9/v1", "wise-owl"
    return settings


def client_with(*codenames: str) -> Client:
    user = UserFactory.create(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, question: Question) -> str:
    return unescape(client.get(page_of(question)).content.decode())


def press(client: Client, question: Question, **edits: str) -> Any:
    form = Form(client.get(page_of(question)).content.decode()).data
    return client.post(page_of(question), form | edits | {"_explain": WRITE})


@in_transaction
def job_for(question: Question, *, pause: timedelta | None = None) -> ExplanationJob:
    defer([question.pk], not_before=timezone.now() + pause if pause else None)
    job: ExplanationJob = ExplanationJob.objects.get(args__question_id=question.pk)
    return job


def start(job: ExplanationJob) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", [job.pk])


# The page of a question


@pytest.mark.parametrize(
    ("fields", "button"),
    [
        ({}, WRITE),
        (FAILED, AGAIN),
        (PAUSED, AGAIN),
        ({"explanation_status": "pending"}, ""),
        ({"explanation_status": "running", "explanation_attempts": 1}, ""),
        ({"explanation_status": "ready", "explanation": "Because."}, ""),
        ({"deleted_at": timezone.now()}, ""),
    ],
)
def test_a_button_is_there_where_an_explanation_can_be_asked_for(
    fields: dict[str, Any], button: str, admin_client: Client
) -> None:
    html = page(admin_client, QuestionFactory.create(**fields))
    assert [name for name in (WRITE, AGAIN) if f'value="{name}"' in html] == [button] * bool(button)


@pytest.mark.parametrize("fields", [{}, FAILED, PAUSED])
def test_without_an_endpoint_the_page_says_how_to_set_one_and_has_no_button(
    fields: dict[str, Any], admin_client: Client, endpoint: Settings
) -> None:
    endpoint.LLM_BASE_URL = ""
    html = page(admin_client, QuestionFactory.create(**fields))
    assert str(LLM_HINT) in html
    assert 'name="_explain"' not in html


def test_a_new_question_is_told_what_will_write_its_explanation(admin_client: Client, endpoint: Settings) -> None:
    add = "/admin/memocards/question/add/"
    assert "Leave the explanation empty, and a language model writes it." in admin_client.get(add).content.decode()
    endpoint.LLM_BASE_URL = ""
    assert str(LLM_HINT) in unescape(admin_client.get(add).content.decode())


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "None"),
        (FAILED, "Failed · 5 of 5 attempts failed · It said 500: Out of memory."),
        (PAUSED, "Pending · 2 of 5 attempts failed · It said 429: Slow down."),
        ({"explanation_status": "pending"}, "Pending"),
        (PAUSED | {"explanation_status": "running", "explanation_attempts": 3}, "Running · attempt 3 of 5"),
        ({"explanation_status": "ready", "explanation": "Because.", "explanation_generator": "wise-owl"},
         "Ready · written by wise-owl"),
        ({"explanation_status": "ready", "explanation": "Because."}, "Ready"),
    ],
)  # fmt: skip
def test_a_line_says_how_far_the_explanation_is(fields: dict[str, Any], line: str, admin_client: Client) -> None:
    assert f'<span class="standing">{line}</span>' in page(admin_client, QuestionFactory.create(**fields))


def test_the_page_says_when_the_next_attempt_is_and_that_no_worker_runs(admin_client: Client) -> None:
    question = QuestionFactory.create(**PAUSED)
    job_for(question, pause=timedelta(minutes=10))
    html = page(admin_client, question)
    assert "Next attempt: " in html
    assert "No worker runs." in html
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (%s)", [timezone.now()])
    assert "No worker runs." not in page(admin_client, question)


def test_the_button_saves_the_edit_asks_and_shows_the_page_again(admin_client: Client) -> None:
    question = QuestionFactory.create(**FAILED)
    response = press(admin_client, question, stem="Why?")
    assert (response.status_code, response["Location"]) == (302, page_of(question))
    assert messages_of(response)[-1] == "Explanation asked for."
    question.refresh_from_db()
    assert (question.stem, question.explanation_status, question.explanation_attempts) == ("Why?", "pending", 0)
    assert [job.args for job in ExplanationJob.objects.filter(task_name=TASK)] == [{"question_id": question.pk}]
    assert noted(object_id=str(question.pk)).count("Explanation asked for.") == 1


def test_an_emptied_explanation_is_withdrawn_and_written_anew(admin_client: Client) -> None:
    question = QuestionFactory.create(explanation_status="ready", explanation="Because.")
    press(admin_client, question, explanation="")
    question.refresh_from_db()
    assert (question.explanation_status, question.explanation) == ("pending", "")
    assert PublishOutbox.objects.filter(kind="explanation", source_id=question.pk).latest("id").deleted


@refused
def test_whoever_wrote_one_is_not_overwritten_and_keeps_their_text(admin_client: Client) -> None:
    question = QuestionFactory.create()
    html = unescape(press(admin_client, question, explanation="Mine.").content.decode())
    assert "This question has an explanation already." in html
    assert "Mine." in html
    question.refresh_from_db()
    assert question.explanation_status == "none"
    assert not ExplanationJob.objects.exists()


@refused
def test_an_endpoint_taken_away_meanwhile_is_told(admin_client: Client, endpoint: Settings) -> None:
    question = QuestionFactory.create()
    form = opened(admin_client, page_of(question))
    endpoint.LLM_BASE_URL = ""
    html = unescape(admin_client.post(page_of(question), form | {"stem": "typed", "_explain": WRITE}).content.decode())
    assert str(LLM_HINT) in html
    assert "typed" in html


@refused
def test_whoever_may_not_change_questions_cannot_ask(admin_client: Client) -> None:
    question = QuestionFactory.create()
    form = opened(admin_client, page_of(question))
    reader = client_with("view_question")
    assert 'name="_explain"' not in page(reader, question)
    assert reader.post(page_of(question), form | {"_explain": WRITE}).status_code == 403
    assert not ExplanationJob.objects.exists()


def test_questions_are_listed_by_the_state_of_their_explanation(admin_client: Client) -> None:
    failed = QuestionFactory.create(**FAILED)
    QuestionFactory.create()
    response = admin_client.get(list_of(Question), {"state": "live", "explanation_status__exact": "failed"})
    assert list(response.context["cl"].result_list) == [failed]


def test_the_review_desk_says_how_far_the_explanation_is(admin_client: Client) -> None:
    QuestionFactory.create(needs_review=True, **FAILED)
    html = unescape(admin_client.get("/admin/review/").content.decode())
    assert "Explanation: Failed · 5 of 5 attempts failed · It said 500: Out of memory." in " ".join(html.split())


# The list of jobs


def test_procrastinates_own_list_is_not_there(admin_client: Client) -> None:
    assert not admin.site.is_registered(ProcrastinateJob)
    assert admin_client.get("/admin/procrastinate/procrastinatejob/").status_code == 404


def test_the_list_shows_what_waits_pauses_and_is_in_hand(admin_client: Client) -> None:
    waiting, paused = QuestionFactory.create(explanation_status="pending"), QuestionFactory.create(**PAUSED)
    running = QuestionFactory.create(explanation_status="running", explanation_attempts=1)
    jobs = [job_for(waiting), job_for(paused, pause=timedelta(minutes=10)), job_for(running)]
    start(jobs[2])
    html = unescape(admin_client.get(list_of(ExplanationJob)).content.decode())
    for question in (waiting, paused, running):
        assert f'href="{page_of(question)}"' in html
    for cell in ("Waits for a worker", "Pauses after a failed attempt", "In hand", "2 / 5", "It said 429: Slow down."):
        assert f">{cell}</td>" in html

    def shown(**query: str) -> list[int]:
        return [job.pk for job in admin_client.get(list_of(ExplanationJob), query).context["cl"].result_list]

    assert shown() == [jobs[2].pk, jobs[1].pk, jobs[0].pk]
    assert [shown(state=name) for name in ("waiting", "paused", "running")] == [[job.pk] for job in jobs]
    assert shown(state="ended") == []
    assert shown(q=str(paused.pk)) == [jobs[1].pk]
    assert shown(q="stem") == []


def test_the_page_of_a_job_lists_its_events(admin_client: Client) -> None:
    job = job_for(QuestionFactory.create(explanation_status="running", explanation_attempts=1))
    start(job)
    html = admin_client.get(page_of(job)).content.decode()
    assert html.index("asked for: ") < html.index("started: ")
    assert "style=" not in html


def test_a_job_whose_question_is_gone_is_shown_all_the_same(admin_client: Client) -> None:
    question = QuestionFactory.create(explanation_status="pending")
    job = job_for(question)
    question.delete()
    assert admin_client.get(list_of(ExplanationJob)).status_code == 200
    assert admin_client.get(page_of(job)).status_code == 200


def test_a_page_of_jobs_costs_the_same_however_many_it_shows(admin_client: Client) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(list_of(ExplanationJob))
        return len(queries)

    job_for(QuestionFactory.create(explanation_status="pending"))
    before = statements()
    for question in QuestionFactory.create_batch(10, **PAUSED):
        job_for(question, pause=timedelta(minutes=1))
    assert statements() == before


def test_a_pause_is_cut_short_and_what_is_in_hand_left_alone(admin_client: Client) -> None:
    waiting, paused = QuestionFactory.create(explanation_status="pending"), QuestionFactory.create(**PAUSED)
    running = QuestionFactory.create(explanation_status="running", explanation_attempts=1)
    jobs = [job_for(waiting), job_for(paused, pause=timedelta(minutes=10)), job_for(running)]
    start(jobs[2])
    assert act(admin_client, ExplanationJob, "try_now", *jobs) == ["Explanation asked for. 1 of 3 rows."]
    paused.refresh_from_db()
    assert (paused.explanation_status, paused.explanation_attempts) == ("pending", 0)
    assert ExplanationJob.objects.get(args__question_id=paused.pk).scheduled_at is None
    assert set(ExplanationJob.objects.values_list("pk", flat=True)) > {jobs[0].pk, jobs[2].pk}
    assert "Explanation asked for." in noted(object_id=str(paused.pk))


@refused
def test_without_an_endpoint_no_pause_is_cut_short(admin_client: Client, endpoint: Settings) -> None:
    job = job_for(QuestionFactory.create(**PAUSED), pause=timedelta(minutes=10))
    endpoint.LLM_BASE_URL = ""
    assert act(admin_client, ExplanationJob, "try_now", job) == [str(LLM_HINT)]
    assert list(ExplanationJob.objects.all()) == [job]


def test_whoever_may_see_questions_sees_their_jobs_and_nobody_else_does() -> None:
    job = job_for(QuestionFactory.create(**PAUSED), pause=timedelta(minutes=10))
    reader, stranger = client_with("view_question"), client_with("view_memocard", "view_topic")
    assert reader.get(list_of(ExplanationJob)).status_code == 200
    assert reader.get(page_of(job)).status_code == 200
    assert list_of(ExplanationJob) in reader.get("/admin/").content.decode()
    # To ask again is a change of the question.
    assert "try_now" not in reader.get(list_of(ExplanationJob)).content.decode()
    act(reader, ExplanationJob, "try_now", job)
    assert list(ExplanationJob.objects.all()) == [job]
    assert stranger.get(list_of(ExplanationJob)).status_code == 403
    assert stranger.get(page_of(job)).status_code == 403
    assert list_of(ExplanationJob) not in stranger.get("/admin/").content.decode()


def test_jobs_are_neither_added_nor_changed_nor_deleted_by_hand(admin_client: Client) -> None:
    job = job_for(QuestionFactory.create(explanation_status="pending"))
    for address in (list_of(ExplanationJob) + "add/", page_of(job).replace("change", "delete")):
        assert admin_client.get(address).status_code == 403
    assert admin_client.post(page_of(job), {"status": "failed"}).status_code == 403
