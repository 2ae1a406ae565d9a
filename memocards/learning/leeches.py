"""Leeches: cards that a learner forgets again and again, so that something may be wrong with the card.

A card is flagged at its eighth lapse and, since a flag may be overlooked, at every fourth after that. Nothing of it is
stored: it follows from the number of lapses.
"""

from typing import Any, Final

from django.contrib import admin
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Mod
from django.db.models.lookups import Exact
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from memocards.models import CardProgress

FIRST_LAPSES: Final = 8
EVERY_LAPSES: Final = 4

# Of progress rows: is_leech() in SQL, and all that were ever flagged.
FLAGGED: Final = Q(lapse_count__gte=FIRST_LAPSES) & Q(
    Exact(Mod(F("lapse_count") - FIRST_LAPSES, Value(EVERY_LAPSES)), Value(0))
)
EVER_FLAGGED: Final = Q(lapse_count__gte=FIRST_LAPSES)


def is_leech(lapse_count: int) -> bool:
    """Whether a card that a learner forgot so often is flagged: at 8, 12, 16 … lapses."""
    return lapse_count >= FIRST_LAPSES and (lapse_count - FIRST_LAPSES) % EVERY_LAPSES == 0


class LeechFilter(admin.SimpleListFilter):
    """For a list of cards: those that are a leech to one learner at the least."""

    title = _("leech")
    parameter_name = "leech"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("now", _("Flagged now")), ("ever", _("Ever flagged"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        where = {"now": FLAGGED, "ever": EVER_FLAGGED}.get(self.value() or "")
        if where is None:
            return queryset
        return queryset.filter(Exists(CardProgress.objects.filter(where, card_id=OuterRef("pk"))))
