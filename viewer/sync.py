"""Following the feed: one step fetches a page and applies it.

Rows, tombstones and the cursor change in one transaction, so whatever kills a step leaves either all of its
page or nothing. A page is applied only where the state's cursor is still the one it was fetched with: the
same page delivered twice, or two processes following at once, change nothing the second time.

Starting over (410, or another hub or token) empties the cursor and opens a new generation. Rows of the old
one stay readable until the new scan has reached the head; what it did not bring goes with that last page.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections, models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from viewer.feed_client import FeedClient, HubAway, Item, Page, ResyncRequired, TokenRefused
from viewer.kinds import KINDS, Kind, UnreadablePayload
from viewer.models import CardProgress, Projection, Rating, SyncState, UnknownItem

# A rating may change nothing that is published, and then the feed brings nothing. Once the hub has had this
# long to publish and the feed was read to its head, the card is free again.
RESULT_WITHIN = timedelta(seconds=60)
LONGEST_REST = timedelta(minutes=5)
REST_AFTER_TIMEOUT = timedelta(seconds=15)


@dataclass(frozen=True)
class Step:
    """What one step did. `stale` says that the page was not applied because another process was faster."""

    upserted: int = 0
    deleted: int = 0
    kept: int = 0
    swept: int = 0
    seq: int = 0
    head: int = 0
    has_more: bool = False
    started_over: bool = False
    stale: bool = False


def sync_once(client: FeedClient, *, wait: int = 0) -> Step:
    """Fetch the next page and apply it; or start over, where the hub or the settings ask for it.

    Raises HubAway or TokenRefused; see `record_failure`.
    """
    state = current_state()
    if state.source != _source():
        start_over(state)
        # Before its first page a database has nothing to start over from.
        return Step(has_more=True, started_over=bool(state.cursor))
    try:
        page = client.fetch_page(state.cursor, wait=wait)
    except ResyncRequired:
        start_over(state)
        return Step(has_more=True, started_over=True)
    return apply_page(page)


def current_state() -> SyncState:
    return SyncState.objects.get_or_create(pk=1)[0]


def _locked_state() -> SyncState:
    """The state row, locked. SQLite's transactions are one after the other anyway; PostgreSQL's are not."""
    current_state()
    return SyncState.objects.select_for_update(no_key=True).get(pk=1)


def _source() -> str:
    """Which feed the rows are of. A hash, because the token is a secret and the database is not."""
    return hashlib.sha256(f"{settings.HUB_URL}\n{settings.HUB_TOKEN}".encode()).hexdigest()


def start_over(seen: SyncState) -> None:
    """Go back to the empty cursor, keeping every row readable until the new scan has reached the head."""
    with transaction.atomic():
        state = _locked_state()
        if (state.cursor, state.generation) != (seen.cursor, seen.generation):
            return
        if state.cursor:
            # A scan that has not applied a page yet has brought no rows: its generation is still unused.
            state.generation += 1
        state.cursor = ""
        state.source = _source()
        state.scanning = True
        state.seq = 0
        state.at_head = False
        state.learner_id = None
        state.several_learners = False
        state.save(
            update_fields=[
                "cursor",
                "generation",
                "source",
                "scanning",
                "seq",
                "at_head",
                "learner_id",
                "several_learners",
            ]
        )


def apply_page(page: Page) -> Step:
    """Apply one page and move the cursor, in one transaction."""
    with transaction.atomic():
        state = _locked_state()
        if page.after != state.cursor:
            return Step(seq=state.seq, head=state.head, has_more=not state.at_head, stale=True)
        upserted, deleted, kept = _apply_items(page.items, state.generation)
        _note_learners(state, page.items)
        swept = 0
        if state.scanning and not page.has_more:
            swept = _sweep(state.generation)
            state.scanning = False
        _move_cursor(state, page)
        _release_cards(at_head=state.at_head)
    return Step(
        upserted=upserted,
        deleted=deleted,
        kept=kept,
        swept=swept,
        seq=state.seq,
        head=state.head,
        has_more=page.has_more,
    )


def apply_kept_items() -> int:
    """Apply the kept items that this version understands, as after an upgrade. Returns their number."""
    with transaction.atomic():
        generation = _locked_state().generation
        versions = {name: kind.schema_version for name, kind in KINDS.items()}
        known = [
            Item(
                seq=row.seq,
                kind=row.kind,
                id=row.source_id,
                learner_id=row.learner_id,
                schema_version=row.schema_version,
                deleted=False,
                hash=row.hash,
                payload=json.loads(row.payload),
            )
            for row in UnknownItem.objects.filter(kind__in=versions, generation=generation).order_by("seq")
            if versions[row.kind] == row.schema_version
        ]
        return _apply_items(known, generation)[0]


def record_failure(error: HubAway | TokenRefused) -> None:
    """Keep the failure's sentence for the pages, and when to leave the hub alone."""
    now = timezone.now()
    rest = None
    if isinstance(error, HubAway) and error.retry_after is not None:
        rest = min(timedelta(seconds=error.retry_after), LONGEST_REST)
    elif isinstance(error, HubAway) and error.slow:
        rest = REST_AFTER_TIMEOUT
    current_state()
    SyncState.objects.filter(pk=1).update(
        failure=SyncState.Failure.TOKEN if isinstance(error, TokenRefused) else SyncState.Failure.AWAY,
        failure_sentence=str(error),
        rest_until=now + rest if rest else None,
    )


def record_answer() -> None:
    """The hub answered a rating, so it is not away, whatever was noted before."""
    SyncState.objects.filter(pk=1, failure=SyncState.Failure.AWAY).update(
        failure=SyncState.Failure.NONE, failure_sentence="", rest_until=None
    )


def _apply_items(items: Iterable[Item], generation: int) -> tuple[int, int, int]:
    """Returns how many items were upserts, tombstones, and kept without being understood."""
    upserts: dict[str, list[tuple[Item, dict[str, object]]]] = defaultdict(list)
    tombstones: dict[str, list[Item]] = defaultdict(list)
    unknown: list[tuple[Item, str]] = []
    applied: list[Item] = []
    for item in items:
        kind = KINDS.get(item.kind)
        if item.deleted:
            applied.append(item)
            if kind:
                tombstones[item.kind].append(item)
            continue
        if kind is None:
            unknown.append((item, "This version does not know the kind."))
            continue
        if item.schema_version != kind.schema_version:
            unknown.append((item, f"This version reads schema version {kind.schema_version} only."))
            continue
        try:
            values = kind.read(item.payload)
        except UnreadablePayload as error:
            unknown.append((item, f"The payload cannot be read: {error}."))
            continue
        upserts[item.kind].append((item, values))
        applied.append(item)

    for name, rows in upserts.items():
        _upsert(KINDS[name], rows, generation)
    for name, dead in tombstones.items():
        _delete(KINDS[name].model, dead, generation)
    if unknown:
        _keep(unknown, generation)
    if applied and UnknownItem.objects.exists():
        _drop_kept(applied, generation)
    return sum(map(len, upserts.values())), len(applied) - sum(map(len, upserts.values())), len(unknown)


# The statements below are SQL because the ORM can say neither "replace only an older row" on a conflict nor
# "a thousand rows at once" on SQLite, where it stops at 999 parameters. executemany prepares them once.
# Newer means a later generation, or a higher seq within one: after a new epoch the hub may count from lower.


def _upsert(kind: Kind, rows: Sequence[tuple[Item, dict[str, object]]], generation: int) -> None:
    records = []
    for item, values in rows:
        record = {
            "id": item.id,
            "seq": item.seq,
            "generation": generation,
            "hash": item.hash,
            "schema_version": item.schema_version,
            **values,
        }
        if kind.model is CardProgress:
            record["learner_id"] = item.learner_id
        records.append(record)
    _write_newer(kind.model, records, key=("id",))


def _keep(unknown: Sequence[tuple[Item, str]], generation: int) -> None:
    records: list[dict[str, object]] = [
        {
            "kind": item.kind,
            "source_id": item.id,
            "seq": item.seq,
            "generation": generation,
            "hash": item.hash,
            "schema_version": item.schema_version,
            "learner_id": item.learner_id,
            "payload": json.dumps(item.payload),
            "reason": reason,
        }
        for item, reason in unknown
    ]
    _write_newer(UnknownItem, records, key=("kind", "source_id"))
    # What we hold of such a row is older, but it is still published: the sweep must not take it. Its seq goes
    # to just below the kept item's, so that the item can replace it once it is understood.
    still_published: dict[str, list[Item]] = defaultdict(list)
    for item, _ in unknown:
        if item.kind in KINDS:
            still_published[item.kind].append(item)
    quote = connection.ops.quote_name
    for name, items in still_published.items():
        table = quote(KINDS[name].model._meta.db_table)
        with connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {table} SET generation = %s, seq = %s "  # noqa: S608 - the table is a model's
                "WHERE id = %s AND (generation, seq) < (%s, %s)",
                [(generation, item.seq - 1, item.id, generation, item.seq - 1) for item in items],
            )


def _write_newer(model: type[models.Model], records: Sequence[dict[str, object]], *, key: tuple[str, ...]) -> None:
    fields = [field for field in model._meta.concrete_fields if field.name in records[0]]
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    columns = [quote(field.column) for field in fields]
    replaced = ", ".join(f"{column} = excluded.{column}" for column in columns)
    statement = (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(map(quote, key))}) DO UPDATE SET {replaced} "
        f"WHERE (excluded.generation, excluded.seq) > ({table}.generation, {table}.seq)"
    )
    with connection.cursor() as cursor:
        columns_of_values = [_prepared(field, records) for field in fields]
        cursor.executemany(statement, list(zip(*columns_of_values, strict=True)))


def _prepared(field: "models.Field[Any, Any]", records: Sequence[dict[str, object]]) -> list[Any]:
    """One column of the records, as the database takes it."""
    values = [record[field.name] for record in records]
    if isinstance(field, models.DateTimeField | models.JSONField):
        # Numbers and texts go as they are: asking their fields took longer than writing the rows.
        database = connections[DEFAULT_DB_ALIAS]
        return [field.get_db_prep_save(value, database) for value in values]
    return values


def _delete(model: type[Projection], items: Sequence[Item], generation: int) -> None:
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.executemany(
            f"DELETE FROM {table} WHERE id = %s AND (generation, seq) < (%s, %s)",  # noqa: S608 - as above
            [(item.id, generation, item.seq) for item in items],
        )


def _drop_kept(items: Sequence[Item], generation: int) -> None:
    """Forget what was kept of rows that are now applied, or gone."""
    table = connection.ops.quote_name(UnknownItem._meta.db_table)
    with connection.cursor() as cursor:
        cursor.executemany(
            f"DELETE FROM {table} WHERE kind = %s AND source_id = %s AND (generation, seq) <= (%s, %s)",  # noqa: S608
            [(item.kind, item.id, generation, item.seq) for item in items],
        )


def _sweep(generation: int) -> int:
    """Delete what the scan that just reached the head did not bring."""
    swept = 0
    models_to_sweep: list[type[models.Model]] = [*(kind.model for kind in KINDS.values()), UnknownItem]
    for model in models_to_sweep:
        swept += model._default_manager.filter(generation__lt=generation).delete()[0]
    return swept


def _note_learners(state: SyncState, items: Iterable[Item]) -> None:
    for learner_id in {item.learner_id for item in items if item.learner_id is not None}:
        if state.learner_id is None:
            state.learner_id = learner_id
        elif state.learner_id != learner_id:
            state.several_learners = True


def _move_cursor(state: SyncState, page: Page) -> None:
    state.cursor = page.cursor
    state.head = page.head
    state.seq = max([state.seq, *(item.seq for item in page.items)])
    state.at_head = not page.has_more
    state.synced_at = timezone.now()
    state.failure = SyncState.Failure.NONE
    state.failure_sentence = ""
    state.rest_until = None
    state.save(
        update_fields=[
            "cursor",
            "scanning",
            "seq",
            "head",
            "at_head",
            "learner_id",
            "several_learners",
            "synced_at",
            "failure",
            "failure_sentence",
            "rest_until",
        ]
    )


def _release_cards(*, at_head: bool) -> None:
    """Put cards back into the queues: their ratings came back through the feed, or changed nothing."""
    newer = CardProgress.objects.filter(card_id=OuterRef("card_id"), seq__gt=OuterRef("after_seq"))
    settled = Q(Exists(newer))
    if at_head:
        settled |= Q(accepted_at__lt=timezone.now() - RESULT_WITHIN)
    Rating.objects.filter(settled, holds_card=True, state=Rating.State.ACCEPTED).update(holds_card=False)


def progress_seq(card_id: int) -> int:
    """Where in the feed the progress held for a card stands; 0 without one."""
    row = CardProgress.objects.filter(card_id=card_id).order_by(F("seq").desc()).values_list("seq", flat=True)
    return row.first() or 0
