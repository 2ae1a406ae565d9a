"""enqueue() and enqueue_*: the writers of the outbox. Call them in the transaction of the touch, right after it.

A caller says only "I touched these rows". PostgreSQL locks each row, reads its newest state, decides between payload
and tombstone, and draws the outbox id, in that order: so for one key the order of outbox ids is the order of commits.

Gotchas, each found by breaking it:
- The outbox id comes from the column's default. An explicit nextval() in the SELECT would be drawn below the lock.
- LIMIT belongs in the locking SELECT itself, never in a subquery of its WHERE.
- A filtered queryset no longer matches after it was updated: hence instances or primary keys, never a queryset.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.db import connection, models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Cast

from publish.keys import among
from publish.kinds import JsonBuildObject, PublishedKind, get_kind
from publish.models import PAYLOAD_LIMIT_BYTES, UNDECODABLE, RawJSONField

PrimaryKeyOrInstance = int | models.Model

# What source_statement() selects, in this order.
SOURCE_COLUMNS = "source_id, learner_id, payload, deleted"
_SQL_COLUMNS = "(kind, source_id, learner_id, payload, payload_hash, schema_version, deleted)"


class TransactionRequired(RuntimeError):
    """An enqueue outside a transaction: the touch and its outbox row could come apart."""


def require_transaction() -> None:
    """Raise TransactionRequired outside `transaction.atomic()`."""
    if not connection.in_atomic_block:
        raise TransactionRequired(
            "enqueue_* must run in the transaction of the change that it publishes. "
            "Put the change and the call into one `with transaction.atomic():` block."
        )


def enqueue(kind: str, *rows: PrimaryKeyOrInstance) -> int:
    """Publish the present state of these source rows (instances or primary keys) as that kind. Returns the number of
    outbox rows. Raises UnknownKind, TransactionRequired."""
    entry = get_kind(kind)
    keys = _primary_keys(entry, rows)
    require_transaction()
    if not settings.PUBLISH_ENABLED or not keys:
        return 0
    count, _highest = insert_outbox_rows(entry, among(keys))
    return count


def enqueue_topic_publish(*topics: PrimaryKeyOrInstance) -> int:
    """Publish the present state of these topics (instances or primary keys). Returns the number of outbox rows."""
    return enqueue("topic", *topics)


def enqueue_question_publish(*questions: PrimaryKeyOrInstance) -> int:
    """Publish the present state of these questions and of their explanations. Returns the number of outbox rows."""
    return enqueue("question", *questions) + enqueue("explanation", *questions)


def enqueue_explanation_publish(*questions: PrimaryKeyOrInstance) -> int:
    """Publish the present state of these questions' explanations. Returns the number of outbox rows."""
    return enqueue("explanation", *questions)


def enqueue_card_publish(*cards: PrimaryKeyOrInstance) -> int:
    """Publish the present state of these cards (instances or primary keys). Returns the number of outbox rows."""
    return enqueue("card", *cards)


def enqueue_card_progress_publish(*rows: PrimaryKeyOrInstance) -> int:
    """Publish the present state of these progress rows. Returns the number of outbox rows."""
    return enqueue("card_progress", *rows)


def enqueue_tombstone_publish(kind: str, source_ids: Iterable[int]) -> int:
    """Publish tombstones for rows about to be hard-deleted, or gone already. Returns the number of outbox rows.

    Rows that exist are locked until the transaction ends. The owner comes from them, or else from what is pending or
    published: a tombstone without its learner would show everyone that there was something. Raises UnknownKind.
    """
    entry = get_kind(kind)
    require_transaction()
    ids = sorted(set(source_ids))
    if not settings.PUBLISH_ENABLED or not ids:
        return 0
    owner = _column(entry, entry.owner) if entry.owner else "NULL::bigint"
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_column(entry, 'pk')}, {owner} FROM {quote(entry.table)}"
            f" WHERE {_column(entry, 'pk')} = ANY(%s) ORDER BY 1 FOR NO KEY UPDATE",
            [ids],
        )
        owners: dict[int, int | None] = dict(cursor.fetchall())
        cursor.execute(
            # No index leads to a key in the outbox: one look at all of it, not one for each row.
            "WITH pending AS MATERIALIZED (SELECT DISTINCT ON (source_id) source_id, learner_id FROM publish_outbox"
            " WHERE kind = %s AND source_id = ANY(%s) ORDER BY source_id, id DESC)"
            f" INSERT INTO publish_outbox {_SQL_COLUMNS}"
            " SELECT %s, gone.id,"
            " coalesce(gone.owner, pending.learner_id,"
            " (SELECT learner_id FROM publish_item WHERE kind = %s AND source_id = gone.id)),"
            " '{}', sha256('{}'), %s, true"
            " FROM unnest(%s::bigint[], %s::bigint[]) AS gone(id, owner)"
            " LEFT JOIN pending ON pending.source_id = gone.id ORDER BY gone.id",
            [kind, ids, kind, kind, entry.schema_version, ids, [owners.get(key) for key in ids]],
        )
        return int(cursor.rowcount)


def enqueue_present_state(kind: str, source_ids: Iterable[int]) -> int:
    """Publish what these rows are now: payloads or tombstones, and tombstones for rows that are gone.

    For whoever knows keys and nothing else: repair, and what the relay set aside. Raises UnknownKind.
    """
    entry = get_kind(kind)
    ids = sorted(set(source_ids))
    enqueued = enqueue(kind, *ids)
    existing = set(entry.model._base_manager.filter(pk__in=ids).values_list("pk", flat=True))
    return enqueued + enqueue_tombstone_publish(kind, [key for key in ids if key not in existing])


def enqueue_publish(
    *,
    kind: str,
    source_id: int,
    payload: Mapping[str, Any],
    deleted: bool = False,
    learner_id: int | None = None,
) -> int:
    """Publish a payload of one's own under a known kind. Returns the number of outbox rows: 1, or 0 while disabled.

    The keys take the kind's own order, and PostgreSQL writes the text, so that equal content has an equal hash. A
    tombstone's payload is always empty. Raises UnknownKind; ValueError for what JSON or the feed cannot carry.
    """
    entry = get_kind(kind)
    require_transaction()
    if not settings.PUBLISH_ENABLED:
        return 0
    text = "{}" if deleted else _json_text(entry, payload)
    with connection.cursor() as cursor:
        # The source row, where there is one, is locked first: see the order of ids above.
        cursor.execute(
            f"SELECT 1 FROM {connection.ops.quote_name(entry.table)}"
            f" WHERE {_column(entry, 'pk')} = %s FOR NO KEY UPDATE",
            [source_id],
        )
        cursor.execute(
            f"INSERT INTO publish_outbox {_SQL_COLUMNS}"
            " SELECT %s, %s, %s, built.payload::json, sha256(convert_to(built.payload, 'UTF8')), %s, %s FROM ("
            # Written as json_build_object writes it; json_object_agg puts its blanks elsewhere.
            " SELECT '{' || coalesce(string_agg(to_json(key)::text || ' : ' || value::text, ', ' ORDER BY n), '')"
            " || '}' AS payload FROM json_each(%s::json) WITH ORDINALITY AS pair(key, value, n)) AS built",
            [kind, source_id, learner_id, entry.schema_version, deleted, text],
        )
        return int(cursor.rowcount)


def insert_outbox_rows(kind: PublishedKind, where: Q, *, limit: int | None = None) -> tuple[int, int | None]:
    """Enqueue the present state of the source rows that match, in order of primary key; the one way into the outbox.

    Returns (number of rows, highest source id or None). Unsafe alone: the caller holds a transaction, and `where` must
    not depend on anything that the transaction has changed.
    """
    source, params = source_statement(kind, where, limit=limit)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH entered AS ("
            f"INSERT INTO publish_outbox {_SQL_COLUMNS}"
            " SELECT %s, source_id, learner_id, payload, sha256(convert_to(payload::text, 'UTF8')), %s, deleted"
            f" FROM ({source} FOR NO KEY UPDATE) AS source({SOURCE_COLUMNS}) RETURNING source_id)"
            " SELECT count(*), max(source_id) FROM entered",
            [kind.name, kind.schema_version, *params],
        )
        count, highest = cursor.fetchone()
    return count, highest


def source_statement(kind: PublishedKind, where: Q, *, limit: int | None = None) -> tuple[str, tuple[Any, ...]]:
    """The SELECT that reads and projects source rows: SOURCE_COLUMNS.

    In order of primary key. With FOR NO KEY UPDATE after it, it waits for a writer in flight and then reads what that
    one committed.
    """
    owner = F(kind.owner) if kind.owner else Cast(Value(None), models.BigIntegerField())
    queryset = (
        kind.model._base_manager.filter(where)
        .order_by("pk")
        .values_list(
            F("pk"),
            owner,
            Case(
                When(kind.live, then=JsonBuildObject(kind.fields)),
                default=Value("{}", output_field=models.TextField()),
                output_field=RawJSONField(),
            ),
            Case(When(kind.live, then=Value(False)), default=Value(True)),
        )
    )
    if limit is not None:
        queryset = queryset[:limit]
    sql, params = queryset.query.sql_with_params()
    return sql, params


def _primary_keys(kind: PublishedKind, rows: Iterable[PrimaryKeyOrInstance]) -> list[int]:
    keys: set[int] = set()
    for row in rows:
        if isinstance(row, kind.model):
            if row.pk is None:
                raise ValueError(f"This {kind.name} has not been saved, so there is nothing to publish.")
            keys.add(row.pk)
        elif isinstance(row, int) and not isinstance(row, bool):
            keys.add(row)
        elif isinstance(row, models.QuerySet):
            raise TypeError(
                "enqueue_* takes instances or primary keys. A filtered queryset may match other rows, or none, after "
                "its rows were updated: take the primary keys before the update and pass those."
            )
        else:
            raise TypeError(
                f"enqueue_* takes instances of {kind.model.__name__} or primary keys, not {type(row).__name__}."
            )
    return sorted(keys)


def _column(kind: PublishedKind, name: str) -> str:
    field = kind.model._meta.pk if name == "pk" else kind.model._meta.get_field(name)
    column = getattr(field, "column", None)
    assert column is not None  # noqa: S101
    return str(connection.ops.quote_name(column))


def _json_text(kind: PublishedKind, payload: Mapping[str, Any]) -> str:
    if not isinstance(payload, Mapping):
        raise ValueError(f"A payload is an object with keys and values, not {type(payload).__name__}.")
    order = {name: place for place, name in enumerate(kind.fields)}
    try:
        # With the blanks that the statement will write, so that the size is the stored one.
        text = ", ".join(
            f"{_dumps(str(key))} : {_dumps(payload[key])}"
            for key in sorted(payload, key=lambda key: (order.get(key, len(order)), key))
        )
        size = len(text.encode()) + len("{}")
    except (TypeError, ValueError) as error:
        raise ValueError(f"This payload cannot be written as JSON: {error}.") from error
    if size > PAYLOAD_LIMIT_BYTES:
        raise ValueError(
            f"This payload has {size:,} bytes. The feed carries at most 320 KiB ({PAYLOAD_LIMIT_BYTES:,})."
        )
    if re.search(UNDECODABLE, text):
        raise ValueError("This payload holds a NUL character, which no text of the feed may hold.")
    return "{" + text + "}"


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
