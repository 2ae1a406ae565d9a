"""Rows that the relay set aside: enqueue their sources' present state again."""

from collections.abc import Collection

from kit.transactions import in_transaction
from publish.kinds import CATALOGUE
from publish.models import SetAside
from publish.services import enqueue_present_state


@in_transaction
def requeue(keys: Collection[int]) -> int:
    """Enqueue what the sources of these SetAside rows (primary keys) are now, and forget the rows.

    Returns the number of outbox rows. Whatever was wrong with a source must have been mended, or the relay sets its
    row aside again.
    """
    held = list(SetAside.objects.filter(pk__in=keys).order_by("pk").select_for_update(no_key=True))
    enqueued = 0
    for kind in CATALOGUE:
        enqueued += enqueue_present_state(kind, [row.source_id for row in held if row.kind == kind])
    SetAside.objects.filter(pk__in=[row.pk for row in held]).delete()
    return enqueued
