"""Columns of the lists that come from other tables: read for the rows of one page, each with one statement."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Count, Max
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from memocards.learning.leeches import EVER_FLAGGED
from memocards.models import CardProgress
from publish.moments import shown_moment

# A key may wait several times over, hence the DISTINCT. The outbox has no index but its own order, and needs none:
# it is short, or it is being drained.
_PUBLISHED = """
SELECT key, item.deleted, item.published_at, waiting.source_id IS NOT NULL
FROM unnest(%(keys)s::bigint[]) AS key
LEFT JOIN publish_item AS item ON item.kind = %(kind)s AND item.source_id = key
LEFT JOIN (
    SELECT DISTINCT source_id FROM publish_outbox WHERE kind = %(kind)s AND source_id = ANY(%(keys)s::bigint[])
) AS waiting ON waiting.source_id = key
"""


@dataclass(frozen=True)
class Published:
    """How a row stands in the feed. `tombstone` and `at`: None where the feed never had it; `pending`: the outbox
    holds news of it."""

    tombstone: bool | None
    at: datetime | None
    pending: bool

    def shown(self) -> SafeString:
        if self.at is None:
            state = _("not published")
        elif self.tombstone:
            state = _("tombstone")
        else:
            state = format_html(_("published {}"), shown_moment(self.at))
        name = "none" if self.at is None else "tombstone" if self.tombstone else "published"
        if not self.pending:
            return format_html('<span class="published-{}">{}</span>', name, state)
        return format_html('<span class="published-pending">{}</span>, {}', _("pending"), state)


def published(kind: str, keys: Collection[int]) -> dict[int, Published]:
    """Source id → how it stands in the feed, for each of these keys."""
    with connection.cursor() as cursor:
        cursor.execute(_PUBLISHED, {"kind": kind, "keys": list(keys)})
        return {key: Published(tombstone, at, pending) for key, tombstone, at, pending in cursor.fetchall()}


@dataclass(frozen=True)
class Leech:
    """How many learners keep forgetting a card, and how often the worst of them did."""

    learners: int
    lapses: int

    def shown(self) -> SafeString:
        learners = ngettext("%d learner", "%d learners", self.learners) % self.learners
        lapses = ngettext("up to %d lapse", "up to %d lapses", self.lapses) % self.lapses
        return format_html('<span class="leech">{}</span>, {}', learners, lapses)


def leeches(keys: Collection[int]) -> dict[int, Leech]:
    """Card id → what is known of it as a leech, where it ever was flagged."""
    rows: Any = (
        CardProgress.objects.filter(EVER_FLAGGED, card_id__in=keys)
        .order_by()
        .values_list("card_id")
        .annotate(learners=Count("pk"), lapses=Max("lapse_count"))
    )
    return {key: Leech(learners, lapses) for key, learners, lapses in rows}
