"""The jobs of the worker that writes explanations: which wait, pause or are in hand.

A job that has ended is deleted by its worker, and what came of it stands at the question. So a failed explanation is
found in the list of questions; here a pause between two attempts can be cut short.
"""

from collections.abc import Collection
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Max, Min, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from procrastinate.contrib.django import admin as _registered  # noqa: F401
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob

from kit.lists import EstimatingPaginator, ReadOnlyAdmin
from memocards.admin.fields import short
from memocards.admin.lists.choosing import pin
from memocards.content import history
from memocards.content.editors import editor_for
from memocards.content.questions import questions
from memocards.errors import DomainError
from memocards.explaining.requesting import TASK
from memocards.explaining.work import ATTEMPTS
from memocards.models import ExplanationJob, Question
from publish.moments import shown_moment

# Theirs needs inline styles, which our policy forbids, and knows nothing of questions.
admin.site.unregister(ProcrastinateJob)

EVENTS: Final = {
    "deferred": _("asked for"),
    "started": _("started"),
    "deferred_for_retry": _("given back"),
    "scheduled": _("to be taken at"),
    "succeeded": _("ended"),
    "failed": _("ended with an error"),
    "cancelled": _("cancelled"),
    "abort_requested": _("to be stopped"),
    "aborted": _("stopped"),
}


class JobStateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"
    labels: Final = {
        "waiting": _("Waits for a worker"),
        "paused": _("Pauses after a failed attempt"),
        "running": _("In hand"),
        "ended": _("Ended"),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(self.labels.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        moment = timezone.now()
        conditions = {
            "waiting": Q(status="todo") & (Q(scheduled_at__isnull=True) | Q(scheduled_at__lte=moment)),
            "paused": Q(status="todo", scheduled_at__gt=moment),
            "running": Q(status="doing"),
            "ended": ~Q(status__in=["todo", "doing"]),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


class JobList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # The list keeps the rows that it has read, so what is found out here is there when they are shown.
        complete(list(self.result_list))


def complete(jobs: Collection[Any]) -> None:
    """Give jobs their questions and the times of their events, with one statement each."""
    questions = Question.objects.in_bulk({job.args.get("question_id") for job in jobs})
    times = {
        job_id: (queued, started)
        for job_id, queued, started in ProcrastinateEvent.objects.filter(job__in=[job.pk for job in jobs])
        .order_by()
        .values_list("job_id")
        .annotate(queued=Min("at", filter=Q(type="deferred")), started=Max("at", filter=Q(type="started")))
    }
    for job in jobs:
        job.asked = questions.get(job.args.get("question_id"))
        job.queued_at, job.started_at = times.get(job.pk, (None, None))


@admin.register(ExplanationJob)
class ExplanationJobAdmin(ReadOnlyAdmin):
    list_display = ["id", "question", "state", "attempts_made", "queued", "started", "next_attempt", "reason"]
    list_filter = [JobStateFilter]
    ordering = ["-id"]
    sortable_by = ["id"]
    search_fields = ["id"]
    search_help_text = _("The number of a question")
    actions = ["try_now"]
    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    fields = ["question", "state", "attempts_made", "reason", "queued", "started", "next_attempt", "events"]

    class Media:
        css = {"all": ["memocards/admin.css"]}

    # A job says no more than the question it is for.

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("memocards.view_question")

    def has_try_now_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("memocards.change_question")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request)
        # The worker has jobs of its own, every minute.
        return queryset.filter(task_name=TASK)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JobList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        job = super().get_object(request, object_id, from_field)
        if job is not None:
            complete([job])
        return job

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        number = int(term) if term.isascii() and term.isdigit() and len(term) < 19 else -1
        return queryset.filter(args__question_id=number), False

    # Columns

    @admin.display(description=_("question"))
    def question(self, job: Any) -> Any:
        if job.asked is None:
            return "–"
        page = reverse("admin:memocards_question_change", args=[job.asked.pk])
        return format_html('<a href="{}">{}</a>', page, short(job.asked.stem))

    @admin.display(description=_("state"))
    def state(self, job: Any) -> Any:
        name = {"todo": "waiting", "doing": "running"}.get(job.status, "ended")
        if name == "waiting" and job.scheduled_at and job.scheduled_at > timezone.now():
            name = "paused"
        return JobStateFilter.labels[name]

    @admin.display(description=_("attempts"))
    def attempts_made(self, job: Any) -> str:
        return f"{job.asked.explanation_attempts} / {ATTEMPTS}" if job.asked else "–"

    @admin.display(description=_("last failure"))
    def reason(self, job: Any) -> Any:
        return (job.asked.explanation_error if job.asked else "") or "–"

    @admin.display(description=_("asked for"))
    def queued(self, job: Any) -> Any:
        return shown_moment(job.queued_at)

    @admin.display(description=_("started"))
    def started(self, job: Any) -> Any:
        return shown_moment(job.started_at)

    @admin.display(description=_("next attempt"))
    def next_attempt(self, job: Any) -> Any:
        return shown_moment(job.scheduled_at if job.status == "todo" else None)

    @admin.display(description=_("events"))
    def events(self, job: Any) -> Any:
        happened = ProcrastinateEvent.objects.filter(job=job.pk).order_by("id").values_list("type", "at")
        lines = ((EVENTS.get(kind, kind), shown_moment(at)) for kind, at in happened)
        return format_html_join("", "<div>{}: {}</div>", lines)

    # Actions

    @admin.action(permissions=["try_now"], description=_("Try selected explanations again now"))
    def try_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """What is in hand is left alone, and so is what waits for nothing but a worker."""
        jobs = pin(queryset)
        keys = ExplanationJob.objects.filter(pk__in=jobs).order_by().values_list("args__question_id", flat=True)

        question_ids = [key for key in keys if key is not None]
        try:
            count = len(questions.request_explanations(keys=question_ids, editor=editor_for(request.user)))
        except DomainError as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
            return
        counts = ngettext("%(changed)d of %(chosen)d row.", "%(changed)d of %(chosen)d rows.", len(jobs))
        counts %= {"changed": count, "chosen": len(jobs)}
        message = f"{history.EXPLANATION_REQUESTED.said()} {counts}"
        self.message_user(request, message, messages.SUCCESS if count else messages.WARNING)
