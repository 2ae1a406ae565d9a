"""Rows that are deleted softly, one by one or by an action on any number of them, and restored."""

import logging
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from kit.transactions import in_transaction
from memocards.admin.editing import ServiceAdmin
from memocards.admin.lists.choosing import pin
from memocards.admin.lists.confirmation import Confirmation, ask, at_stake, confirmed
from memocards.content import history
from memocards.content.editors import Editor, editor_for
from memocards.errors import DomainError
from memocards.states import LIVE, state_of

logger = logging.getLogger(__name__)

# Rows of one transaction of an action. A rating that meets it waits for less than a second.
LOCKED_AT_ONCE = 5_000
STOPPED = _("The others were left as they were, because the database could not change them just now. Try again.")
DROPPED = _("Viewers drop what is deleted. It stays in the hub and can be restored.")


class SoftDeleteAdmin(ServiceAdmin):
    """An admin of such rows. Every bulk action goes through carry_out(). What is written, the services write into the
    history too."""

    actions = ["delete_selected", "restore"]
    show_full_result_count = False
    # Django counts each choice of a filter by a subquery that PostgreSQL cannot hash beyond its work memory: with
    # 300,000 cards one click on "Show counts" ran for minutes.
    show_facets = admin.ShowFacets.NEVER

    def delete_rows(self, keys: list[int], editor: Editor) -> list[int]:
        raise NotImplementedError

    def restore_rows(self, keys: list[int], editor: Editor) -> list[int]:
        raise NotImplementedError

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.delete_rows([obj.pk], editor_for(request.user))

    def delete_chosen(self, request: HttpRequest, keys: list[int]) -> None:
        self.carry_out(request, keys, self.delete_rows, history.DELETED.said())

    @admin.action(permissions=["delete"], description=_("Delete selected %(verbose_name_plural)s"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        keys = pin(queryset)
        if not confirmed(request, at_stake(self.model, keys)):
            return ask(request, self, "delete_selected", self.deletion_confirmation(keys))
        self.delete_chosen(request, keys)
        return None

    def deletion_confirmation(self, keys: list[int]) -> Confirmation:
        return Confirmation(
            title=_("Delete"),
            question=ngettext("Delete %d row?", "Delete %d rows?", len(keys)) % len(keys),
            sentences=[str(DROPPED)],
            at_stake=at_stake(self.model, keys),
        )

    @admin.action(permissions=["restore"], description=_("Restore selected %(verbose_name_plural)s"))
    def restore(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        self.carry_out(request, pin(queryset), self.restore_rows, history.RESTORED.said())
        return None

    def carry_out(
        self,
        request: HttpRequest,
        keys: list[int],
        service: Callable[[list[int], Editor], list[int]],
        done: str,
    ) -> None:
        """A service call on these rows, then a message.

        Many rows are done in several transactions, since learners wait for a card that is locked. What a refusal comes
        after, or a database that cannot go on, stays done and is told.
        """
        editor = editor_for(request.user)
        keys = sorted(keys)
        changed = 0
        try:
            for start in range(0, len(keys), LOCKED_AT_ONCE):
                changed += len(service(keys[start : start + LOCKED_AT_ONCE], editor))
        except DomainError as refusal:
            self.tell_refusal(request, refusal)
            if not changed:
                return
        except OperationalError as error:
            # Whoever gets the answer that nothing was changed would do it all again, or believe that it is undone.
            if not changed:
                raise
            logger.warning("%s of %s rows were changed before the database gave up: %s", changed, len(keys), error)
            self.message_user(request, STOPPED, messages.ERROR)
        self.tell_done(request, done, changed, len(keys))

    def tell_done(self, request: HttpRequest, done: str, changed: int, chosen: int) -> None:
        count = ngettext("%(changed)d of %(chosen)d row.", "%(changed)d of %(chosen)d rows.", chosen)
        count %= {"changed": changed, "chosen": chosen}
        self.message_user(request, f"{done} {count}", messages.SUCCESS if changed else messages.WARNING)

    def tell_refusal(self, request: HttpRequest, refusal: DomainError) -> None:
        self.message_user(request, str(refusal), messages.ERROR)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        show = super().delete_view
        try:
            return in_transaction(show)(request, object_id, extra_context)
        except DomainError as refusal:
            self.tell_refusal(request, refusal)
            page = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return HttpResponseRedirect(reverse(page, args=[object_id]))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """A soft deletion takes along nothing that Django's collector would find."""
        return [str(row) for row in objs], {str(self.opts.verbose_name_plural): len(objs)}, set(), []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.deleted_at is None)

    def has_restore_permission(self, request: HttpRequest) -> bool:
        """To undo a deletion takes what a deletion takes: an approved row is seen again at once."""
        return super().has_delete_permission(request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        names = super().get_readonly_fields(request, obj)
        # Only as a page to look at. An editor whose row is deleted meanwhile gets their text back, and the reason.
        posted = request.method == "POST" and "_restore" not in request.POST
        if obj is None or obj.deleted_at is None or posted:
            return names
        return [name for _title, options in self.get_fieldsets(request, obj) for name in options["fields"]]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        # What has not been written yet has no history.
        return fieldsets if obj else fieldsets[:1]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        rows, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        # Asked by the select boxes of other forms: there is nothing to choose among the deleted.
        return (rows.filter(LIVE) if "field_name" in request.GET else rows), may_have_duplicates

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context["original"]
        context["state"] = state_of(row) if row else ""
        context["can_restore"] = self.has_restore_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change and "_restore" in request.POST:
            if not self.has_restore_permission(request):
                raise PermissionDenied
            self.restore_rows([obj.pk], editor_for(request.user))
            return
        super().save_model(request, obj, form, change)

    def history_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().history_view(request, *args, **kwargs)
        for entry in getattr(response, "context_data", {}).get("action_list", ()):
            # For the page alone, in the language of its reader.
            entry.change_message = history.sentence(entry)
        return response

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return None
