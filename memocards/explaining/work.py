"""What a job does: claim the question, ask the endpoint, store what came. Three steps, two short transactions.

Nothing is locked while the endpoint is asked. So both transactions look at the row again, under its lock: a person's
explanation, a withdrawal or an edit in the meantime makes the answer void. The row counts the attempts, so that one
that ended with the worker's death counts as well.
"""

import logging
import random
from datetime import timedelta
from typing import Literal

from django.conf import settings
from django.db import DataError, IntegrityError, connection
from django.db.models import Max, Q
from django.utils import timezone

from kit.transactions import in_transaction
from memocards.errors import Invalid
from memocards.models import ExplanationStatus, Question
from memocards.writing import save_valid
from publish.services import enqueue_explanation_publish

from .asking import Content, NoAnswer, ask
from .requesting import TASK, ask_for, content_of, defer, is_under_way, job_manager

logger = logging.getLogger(__name__)

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 10
# 10 s, 40 s, 160 s, 640 s
PAUSE_FACTOR = 4
# procrastinate's worker sends one every 10 seconds.
HEARTBEAT_MISSED_SECONDS = 30
# What a job may take besides the endpoint's answer.
JOB_MARGIN_SECONDS = 60

Ending = Literal["nothing to do", "explained", "void", "waits for another attempt", "failed"]


def explain(question_id: int) -> Ending:
    """One job: one attempt at most. Call it outside any transaction."""
    if connection.in_atomic_block:
        raise RuntimeError("An endpoint may take minutes to answer: do not ask it inside a transaction.")
    content = _claim(question_id)
    if content is None:
        return "nothing to do"
    # Minutes later it might be dead, and with it the answer lost.
    connection.close()
    try:
        return _store(question_id, content, ask(content))
    except NoAnswer as error:
        return _record_failure(question_id, content, str(error), error.wait_seconds)
    except (Invalid, IntegrityError, DataError) as error:
        refusal = NoAnswer(f"The database refused the answer: {str(error).partition(chr(10))[0]}")
        return _record_failure(question_id, content, str(refusal), refusal.wait_seconds)


def retry_stalled() -> int:
    """Give back the jobs that nobody works on any more. Returns their number.

    Either their worker is gone, or it could not say that a job had ended, because the database was away just then.
    """
    from procrastinate.contrib.django.models import ProcrastinateJob

    now = timezone.now()
    jobs = (
        ProcrastinateJob.objects.filter(task_name=TASK, status="doing")
        .annotate(started_at=Max("procrastinateevent__at", filter=Q(procrastinateevent__type="started")))
        .filter(
            Q(worker__isnull=True)
            | Q(worker__last_heartbeat__lt=now - timedelta(seconds=HEARTBEAT_MISSED_SECONDS))
            | Q(started_at__lt=now - timedelta(seconds=settings.LLM_TIMEOUT_SECONDS + JOB_MARGIN_SECONDS))
        )
    )
    stalled = list(jobs.order_by("pk").values_list("pk", flat=True))
    for job_id in stalled:
        job_manager().retry_job_by_id(job_id, retry_at=now)
        logger.warning("Explanations: job %s had lost its worker, and waits again.", job_id)
    return len(stalled)


def worker_is_alive() -> bool:
    """Whether a worker said within the last half a minute that it is there."""
    from procrastinate.contrib.django.models import ProcrastinateWorker

    least = timezone.now() - timedelta(seconds=HEARTBEAT_MISSED_SECONDS)
    return ProcrastinateWorker.objects.filter(last_heartbeat__gte=least).exists()


@in_transaction
def _claim(question_id: int) -> Content | None:
    """What to explain, with the attempt counted; None where there is nothing to do."""
    question = _lock(question_id)
    if question is None or not is_under_way(question):
        return None
    if question.deleted_at:
        # Restored, it can be asked for again.
        _save(question, status=ExplanationStatus.NONE, error="")
        return None
    if question.explanation_attempts >= ATTEMPTS:
        reason = question.explanation_error or "The worker was stopped each time before an answer came."
        _save(question, status=ExplanationStatus.FAILED, error=reason)
        return None
    question.explanation_attempts += 1
    _save(question, status=ExplanationStatus.RUNNING, error=question.explanation_error)
    return content_of(question)


@in_transaction
def _store(question_id: int, content: Content, body: str) -> Ending:
    """Raises Invalid, IntegrityError or DataError where the database will not have the body."""
    question = _lock_asked(question_id, content)
    if question is None:
        return "void"
    save_valid(
        question,
        {
            "explanation": body,
            "explanation_status": ExplanationStatus.READY,
            "explanation_generator": settings.LLM_MODEL,
            "explanation_error": "",
        },
    )
    enqueue_explanation_publish(question)
    logger.info("Question %s: explained by %s.", question_id, settings.LLM_MODEL)
    return "explained"


@in_transaction
def _record_failure(question_id: int, content: Content, reason: str, wait_seconds: float) -> Ending:
    question = _lock_asked(question_id, content)
    if question is None:
        return "void"
    attempt = question.explanation_attempts
    logger.warning("Question %s: attempt %s of %s: %s", question_id, attempt, ATTEMPTS, reason)
    if attempt >= ATTEMPTS:
        _save(question, status=ExplanationStatus.FAILED, error=reason)
        return "failed"
    # Jitter, so that all who were refused in one moment do not come back in one.
    pause = max(FIRST_PAUSE_SECONDS * PAUSE_FACTOR ** (attempt - 1), wait_seconds) * random.uniform(1, 1.5)  # noqa: S311
    _save(question, status=ExplanationStatus.PENDING, error=reason)
    defer([question_id], not_before=timezone.now() + timedelta(seconds=pause))
    return "waits for another attempt"


def _lock_asked(question_id: int, content: Content) -> Question | None:
    """The locked row, where it still wants an explanation of this content. Of other content: a job is deferred."""
    question = _lock(question_id)
    if question is None or not is_under_way(question):
        return None
    if content_of(question) != content:
        ask_for([question_id])
        enqueue_explanation_publish(question_id)
        return None
    return question


def _lock(question_id: int) -> Question | None:
    return Question._base_manager.filter(pk=question_id).order_by("pk").select_for_update(no_key=True).first()


def _save(question: Question, *, status: ExplanationStatus, error: str) -> None:
    question.explanation_status, question.explanation_error = status, error
    question.save(
        update_fields=["explanation_status", "explanation_error", "explanation_attempts", "updated_at"],
    )
    enqueue_explanation_publish(question)
