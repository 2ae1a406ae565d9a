"""Learners: their settings are edited here, what they did is looked at."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from kit.lists import EstimatingPaginator, ReadOnlyAdmin
from kit.transactions import in_transaction
from memocards.admin.editing import ServiceAdmin
from memocards.admin.fields import short
from memocards.admin.forms import LearnerSettingsForm
from memocards.models import CardProgress, LearnerSettings, Review
from memocards.writing import lock_row, save_valid


@admin.register(LearnerSettings)
class LearnerSettingsAdmin(ServiceAdmin):
    form = LearnerSettingsForm
    list_display = ["learner", "time_zone", "rollover_hour", "new_per_day", "desired_retention"]
    list_select_related = ["learner"]
    search_fields = ["learner__username"]
    autocomplete_fields = ["learner"]
    fields = ["learner", "time_zone", "rollover_hour", "new_per_day", "desired_retention"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["learner"] if obj else []

    @in_transaction
    def create(self, request: HttpRequest, fields: dict[str, Any]) -> LearnerSettings:
        row = LearnerSettings()
        save_valid(row, fields)
        return row

    @in_transaction
    def update(self, request: HttpRequest, key: int, changes: dict[str, Any]) -> None:
        # The lock that the learner's ratings take: none of them sees half of a change.
        row = lock_row(LearnerSettings, key)
        for name, value in changes.items():
            setattr(row, name, value)
        row.save(update_fields=list(changes))


class LearnerRowAdmin(ReadOnlyAdmin):
    """What learners did. Only ratings write it; here it is looked at."""

    list_select_related = ["learner", "card"]
    search_fields = ["=learner__username"]
    search_help_text = _("The user name of a learner")
    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ["memocards/admin.css"]}

    @admin.display(description=_("card"))
    def short_card(self, row: CardProgress | Review) -> SafeString:
        return short(row.card.front)


@admin.register(CardProgress)
class CardProgressAdmin(LearnerRowAdmin):
    list_display = ["id", "learner", "short_card", "last_outcome", "last_reviewed_at", "due_at", "review_stage"]
    list_filter = ["last_outcome"]
    # The primary key alone has an index that orders the whole table.
    sortable_by = ["id"]


@admin.register(Review)
class ReviewAdmin(LearnerRowAdmin):
    list_display = ["reviewed_at", "learner", "short_card", "outcome", "stage_before", "stage_after", "undone_at"]
    list_filter = ["outcome"]
    ordering = ["-reviewed_at", "-id"]
    sortable_by = ["reviewed_at"]
