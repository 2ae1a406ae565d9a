"""The import pages of one list: the form with the imports on their way, and each import's own page."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from memocards.admin.importing import line
from memocards.admin.importing.forms import ConfirmationForm, FileForm
from memocards.admin.importing.summary import Summary
from memocards.admin.importing.uploads import MOST_OPEN, Status, Upload, room_for_another, uploads_of
from memocards.admin.lists.choosing import user_id
from memocards.importing.rows import RowKind

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Base = ModelAdmin[Any]
else:
    Base = object

PAGE = "admin/memocards/import.html"


class ImportingAdmin(Base):
    """An admin whose list is filled from files. Whoever may add and change its rows may import."""

    imports: ClassVar[RowKind]

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        wrap = self.admin_site.admin_view
        store, discard = require_POST(self.store_import), require_POST(self.discard_import)
        return [
            path("import/", wrap(self.choose_file), name=f"{name}_import"),
            path("import/<str:upload_id>/", wrap(self.show_import), name=f"{name}_import_page"),
            path("import/<str:upload_id>/store/", wrap(store), name=f"{name}_import_store"),
            path("import/<str:upload_id>/discard/", wrap(discard), name=f"{name}_import_discard"),
            *super().get_urls(),
        ]

    def has_import_permission(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request) and self.has_change_permission(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may = {"has_import_permission": self.has_import_permission(request)}
        return super().changelist_view(request, {**may, **(extra_context or {})})

    def choose_file(self, request: HttpRequest) -> HttpResponse:
        """The form; once it is sent, the import's own page."""
        self._require_permission(request)
        data = (request.POST, request.FILES) if request.method == "POST" else ()
        form = FileForm(*data, kind=self.imports, user=request.user)
        if data and form.is_valid():
            if room_for_another(user_id(request)):
                upload = Upload.create(form.plan, form.cleaned_data["import_file"].chunks())
                line.ensure_worker()
                return HttpResponseRedirect(self._page(upload))
            sentence = _("%d imports of yours wait to be read or answered. Answer or discard one of them first.")
            form.add_error(None, sentence % MOST_OPEN)
        return self._render(request, form=form, imports=self._listed(request))

    def show_import(self, request: HttpRequest, upload_id: str) -> HttpResponse:
        """How far the import is, what it would change, or why it was refused; once it is stored, the list."""
        self._require_permission(request)
        upload = self._find(request, upload_id)
        if upload is None:
            return self._too_old(request)
        state = upload.state
        if "look" in request.GET and state.status not in line.TO_DO:
            # The page's script asks whether the import still goes on; told that it does not, it loads the page anew.
            return HttpResponse(status=204)
        if state.status in line.TO_DO:
            line.ensure_worker()
            return self._render(
                request,
                upload=upload,
                state=state,
                address=self._page(upload),
                underway=line.is_underway(upload),
                before=line.count_before(upload),
            )
        form = FileForm(initial=upload.plan.choices, kind=self.imports, user=request.user)
        if state.status is Status.REFUSED:
            return self._render(request, refused=True, upload=upload, state=state, form=form)
        summary = upload.summary
        if summary is None:
            return self._too_old(request)
        if state.status is Status.STORED:
            return self._finish(request, upload, summary)
        if state.sentences:
            self.message_user(request, " ".join(state.sentences), messages.WARNING)
        preview = {"upload": upload, "summary": summary, "pages": self._pages(upload)}
        if not summary.new_or_changed:
            return self._render(request, **preview, form=form)
        confirmation = ConfirmationForm(initial={"at_stake": summary.at_stake})
        return self._render(request, **preview, confirmation=confirmation)

    def store_import(self, request: HttpRequest, upload_id: str) -> HttpResponse:
        """The user confirms the preview: the import waits to be stored, if the preview is still the same."""
        self._require_permission(request)
        upload = self._find(request, upload_id)
        form = ConfirmationForm(request.POST)
        if upload is None or not form.is_valid():
            return self._too_old(request)
        if upload.plan.create_topics and not request.user.has_perm("memocards.add_topic"):
            raise PermissionDenied
        with line.exclusively(upload) as is_ours:
            state = upload.state
            if is_ours and state.status is Status.PREVIEWED and upload.is_open:
                summary = upload.summary
                # Another tab may show a newer preview. This yes was not said to that one.
                if summary is not None and summary.at_stake == form.cleaned_data["at_stake"]:
                    upload.change(status=Status.ACCEPTED, sentences=[], attempts=0)
        line.ensure_worker()
        return HttpResponseRedirect(self._page(upload))

    def discard_import(self, request: HttpRequest, upload_id: str) -> HttpResponse:
        self._require_permission(request)
        upload = self._find(request, upload_id)
        if upload is not None:
            with line.exclusively(upload) as is_ours:
                if is_ours:
                    upload.remove()
            if not is_ours:
                sentence = _("This import is being worked on. Try again in a moment.")
                self.message_user(request, sentence, messages.WARNING)
        return HttpResponseRedirect(self._address("import"))

    def _finish(self, request: HttpRequest, upload: Upload, summary: Summary) -> HttpResponse:
        report = summary.report
        message = ngettext(
            "Imported from “%(file)s”: %(new)d new, %(changed)d changed. It waits for review.",
            "Imported from “%(file)s”: %(new)d new, %(changed)d changed. They wait for review.",
            summary.new_or_changed,
        )
        self.message_user(request, message % {"file": report.file, "new": report.new, "changed": report.changed})
        upload.remove()
        return HttpResponseRedirect(self._address("changelist"))

    def _listed(self, request: HttpRequest) -> list[dict[str, Any]]:
        return [
            {"upload": upload, "status": upload.state.status, **self._pages(upload)}
            for upload in uploads_of(user_id(request), self.imports)
        ]

    def _find(self, request: HttpRequest, upload_id: str) -> Upload | None:
        """None for what is gone, and for another user's or another list's."""
        upload = Upload.find(upload_id)
        if upload is None or (upload.plan.user_id, upload.plan.kind) != (user_id(request), self.imports):
            return None
        return upload

    def _too_old(self, request: HttpRequest) -> HttpResponse:
        sentence = _("This preview is too old, or was answered already. To go on, choose the file again.")
        self.message_user(request, sentence, messages.WARNING)
        return HttpResponseRedirect(self._address("import"))

    def _require_permission(self, request: HttpRequest) -> None:
        if not self.has_import_permission(request):
            raise PermissionDenied

    def _page(self, upload: Upload) -> str:
        return self._address("import_page", upload.id)

    def _pages(self, upload: Upload) -> dict[str, str]:
        return {
            "page": self._page(upload),
            "store": self._address("import_store", upload.id),
            "discard": self._address("import_discard", upload.id),
        }

    def _address(self, page: str, *args: str) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)

    def _render(self, request: HttpRequest, **context: Any) -> HttpResponse:
        shared = {**self.admin_site.each_context(request), "title": _("Import"), "opts": self.opts, "media": self.media}
        # An import goes on while its page is not looked at: the browser must not show an old state of it.
        headers = {"Cache-Control": "no-store"}
        return TemplateResponse(request, PAGE, {**shared, **context}, headers=headers)
