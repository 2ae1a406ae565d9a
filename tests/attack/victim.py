"""A hub that is attacked on loopback, and what others see of it meanwhile."""

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from django.db import connection

from publish.news import APPLICATION_NAME
from tests.process.processes import Installation, Process, say, wait_until


def allow_many_connections() -> None:
    """As many as this process may have."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Victim:
    """A running hub: where it answers, what it costs, and how long others wait."""

    def __init__(self, installation: Installation) -> None:
        self.url, self.port = installation.url, installation.port
        self._hub: Process = installation.hub()

    @property
    def worker(self) -> int:
        """The process that serves: granian's child."""
        children = Path(f"/proc/{self._hub.pid}/task/{self._hub.pid}/children").read_text().split()
        return int(children[-1])

    @property
    def memory(self) -> int:
        """Resident, in MB."""
        lines = Path(f"/proc/{self.worker}/status").read_text().splitlines()
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))

    @property
    def cpu(self) -> float:
        """Seconds that it has worked."""
        tasks = Path(f"/proc/{self.worker}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def load(self, *, seconds: float) -> float:
        """How much of one core it takes."""
        before, started = self.cpu, time.monotonic()
        time.sleep(seconds)
        return (self.cpu - before) / (time.monotonic() - started)

    @property
    def files(self) -> int:
        """Open descriptors, connections included."""
        return len(list(Path(f"/proc/{self.worker}/fd").iterdir()))

    def latency(self, path: str = "/login/", *, status: int = 200, **headers: str) -> float:
        """Seconds that somebody else waits for an answer."""
        started = time.monotonic()
        response = httpx.get(f"{self.url}{path}", headers=headers, timeout=20)
        assert response.status_code == status, response.text
        return time.monotonic() - started

    def best_latency(self, *, tries: int = 5) -> float:
        """The shortest of a few: on a busy machine the others say little."""
        return min(self.latency() for _ in range(tries))

    def connect(self, head: str, *, reads: int | None = None, address: str = "127.0.0.1") -> socket.socket:
        """A connection on which this was sent. `reads`: the size of its receive buffer."""
        client = socket.socket()
        if reads is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, reads)
        client.bind((address, 0))
        client.settimeout(30)
        client.connect(("127.0.0.1", self.port))
        client.sendall(head.replace("\n", "\r\n").encode())
        return client

    def tell(self, what: str, *, before: int) -> None:
        """A line of figures."""
        say(f"{what}: GET /login/ {self.best_latency():.2f} s; memory {before} → {self.memory} MB; {self.files} files")


def feed(token: str, query: str = "", accept: str = "application/json") -> str:
    """The head of a request for the feed."""
    return f"GET /api/feed?{query} HTTP/1.1\nHost: localhost\nAuthorization: Bearer {token}\nAccept: {accept}\n\n"


@contextlib.contextmanager
def closing(clients: list[socket.socket]) -> Iterator[list[socket.socket]]:
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def status_of(client: socket.socket) -> int:
    """The status of the answer that comes on this connection; 0 where it is closed without one."""
    try:
        line = client.recv(4096)
    except ConnectionError:
        return 0
    return int(line.split()[1]) if line else 0


def wait_until_nobody_reads() -> None:
    """Until no connection of the hub's pool has done anything for a moment: all who came wait."""
    wait_until(lambda: _seconds_since_a_read() > 0.5, what="That nobody reads")


def _seconds_since_a_read() -> float:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(extract(epoch FROM clock_timestamp() - max(state_change)), 60) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> %s",
            [APPLICATION_NAME],
        )
        row: Any = cursor.fetchone()
        return float(row[0])


def wait_for_files(victim: Victim, at_most: int) -> None:
    """Until the connections of those who have gone are closed there, too; its own to the database come by and by."""
    wait_until(lambda: victim.files <= at_most, what=f"At most {at_most} open files in the hub")
