"""`python -m viewer repair`: a new database in place of a damaged one, with its owner and each rating that can be read.

A rating that waits for the hub exists nowhere else. All other rows are the hub's, and the next sync brings them.
"""

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from viewer.models import Owner, Rating
from viewer.prepare import ViewerRuns, alone, prepare_database
from viewer.storage import Damaged, check


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
    owners, ratings = (list(_readable_rows(path, model)) for model in (Owner, Rating))
    damaged = path.with_name(f"{path.name}.damaged-{timezone.now():%Y%m%d-%H%M%S}")
    for suffix in ("", "-wal", "-shm"):
        file = Path(f"{path}{suffix}")
        if file.exists():
            file.rename(f"{damaged}{suffix}")
    prepare_database()
    _insert(Owner, owners)
    _insert(Rating, ratings)
    waiting = Rating.objects.filter(state=Rating.State.WAITING).count()
    sys.stdout.write(
        f"A new database is at {path}, with the {len(ratings)} ratings that could be read, of which {waiting} wait for "
        f"the hub. The damaged one is kept as {damaged}. Start the viewer again: the rest comes from the hub.\n"
    )
    return 0


def _insert(model: type[Model], rows: list[dict[str, Any]]) -> None:
    """The rows as they were read; a column that their version did not have gets its default."""
    defaults = {
        field.column: field.get_db_prep_save(field.get_default(), connection) for field in model._meta.concrete_fields
    }
    names = ", ".join(connection.ops.quote_name(column) for column in defaults)
    places = ", ".join(["%s"] * len(defaults))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {model._meta.db_table} ({names}) VALUES ({places})",  # noqa: S608 - a model's names
            [[row.get(column, default) for column, default in defaults.items()] for row in rows],
        )


def _readable_rows(path: Path, model: type[Model]) -> Iterator[dict[str, Any]]:
    """From both ends of the model's table, until the damage: each row once. Nothing where there is no such table."""
    read: set[Any] = set()
    table = model._meta.db_table
    for order in ("ASC", "DESC"):
        try:
            source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            source.row_factory = sqlite3.Row
            for row in source.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY rowid {order}"):  # noqa: S608
                if row["id"] not in read:
                    read.add(row["id"])
                    yield dict(row)
        except (sqlite3.Error, UnicodeDecodeError):
            continue  # as far as it could be read
        finally:
            source.close()
