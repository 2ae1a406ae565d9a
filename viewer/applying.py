"""Items of the feed into the tables: by key, newer over older, in a transaction of the caller's.

An item that this version does not understand is kept as it came; what is held of its row stays readable.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections, models

from viewer.hub_responses import Item
from viewer.kinds import CATALOGUE, HeldKind, UnreadablePayload
from viewer.models import Projection, UnknownItem


def apply_items(items: Iterable[Item], generation: int) -> tuple[int, int, int]:
    """Returns how many items were upserts, tombstones, and kept without being understood."""
    upserts: dict[str, list[tuple[Item, dict[str, object]]]] = defaultdict(list)
    tombstones: dict[str, list[Item]] = defaultdict(list)
    unknown: list[tuple[Item, str]] = []
    applied: list[Item] = []
    for item in items:
        kind = CATALOGUE.get(item.kind)
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
        _upsert(CATALOGUE[name], rows, generation)
    for name, dead in tombstones.items():
        _delete(CATALOGUE[name].model, dead, generation)
    if unknown:
        _keep(unknown, generation)
    if applied and UnknownItem.objects.exists():
        _drop_kept(applied, generation)
    return sum(map(len, upserts.values())), len(applied) - sum(map(len, upserts.values())), len(unknown)


# The statements below are SQL because the ORM can say neither "replace only an older row" on a conflict nor
# "a thousand rows at once" on SQLite, where it stops at 999 parameters. executemany prepares them once.
# Newer means a later generation, or a higher seq within one: after a new epoch the hub may count from lower.


def _upsert(kind: HeldKind, rows: Sequence[tuple[Item, dict[str, object]]], generation: int) -> None:
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
        if kind.owner is not None:
            record[kind.owner] = item.learner_id
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
        if item.kind in CATALOGUE:
            still_published[item.kind].append(item)
    quote = connection.ops.quote_name
    for name, items in still_published.items():
        table = quote(CATALOGUE[name].model._meta.db_table)
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


def kept_item(row: UnknownItem) -> Item:
    """A kept row as the item that it came as."""
    return Item(
        seq=row.seq,
        kind=row.kind,
        id=row.source_id,
        learner_id=row.learner_id,
        schema_version=row.schema_version,
        deleted=False,
        hash=row.hash,
        payload=json.loads(row.payload),
    )


def sweep(generation: int) -> int:
    """Delete what the scan that just reached the head did not bring."""
    swept = 0
    models_to_sweep: list[type[models.Model]] = [*(kind.model for kind in CATALOGUE.values()), UnknownItem]
    for model in models_to_sweep:
        swept += model._default_manager.filter(generation__lt=generation).delete()[0]
    return swept
