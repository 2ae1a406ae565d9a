"""What the tests of publishing share: real connections, gates inside a transaction, and real processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

_GATE = 4242


@pytest.fixture
def until() -> Callable[..., Any]:
    """Poll until a condition holds, and return what it gave; fail after a deadline."""

    def poll(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"This did not come true within {seconds} s."
            time.sleep(0.01)
        return value

    return poll


@pytest.fixture
def connect(in_thread: Callable[..., Future[Any]]) -> Iterator[Callable[..., psycopg.Connection[Any]]]:
    """Open another connection to the test's database. All are closed before the threads of the test are awaited."""
    opened: list[psycopg.Connection[Any]] = []

    def open_one(*, autocommit: bool = False) -> psycopg.Connection[Any]:
        parameters = connection.get_connection_params()
        for name in ("cursor_factory", "context", "prepare_threshold"):
            parameters.pop(name, None)
        opened.append(psycopg.connect(**parameters, autocommit=autocommit))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def waiting(until: Callable[..., Any]) -> Callable[..., list[int]]:
    """Wait until so many backends of this database wait for a lock; returns their process ids."""

    def backends(wait_event: str) -> list[int]:
        with connection.cursor() as cursor:
            # Within a transaction this view would otherwise stand still.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock' AND wait_event LIKE %s",
                [wait_event],
            )
            return [pid for (pid,) in cursor.fetchall()]

    def wait(count: int = 1, *, wait_event: str = "%") -> list[int]:
        until(lambda: len(backends(wait_event)) >= count)
        return backends(wait_event)

    return wait


@pytest.fixture
def gate(
    connect: Callable[..., psycopg.Connection[Any]], waiting: Callable[..., list[int]]
) -> Iterator[Callable[..., Any]]:
    """Shut a gate in the database: whoever writes to that table waits there until the gate is opened.

    `gate("AFTER INSERT ON publish_item")` → a function that opens it. With `commit=True` they wait inside COMMIT.
    """
    names: list[str] = []
    keeper = connect(autocommit=True)

    def shut(event: str, *, commit: bool = False) -> Callable[[], None]:
        table = made_on = event.rpartition(" ")[2]
        keeper.execute("SELECT pg_advisory_lock(%s)", [_GATE])
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE OR REPLACE FUNCTION test_gate() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN PERFORM pg_advisory_xact_lock({_GATE}); RETURN NULL; END $$"
            )
            constraint, timing = ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED") if commit else ("", "")
            cursor.execute(
                f"CREATE {constraint} TRIGGER test_gate {event} {timing} FOR EACH ROW EXECUTE FUNCTION test_gate()"
            )
        names.append(made_on)
        return lambda: open_gate(table)

    def open_gate(table: str) -> None:
        keeper.execute("SELECT pg_advisory_unlock_all()")
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TRIGGER IF EXISTS test_gate ON {table}")

    yield shut
    for table in names:
        open_gate(table)


def _environment(extra: dict[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "STUDYHUB_TEST_DATABASE": str(connection.settings_dict["NAME"]),
        "PYTHONUNBUFFERED": "1",
        **extra,
    }


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-W", "error", "manage.py", *arguments]


@pytest.fixture
def manage() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `manage.py …` as a user does, in the test's database, to its end."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _command(arguments),
            cwd=settings.BASE_DIR,
            env=_environment(environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `manage.py …` and leave it running; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def launch(*arguments: str, command: list[str] | None = None, **environment: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                command or _command(arguments),
                cwd=settings.BASE_DIR,
                env=_environment(environment),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield launch
    for process in started:
        process.kill()
        process.communicate()
