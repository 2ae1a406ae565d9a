"""Who did what and when, in the back office: approvals above all."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from kit.lists import EstimatingPaginator, ReadOnlyAdmin
from memocards.admin.fields import short
from memocards.admin.lists.filters import StaffFilter
from memocards.content.history import saying, sentence


class ContentFilter(admin.SimpleListFilter):
    title = _("content")
    parameter_name = "content"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("memocard", _("Memo cards")), ("question", _("Questions")), ("topic", _("Topics"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(content_type__model=self.value()) if self.value() else queryset


@admin.register(LogEntry)
class HistoryAdmin(ReadOnlyAdmin):
    """The history of all content in one list. The page of a row shows its own."""

    list_display = ["action_time", "user", "what", "content_type", "named"]
    list_display_links = None
    fields = ["action_time", "user", "what", "content_type", "named"]
    list_filter = [ContentFilter, ("user", StaffFilter)]
    list_select_related = ["user", "content_type"]
    search_fields = ["change_message", "object_repr"]
    search_help_text = _("Part of what was done, or of a text: Approved")
    sortable_by = ["action_time"]
    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ["memocards/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request)
        if request.user.is_superuser:
            return queryset
        # What was done to users and subscribers is not a reviewer's to read.
        return queryset.filter(content_type__app_label="memocards")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        rows, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        if search_term.strip():
            rows |= queryset.filter(saying(search_term.strip()))
        return rows, may_have_duplicates

    @admin.display(description=_("what"))
    def what(self, entry: LogEntry) -> Any:
        return short(sentence(entry) or entry.get_action_flag_display())

    @admin.display(description=_("of"))
    def named(self, entry: LogEntry) -> Any:
        url = None if entry.is_deletion() else entry.get_admin_url()
        return format_html('<a href="{}">{}</a>', url, short(entry.object_repr)) if url else short(entry.object_repr)
