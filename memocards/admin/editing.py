"""What every page that writes has in common: the form hands over to a service, which may refuse."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.db import models
from django.http import HttpRequest, HttpResponse

from kit.transactions import in_transaction
from memocards.admin.fields import ContentField
from memocards.admin.forms import ServiceForm
from memocards.errors import DomainError

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[Any]
else:
    BaseAdmin = admin.ModelAdmin


class ServiceAdmin(BaseAdmin):
    """An admin whose forms write through services."""

    form = ServiceForm
    formfield_overrides = {
        models.TextField: {
            "form_class": ContentField,
            "widget": AdminTextareaWidget(attrs={"rows": 6, "dir": "auto"}),
        },
        models.CharField: {"widget": AdminTextInputWidget(attrs={"dir": "auto"})},
    }

    class Media:
        css = {"all": ["memocards/admin.css"]}

    def create(self, request: HttpRequest, fields: dict[str, Any]) -> models.Model:
        raise NotImplementedError

    def update(self, request: HttpRequest, key: int, changes: dict[str, Any]) -> None:
        raise NotImplementedError

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        show = super().changeform_view
        if request.method != "POST":
            return show(request, *args, **kwargs)
        try:
            return in_transaction(show)(request, *args, **kwargs)
        except DomainError as refusal:
            # All is undone. The same form once more, which now refuses and is shown with the reason.
            request._refusal = refusal  # type: ignore[attr-defined]
            return show(request, *args, **kwargs)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form_class: Any = super().get_form(request, obj, change=change, **kwargs)
        form_class.refusal = getattr(request, "_refusal", None)
        return form_class

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        changes = form.changes()
        if change:
            # A deleted row is offered to the service even without a change, to be refused.
            if changes or getattr(obj, "deleted_at", None):
                self.update(request, obj.pk, changes)
        else:
            obj.pk = self.create(request, changes).pk
            obj._state.adding = False
            obj.refresh_from_db()
