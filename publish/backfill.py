"""Existing rows into the outbox, page by page: the statement of enqueue_*, with another WHERE."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.db import connection
from django.db.models import Q

from kit.transactions import in_transaction
from publish.kinds import get_kind
from publish.models import BackfillPosition
from publish.services import insert_outbox_rows


class PublishingDisabled(RuntimeError):
    """Backfill while PUBLISH_ENABLED is false: it would seem to work, and publish nothing."""


@dataclass(frozen=True)
class Page:
    """`enqueued` rows, 0 at the end; `last_id`: the highest source id, the next page's `after_id`."""

    enqueued: int
    last_id: int


@in_transaction
def backfill_page(kind: str, *, after_id: int = 0, limit: int = 200) -> Page:
    """Enqueue the next `limit` source rows above `after_id`, locked in order of primary key, and commit.

    Deleted and waiting rows are enqueued like any other: as tombstones, which the relay drops where nothing was
    published. Raises UnknownKind, ValueError for a limit below 1, PublishingDisabled.
    """
    entry = get_kind(kind)
    if limit < 1:
        raise ValueError(f"A page has at least 1 row, not {limit}.")
    if not settings.PUBLISH_ENABLED:
        raise PublishingDisabled("Publishing is switched off: set PUBLISH_ENABLED=true before a backfill.")
    enqueued, highest = insert_outbox_rows(entry, Q(pk__gt=after_id), limit=limit)
    return Page(enqueued=enqueued, last_id=after_id if highest is None else highest)


@in_transaction
def begin(kinds: Iterable[str], *, after_id: int = 0) -> None:
    """Remember that a backfill of these kinds starts above `after_id`."""
    for kind in kinds:
        BackfillPosition.objects.update_or_create(
            kind=get_kind(kind).name, defaults={"last_id": after_id, "finished": False}
        )


def unfinished(kinds: Iterable[str]) -> dict[str, int]:
    """Those of these kinds whose last backfill did not reach the end → the id above which it goes on."""
    rows = BackfillPosition.objects.filter(kind__in=list(kinds), finished=False)
    return dict(rows.values_list("kind", "last_id"))


@in_transaction
def backfill_next(kind: str, *, limit: int) -> Page:
    """The page after the remembered position, and the new position, in one transaction. See backfill_page()."""
    position = BackfillPosition.objects.select_for_update(no_key=True).get(kind=kind)
    page = backfill_page(kind, after_id=position.last_id, limit=limit)
    position.last_id, position.finished = page.last_id, not page.enqueued
    position.save(update_fields=["last_id", "finished"])
    return page


def remaining(kind: str, *, after_id: int) -> int:
    """How many source rows lie above `after_id`."""
    return get_kind(kind).model._base_manager.filter(pk__gt=after_id).count()


def is_deeper_than(rows: int) -> bool:
    """Whether more than so many rows wait in the outbox; counts no further than that."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) > %s FROM (SELECT FROM publish_outbox LIMIT %s) AS waiting", [rows, rows + 1])
        return bool(cursor.fetchone()[0])
