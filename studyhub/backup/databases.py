"""The databases of the hub's server, as a restore needs them: made, swapped by name, dropped.

All names but the hub's own have a dot in them, which nobody else's are likely to have.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, Error, connection, connections
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from psycopg import sql

from studyhub.backup.errors import BackupError

MAINTENANCE: Final = "postgres"
NAME_BYTES: Final = 63
# A session outlives its program by a moment.
LEAVING_SECONDS: Final = 2.0
# One restore at a time on a server.
_ADVISORY_LOCK: Final = 0x5375_6479_4875_6221

_SESSIONS = """
SELECT coalesce(nullif(application_name, ''), 'a program without a name'), pid, usename, backend_start
FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend' AND pid <> pg_backend_pid()
ORDER BY backend_start
"""
# What a database is made with: another name for the same under each provider and in each version of PostgreSQL.
_LOCALE = """
SELECT pg_encoding_to_char(encoding), datcollate, datctype,
    CASE coalesce(to_jsonb(pg_database) ->> 'datlocprovider', 'c')
        WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
    coalesce(to_jsonb(pg_database) ->> 'datlocale', to_jsonb(pg_database) ->> 'daticulocale')
FROM pg_database WHERE datname = %s
"""
_SETTINGS = """
SELECT split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase, unnest(setconfig) AS setting
WHERE datname = %s AND setrole = 0
"""
_MAY = """
SELECT current_user, rolcreatedb OR rolsuper,
    coalesce((SELECT pg_has_role(datdba, 'MEMBER') FROM pg_database WHERE datname = %s), true)
FROM pg_roles WHERE rolname = current_user
"""


class Databases:
    """The server's databases, seen from the one that every server has. Use it as a context: only one restore has it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.restoring = _derived(name, "restoring")
        self._wrapper = wrapper_for(MAINTENANCE)

    def __enter__(self) -> "Databases":
        if not self._ask("SELECT pg_try_advisory_lock(%s)", _ADVISORY_LOCK)[0][0]:
            self._wrapper.close()
            raise BackupError("Another restore is at work on this server. Wait until it has ended.")
        return self

    def __exit__(self, *error: object) -> None:
        self._wrapper.close()

    @property
    def major(self) -> int:
        """The server's major version."""
        return int(self._ask("SELECT current_setting('server_version_num')::int")[0][0]) // 10_000

    def exists(self, name: str) -> bool:
        return bool(self._ask("SELECT 1 FROM pg_database WHERE datname = %s", name))

    def refuse_without_rights(self) -> None:
        """Raise BackupError where this role could not make a database, or not rename the hub's."""
        user, may_create, may_rename = self._ask(_MAY, self.name)[0]
        if not may_create:
            raise BackupError(
                f'A restore makes a database, and the role {user} may not. As a superuser: ALTER ROLE "{user}" CREATEDB'
            )
        if not may_rename:
            raise BackupError(
                f"A restore renames the database {self.name}, and the role {user} does not own it. As a superuser: "
                f'ALTER DATABASE "{self.name}" OWNER TO "{user}"'
            )

    def refuse_while_connected(self) -> None:
        """Raise BackupError, naming the sessions, while anybody is connected to the hub's database."""
        patience = time.monotonic() + LEAVING_SECONDS
        while (sessions := self._ask(_SESSIONS, self.name)) and time.monotonic() < patience:
            time.sleep(0.05)
        if sessions:
            noun = "session" if len(sessions) == 1 else "sessions"
            lines = "\n".join(
                f"    {program} (server process {pid}, role {user}, since {since:%Y-%m-%d %H:%M:%S %Z})"
                for program, pid, user, since in sessions
            )
            raise BackupError(
                f"Nothing was touched: the database {self.name} is in use by {len(sessions)} other {noun}. Stop "
                f"hub, relay and workers, and run this again.\n{lines}"
            )

    def drop(self, name: str) -> None:
        with self._wrapper.cursor() as cursor:
            # FORCE: a pg_restore whose parent was killed may still be connected.
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def make_restoring(self) -> None:
        """Make an empty database under the restore's name, of the same locale and settings as the hub's is now."""
        self.drop(self.restoring)
        options: sql.Composable = sql.SQL("")
        for encoding, collate, ctype, provider, locale in self._ask(_LOCALE, self.name):
            options = sql.SQL("ENCODING {} LC_COLLATE {} LC_CTYPE {} ").format(
                sql.Literal(encoding), sql.Literal(collate), sql.Literal(ctype)
            )
            if provider != "libc":
                options = options + sql.SQL(f"LOCALE_PROVIDER {provider} {provider}_LOCALE {{}}").format(
                    sql.Literal(locale)
                )
        new = sql.Identifier(self.restoring)
        with self._wrapper.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ").format(new) + options)
            for name, value in self._ask(_SETTINGS, self.name):
                cursor.execute(
                    sql.SQL("ALTER DATABASE {} SET {} TO {}").format(new, sql.Identifier(name), sql.Literal(value))
                )

    def swap(self) -> str | None:
        """Give the restored database the hub's name, in one transaction. Returns the name of the one that had it."""
        moment = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        replaced = _derived(self.name, f"replaced-{moment}") if self.exists(self.name) else None
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        try:
            with self._wrapper.cursor() as cursor, self._wrapper.connection.transaction():
                if replaced:
                    cursor.execute(rename.format(sql.Identifier(self.name), sql.Identifier(replaced)))
                cursor.execute(rename.format(sql.Identifier(self.restoring), sql.Identifier(self.name)))
        except Error as error:
            raise BackupError(
                "The restored database could not take the place of the hub's, which is as it was unless PostgreSQL "
                f"went away in that very moment: {error}"
            ) from error
        return replaced

    def _ask(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self._wrapper.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())


def wrapper_for(database: str) -> BaseDatabaseWrapper:
    """A connection like the default one, to another database of its server. The caller closes it."""
    # By this alias Django's apps leave it alone: they would ask the default connection about new ones.
    wrapper = connections[DEFAULT_DB_ALIAS].copy(alias=NO_DB_ALIAS)
    wrapper.settings_dict["NAME"] = database
    return wrapper


@contextmanager
def default_connection_to(database: str) -> Iterator[None]:
    """Let all that uses the default connection work in another database of the same server."""
    settings = connections[DEFAULT_DB_ALIAS].settings_dict
    own = settings["NAME"]
    connection.close()
    settings["NAME"] = database
    try:
        yield
    finally:
        connection.close()
        settings["NAME"] = own


def _derived(name: str, suffix: str) -> str:
    """NAME.SUFFIX, the name cut where PostgreSQL would cut the whole."""
    room = NAME_BYTES - len(suffix) - 1
    return f"{name.encode()[:room].decode(errors='ignore')}.{suffix}"
