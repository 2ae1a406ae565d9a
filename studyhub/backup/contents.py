"""What a database holds at one moment: of which versions, how many rows, and where its feed stands."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from django.db import connection, transaction
from psycopg import sql

from studyhub.backup.manifest import Feed

_TABLES = """
SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind = 'r' AND nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%' ORDER BY 1, 2
"""


class Contents(NamedTuple):
    """`rows` are by SCHEMA.TABLE, `migrations` are APP.NAME. A table without rows is there with 0."""

    postgresql: str
    rows: dict[str, int]
    migrations: tuple[str, ...]
    feed: Feed | None


@contextmanager
def exported_snapshot() -> Iterator[str]:
    """One moment for all that is read inside, also by another session that is given this name of it."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            # It waits for pg_dump, however long that takes.
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SELECT pg_export_snapshot()")
            name = cursor.fetchone()[0]
        yield name


def tables() -> list[tuple[str, str]]:
    """Schema and name of each table in the default connection's database that is not PostgreSQL's own."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        return list(cursor.fetchall())


def contents() -> Contents:
    """Count what is in the default connection's database. Call it in a transaction of one snapshot."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int")
        number = cursor.fetchone()[0]
        rows = {}
        for schema, table in tables():
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table)))
            rows[f"{schema}.{table}"] = cursor.fetchone()[0]
        migrations, feed = [], None
        if "public.django_migrations" in rows:
            cursor.execute("SELECT app || '.' || name FROM django_migrations ORDER BY 1")
            migrations = [name for (name,) in cursor.fetchall()]
        if "public.publish_feed_state" in rows:
            cursor.execute("SELECT epoch, last_seq FROM publish_feed_state")
            row = cursor.fetchone()
            feed = Feed(epoch=row[0], last_seq=row[1]) if row else None
    return Contents(f"{number // 10_000}.{number % 10_000}", rows, tuple(migrations), feed)
