"""The import pages of one list, on top of django-import-export's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST
from import_export.admin import ImportMixin

from memocards.admin.choosing import user_id
from memocards.admin.importing.formats import ANKI, TABLES, FileFormat
from memocards.admin.importing.forms import TOO_OLD, AnswerForm, FileForm, Plan
from memocards.admin.importing.outcome import Outcome
from memocards.admin.importing.resource import FileResource, PreviewOutdated
from memocards.admin.importing.uploads import Uploads
from memocards.importing.rows import Kind

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Base = ModelAdmin[Any]
else:
    Base = object


class ImportingAdmin(ImportMixin, Base):  # type: ignore[misc]
    """An admin whose list is filled from files. Whoever may add and change its rows may import."""

    resource_classes: ClassVar[Sequence[type[FileResource]]]
    import_form_class = FileForm
    confirm_form_class = AnswerForm
    tmp_storage_class = Uploads
    import_template_name = "admin/memocards/import.html"
    # import-export is no app of ours: its commands would write past the outbox. The list has a button of its own.
    import_export_change_list_template = None

    @property
    def resource(self) -> type[FileResource]:
        return self.resource_classes[0]

    @property
    def import_formats(self) -> list[type[FileFormat]]:
        return TABLES if self.resource.kind is Kind.QUESTION else [*TABLES, *ANKI]

    def has_import_permission(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request) and self.has_change_permission(request)

    def get_import_form_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().get_import_form_kwargs(request), "user": request.user}

    def get_confirm_form_kwargs(self, request: HttpRequest, import_form: FileForm | None = None) -> dict[str, Any]:
        data = request.POST if import_form is None else None
        return {"data": data, "kind": self.resource.kind, "user_id": user_id(request)}

    def get_import_resource_kwargs(self, request: HttpRequest, **kwargs: Any) -> dict[str, Any]:
        return {}

    def get_import_data_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        return {"plan": kwargs["form"].plan}

    def write_to_tmp_storage(self, import_file: UploadedFile, input_format: FileFormat) -> Uploads:
        upload = Uploads()
        upload.save(import_file.chunks())
        return upload

    def import_action(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """The form; once it is sent, what the file would change."""
        response: TemplateResponse = super().import_action(request, **kwargs)
        context: Any = response.context_data
        if outcome := context.get("result"):
            context["confirm_form"] = self._answer_to(outcome, context["form"].plan, request)
        return response

    @method_decorator(require_POST)
    def process_import(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Store what was shown; where that is no longer what would happen, show it anew."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        form = self.create_confirm_form(request)
        if not form.is_valid() or not (path := Uploads(name=form.plan.upload).read()).exists():
            return self._start_over(request, str(TOO_OLD))
        if form.plan.create_topics and not request.user.has_perm("memocards.add_topic"):
            raise PermissionDenied
        result: Outcome = self.process_dataset(path, form, request)
        if not result.has_errors():
            Uploads(name=form.plan.upload).remove()
            return self.process_result(result, request)
        refusal = result.base_errors[0].error
        if isinstance(refusal, PreviewOutdated):
            return self._preview_again(request, form.plan, str(refusal))
        Uploads(name=form.plan.upload).remove()
        return self._start_over(request, str(refusal))

    def process_result(self, result: Outcome, request: HttpRequest) -> HttpResponse:
        report = result.report
        assert report is not None  # noqa: S101
        told = ngettext(
            "Imported from “%(file)s”: %(new)d new, %(changed)d changed. It waits for review.",
            "Imported from “%(file)s”: %(new)d new, %(changed)d changed. They wait for review.",
            result.stored,
        )
        self.message_user(request, told % {"file": report.file, "new": report.new, "changed": report.changed})
        return HttpResponseRedirect(reverse("admin:{}_{}_changelist".format(*self.get_model_info())))

    def _answer_to(self, outcome: Outcome, plan: Plan, request: HttpRequest) -> AnswerForm | None:
        """The form of the yes; None, and the upload is gone, where there is nothing to say yes to."""
        if outcome.plan is None or not outcome.stored:
            Uploads(name=plan.upload).remove()
            return None
        signed = {"plan_signed": outcome.plan.sign()}
        return AnswerForm(initial=signed, kind=self.resource.kind, user_id=user_id(request))

    def _preview_again(self, request: HttpRequest, plan: Plan, sentence: str) -> HttpResponse:
        outcome = self.resource().import_data(Uploads(name=plan.upload).read(), dry_run=True, plan=plan)
        answer = self._answer_to(outcome, plan, request)
        if answer is None:
            # Somebody has imported it: this user, with a second click.
            refusals = [str(error.error) for error in outcome.base_errors]
            return self._start_over(request, *refusals or outcome.sentences)
        self.message_user(request, sentence, messages.WARNING)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Import"),
            "opts": self.opts,
            "media": self.media,
            "result": outcome,
            "confirm_form": answer,
        }
        return TemplateResponse(request, self.import_template_name, context)

    def _start_over(self, request: HttpRequest, *sentences: str) -> HttpResponse:
        self.message_user(request, " ".join(sentences), messages.WARNING)
        return HttpResponseRedirect(reverse("admin:{}_{}_import".format(*self.get_model_info())))
