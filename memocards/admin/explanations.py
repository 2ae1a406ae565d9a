"""A question's explanation in the back office: how far it is, and the button that has one written."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as now
from django.utils.translation import gettext_lazy as _

from memocards.admin.lists.approving import ReviewedAdmin
from memocards.content import history
from memocards.content.editors import editor_for
from memocards.content.questions import questions
from memocards.explaining.requesting import (
    LLM_HINT,
    endpoint_is_set,
    is_under_way,
    next_attempt_at,
)
from memocards.explaining.work import ATTEMPTS, worker_is_alive
from memocards.models import ExplanationStatus, Question
from publish.moments import shown_moment


def standing(question: Question) -> str:
    """How far the explanation is, in a line: with its attempts and the last reason, or with the model that wrote it."""
    state = ExplanationStatus(question.explanation_status)
    counted = {"count": question.explanation_attempts, "most": ATTEMPTS}
    details = []
    if state == ExplanationStatus.READY and question.explanation_generator:
        details = [now("written by %s") % question.explanation_generator]
    elif state == ExplanationStatus.RUNNING:
        details = [now("attempt %(count)d of %(most)d") % counted]
    elif state in {ExplanationStatus.PENDING, ExplanationStatus.FAILED} and question.explanation_attempts:
        details = [now("%(count)d of %(most)d attempts failed") % counted, question.explanation_error]
    return " · ".join([str(state.label), *filter(None, details)])


def hints(question: Question) -> list[str]:
    """What whoever wants an explanation of this question should know, in sentences."""
    state = question.explanation_status
    if not endpoint_is_set():
        return [str(LLM_HINT)] if state != ExplanationStatus.READY else []
    sentences: list[str] = []
    if state == ExplanationStatus.PENDING and (moment := next_attempt_at(question.pk)):
        sentences.append(format_html(now("Next attempt: {}"), shown_moment(moment)))
    if is_under_way(question) and not worker_is_alive():
        sentences.append(now("No worker runs. To start one: python -m memocards.explaining"))
    return sentences


def can_be_asked_for(question: Question) -> bool:
    """Where none is there nor in hand; a pause between two attempts can be cut short."""
    state = question.explanation_status
    paused = state == ExplanationStatus.PENDING and question.explanation_attempts > 0
    return endpoint_is_set() and (state in {ExplanationStatus.NONE, ExplanationStatus.FAILED} or paused)


class ExplainedAdmin(ReviewedAdmin):
    """The pages of rows with an explanation."""

    @admin.display(description=_("explanation status"))
    def explanation_state(self, question: Question) -> SafeString:
        if question._state.adding:
            promise = now("Leave the explanation empty, and a language model writes it.")
            sentences = [promise if endpoint_is_set() else str(LLM_HINT)]
        else:
            sentences = [standing(question), *hints(question)]
        return format_html_join("", '<span class="standing">{}</span>', ([sentence] for sentence in sentences))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        question = context["original"]
        context["can_explain"] = question is not None and can_be_asked_for(question)
        context["explains_again"] = question is not None and question.explanation_status != ExplanationStatus.NONE
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "_explain" in request.POST:
            questions.request_explanation(key=obj.pk, editor=editor_for(request.user))

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        if "_explain" not in request.POST:
            return super().response_change(request, obj)
        # Back to the same page: it says how far the explanation is.
        self.message_user(request, history.EXPLANATION_REQUESTED.said(), messages.SUCCESS)
        return HttpResponseRedirect(request.get_full_path())
