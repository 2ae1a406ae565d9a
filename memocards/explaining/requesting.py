"""Who asks for explanations: a question becomes `pending` and a job is deferred, both or neither.

Jobs are deferred on Django's own connection, hence in the caller's transaction, in the worker too, where
procrastinate's app has a connection pool of its own.
"""

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from kit.transactions import in_transaction
from memocards.errors import Conflict
from memocards.models import ExplanationStatus, Question
from memocards.writing import lock_keys, lock_row
from publish.services import enqueue_explanation_publish, require_transaction

from .asking import Content

if TYPE_CHECKING:
    from procrastinate.manager import JobManager

TASK = "memocards.explain_question"
QUEUE = "explanations"

LLM_HINT = _(
    "No language model is set up. To have explanations written, set LLM_BASE_URL to an OpenAI-compatible endpoint, "
    "such as http://localhost:11434/v1, LLM_MODEL to the model's name and, if the endpoint wants one, LLM_API_KEY to "
    "your key. Then restart StudyHub."
)

_UNDER_WAY = (ExplanationStatus.PENDING, ExplanationStatus.RUNNING)


def endpoint_is_set() -> bool:
    """Whether explanations can be asked for. If not, LLM_HINT says what to do."""
    return bool(settings.LLM_BASE_URL)


def content_of(question: Question) -> Content:
    """What an explanation of this question explains."""
    return Content(question.stem, tuple(question.choices), question.answer)


def is_under_way(question: Question) -> bool:
    """Whether an explanation was asked for, and neither came nor failed yet."""
    return question.explanation_status in _UNDER_WAY


@in_transaction
def request_explanation(*, question_id: int) -> bool:
    """Have one explanation written. While one is under way, this changes nothing, unless it pauses after an attempt
    that failed: then it begins anew at once. Returns whether it was asked for now. Raises NotFound, Conflict.

    The history is its caller's, who knows who asks.
    """
    _require_endpoint()
    question = lock_row(Question, question_id)
    if question.deleted_at:
        raise Conflict(gettext("This question is deleted. Restore it first."))
    if question.explanation_status == ExplanationStatus.READY:
        raise Conflict(
            gettext("This question has an explanation already. To have another one written, withdraw it first.")
        )
    return bool(_ask_where_nobody_does([question_id]))


@in_transaction
def request_explanations(*, question_ids: Collection[int]) -> list[int]:
    """Have explanations written; a failed one is tried again. Returns the primary keys that were asked for.

    Left out are questions that are deleted, that have an explanation, or whose explanation is under way, unless it
    pauses after an attempt that failed. A constant number of statements. Raises Conflict, with LLM_HINT, where no
    endpoint is set. The history is its caller's.
    """
    _require_endpoint()
    wanted = Q(pk__in=question_ids, deleted_at__isnull=True) & ~Q(explanation_status=ExplanationStatus.READY)
    return _ask_where_nobody_does(lock_keys(Question, wanted))


def ask_for(question_ids: Collection[int]) -> None:
    """Begin anew with these questions: attempts are counted from none, and an answer to their former text is void.

    Unsafe alone: the caller has locked the rows, and enqueues them afterwards.
    """
    Question._base_manager.filter(pk__in=question_ids).update(
        explanation="",
        explanation_status=ExplanationStatus.PENDING,
        explanation_generator="",
        explanation_error="",
        explanation_attempts=0,
        updated_at=timezone.now(),
    )
    defer(question_ids)


def defer(question_ids: Collection[int], *, not_before: datetime | None = None) -> None:
    """One job for each of these questions, in this transaction; it replaces one that still waits.

    Unsafe alone: the caller has locked the rows, so that nobody else does the same just now.
    """
    from procrastinate.contrib.django.models import ProcrastinateJob
    from procrastinate.jobs import Job

    require_transaction()
    if not question_ids:
        return
    manager = job_manager()
    waiting = ProcrastinateJob.objects.filter(task_name=TASK, status="todo", args__question_id__in=list(question_ids))
    for job_id in waiting.order_by("pk").values_list("pk", flat=True):
        manager.cancel_job_by_id(job_id, delete_job=True)
    manager.batch_defer_jobs(
        [
            Job(
                id=None,
                queue=QUEUE,
                task_name=TASK,
                task_kwargs={"question_id": question_id},
                # Of two jobs with one lock the second waits: no question is asked twice at once.
                lock=f"question {question_id}",
                queueing_lock=None,
                scheduled_at=not_before,
            )
            for question_id in sorted(question_ids)
        ]
    )


def next_attempt_at(question_id: int) -> datetime | None:
    """When the pause after a failed attempt ends; None: none is waited for, or a worker takes it as soon as it can."""
    from procrastinate.contrib.django.models import ProcrastinateJob

    waiting = ProcrastinateJob.objects.filter(task_name=TASK, status="todo", args__question_id=question_id)
    return waiting.order_by("-pk").values_list("scheduled_at", flat=True).first()


def job_manager() -> "JobManager":
    """Procrastinate's jobs, on Django's connection and in its transaction."""
    from procrastinate.contrib.django.django_connector import DjangoConnector
    from procrastinate.manager import JobManager

    return JobManager(DjangoConnector())


def _require_endpoint() -> None:
    if not endpoint_is_set():
        raise Conflict(str(LLM_HINT))


def _ask_where_nobody_does(question_ids: list[int]) -> list[int]:
    """Ask for these, except where that is under way: by the row, and by a job that is looking at it or soon will."""
    from procrastinate.contrib.django.models import ProcrastinateJob

    soon = Q(scheduled_at__isnull=True) | Q(scheduled_at__lte=timezone.now())
    jobs = ProcrastinateJob.objects.filter(
        Q(status="doing") | Q(status="todo") & soon, task_name=TASK, args__question_id__in=question_ids
    )
    with_job = set(jobs.values_list("args__question_id", flat=True))
    under_way = set(
        Question._base_manager.filter(pk__in=with_job, explanation_status__in=_UNDER_WAY).values_list("pk", flat=True)
    )
    asked = [key for key in question_ids if key not in under_way]
    ask_for(asked)
    enqueue_explanation_publish(*asked)
    return asked
