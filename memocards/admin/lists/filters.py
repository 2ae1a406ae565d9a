"""Filters of the lists."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from memocards.states import DELETED, LIVE, SEEN, SENT_BACK, WAITING


class StateFilter(admin.SimpleListFilter):
    """Exactly one state is always chosen; without a choice, the first."""

    title = _("state")
    parameter_name = "state"
    states: ClassVar[Mapping[str, tuple[Any, Q]]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, title) for name, (title, _where) in self.states.items()]

    def value(self) -> str:
        value = super().value()
        return value if value is not None and value in self.states else next(iter(self.states))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(self.states[self.value()][1])

    def choices(self, changelist: Any) -> Any:
        _everything, *states = super().choices(changelist)
        return states


class LiveStateFilter(StateFilter):
    states = {"live": (_("Live"), LIVE), "deleted": (_("Deleted"), DELETED)}


class ReviewStateFilter(StateFilter):
    states = {
        "waiting": (_("Waits for review"), WAITING),
        "sent_back": (_("Sent back to its author"), SENT_BACK),
        "approved": (_("Approved"), SEEN),
        "live": (_("All but deleted"), LIVE),
        "deleted": (_("Deleted"), DELETED),
    }


class LiveTopicFilter(admin.RelatedFieldListFilter):
    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        ordering = self.field_admin_ordering(field, request, model_admin)
        return field.get_choices(include_blank=False, ordering=ordering, limit_choices_to=LIVE)


class StaffFilter(admin.RelatedFieldListFilter):
    """By a member of the staff: the learners, who may be many, write and approve nothing."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        if request.method == "POST":
            # An action filters by what was chosen, and shows no choices. None at all would switch the filter off.
            return [(0, ""), (1, "")]
        ordering = self.field_admin_ordering(field, request, model_admin)
        return field.get_choices(include_blank=False, ordering=ordering, limit_choices_to=Q(is_staff=True))
