"""How long a statement may take and wait: told to PostgreSQL as a session begins, by what the process is for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from django.conf import settings
from django.db import Error, connection, connections

BRIEF_MILLISECONDS: Final = 100


def with_parameters(database: Mapping[str, Any], parameters: Mapping[str, int]) -> dict[str, Any]:
    """This entry of DATABASES, whose sessions begin with these parameters; what it says itself goes over them."""
    options = dict(database.get("OPTIONS", {}))
    ours = " ".join(f"-c {name}={value}" for name, value in parameters.items())
    options["options"] = f"{ours} {options.get('options', '')}".strip()
    return {**database, "OPTIONS": options}


def bound_requests() -> None:
    """Let this process answer requests: no statement takes, or waits for a lock, for longer than a person would.

    Before its first connection. Commands stay without these bounds: a migration may take its time.
    """
    bounds = {
        "lock_timeout": settings.LOCK_TIMEOUT_SECONDS * 1000,
        "statement_timeout": settings.STATEMENT_TIMEOUT_SECONDS * 1000,
    }
    database = connections.settings["default"]
    database.update(with_parameters(database, bounds))


@contextmanager
def brief_lock_waits() -> Iterator[None]:
    """Inside, statements of this thread's connection wait for a lock hardly at all."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {BRIEF_MILLISECONDS}")
    try:
        yield
    finally:
        try:
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")
        except Error:
            # It would keep the setting, if there is anything left of it.
            connection.close()
