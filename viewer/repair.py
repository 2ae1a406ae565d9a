"""`python -m viewer repair`: a new database in place of a damaged one, with its owner and each rating that can be read.

A rating that waits for the hub exists nowhere else. All other rows are the hub's, and the next sync brings them.
"""

import json
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.db.models import Model
from django.utils import timezone

from viewer.models import Owner, Rating, SyncState
from viewer.prepare import ViewerRuns, alone, prepare_database
from viewer.storage import Damaged, check

_SUFFIXES: Final = ("", "-wal", "-shm")


def repair() -> int:
    """Returns the exit code."""
    if connection.vendor != "sqlite":
        sys.stderr.write("Only an SQLite database is repaired here. PostgreSQL has means of its own.\n")
        return 1
    try:
        with alone():
            return _repair(Path(settings.DATABASES["default"]["NAME"]))
    except ViewerRuns as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _repair(path: Path) -> int:
    if not path.exists():
        sys.stderr.write(f"There is no database at {path}, so there is nothing to repair.\n")
        return 1
    try:
        check()
    except Damaged:
        pass
    else:
        sys.stdout.write(f"The database at {path} is sound. Nothing was changed.\n")
        return 0
    finally:
        connection.close()
    repaired, kept, unreadable = path.with_name(f"{path.name}.repairing"), 0, 0
    # What is there stays in its place until all of it is in a file beside it: the disk may be full, or a row a trap.
    _remove(repaired)
    with _database_at(repaired):
        prepare_database()
        for row in _owners(path):
            _insert(Owner, row)
        for row in _readable_rows(path, Rating):
            if _insert(Rating, row) or _insert(Rating, {**row, "holds_card": 0}):
                kept += 1
            else:
                unreadable += 1
        waiting = Rating.objects.filter(state=Rating.State.WAITING).count()
    damaged = path.with_name(f"{path.name}.damaged-{timezone.now():%Y%m%d-%H%M%S}")
    for suffix in _SUFFIXES:
        file = Path(f"{path}{suffix}")
        if file.exists():
            file.rename(f"{damaged}{suffix}")
    repaired.rename(path)
    lost = f" {unreadable} more are damaged themselves." if unreadable else ""
    sys.stdout.write(
        f"A new database is at {path}, with the {kept} ratings that could be read, of which {waiting} wait for the "
        f"hub.{lost} The damaged one is kept as {damaged}. Start the viewer again: the rest comes from the hub.\n"
    )
    return 0


@contextmanager
def _database_at(path: Path) -> Iterator[None]:
    """Let all that uses the database work in this file, which is whole once it is left."""
    database = settings.DATABASES["default"]
    own = database["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = database["NAME"] = str(path)
    try:
        yield
    finally:
        # The last connection to leave moves its WAL into the file.
        connection.close()
        connection.settings_dict["NAME"] = database["NAME"] = own


def _remove(path: Path) -> None:
    for suffix in _SUFFIXES:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _owners(path: Path) -> list[dict[str, Any]]:
    """The owner's row; of a database from before there were owners, one made of the source that it followed."""
    owners = list(_readable_rows(path, Owner))
    sources = [row.get("source") for row in _readable_rows(path, SyncState)]
    return owners or [{"id": 1, "sources": json.dumps([source])} for source in sources if source]


def _insert(model: type[Model], row: Mapping[str, Any]) -> bool:
    """The row as it was read; a column that its version did not have gets its default. False for one that is no row of
    this model: whatever is read later from the new database must not fail over it."""
    values = {
        field.column: field.get_db_prep_save(field.get_default(), connection) for field in model._meta.concrete_fields
    }
    values |= {column: value for column, value in row.items() if column in values}
    names = ", ".join(map(connection.ops.quote_name, values))
    places = ", ".join(["%s"] * len(values))
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {model._meta.db_table} ({names}) VALUES ({places})",  # noqa: S608 - a model's names
                list(values.values()),
            )
            inserted = model._default_manager.extra(where=["rowid = last_insert_rowid()"]).get()
            inserted.clean_fields(exclude=_may_be_empty(inserted))
    except (DatabaseError, ValidationError, ValueError, TypeError, AttributeError):
        return False
    return True


def _may_be_empty(row: Model) -> set[str]:
    """The fields of a row that hold nothing, and may: forms, for which Django asks, are stricter."""
    values = {field.name: (field.value_from_object(row), field.null) for field in row._meta.concrete_fields}
    return {name for name, (value, null) in values.items() if value == "" or (value is None and null)}


def _readable_rows(path: Path, model: type[Model]) -> Iterator[dict[str, Any]]:
    """From both ends of the model's table, until the damage: each row once. Nothing where there is no such table."""
    read: set[Any] = set()
    table = model._meta.db_table
    for order in ("ASC", "DESC"):
        try:
            source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            source.row_factory = sqlite3.Row
            source.text_factory = _text
            for row in source.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY rowid {order}"):  # noqa: S608
                if row["id"] not in read:
                    read.add(row["id"])
                    yield dict(row)
        except sqlite3.Error:
            continue  # as far as it could be read
        finally:
            source.close()


def _text(stored: bytes) -> str:
    # One damaged letter must not hide all rows behind it.
    return stored.decode(errors="replace")
