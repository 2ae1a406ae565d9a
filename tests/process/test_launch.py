"""`make run`: what dies is started again, what cannot start is named, and nothing is left behind."""

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from django.db import connection

from memocards.content.editors import SYSTEM
from memocards.content.topics import create_topic
from tests.process.processes import CHECKOUT, Installation, Process, free_port, processes_marked, wait_until

HUB_AND_RELAY = ("hub", "relay")
ALL = (*HUB_AND_RELAY, "viewer", "viewer-sync")
# Learners read this without a login, so an answer comes from Django itself.
PAGES = {"hub": "/login/", "viewer": "/"}


class Launched:
    """`python -m studyhub.launch` in a directory of its own, and in this test's database."""

    def __init__(self, directory: Path) -> None:
        self.ports = {"hub": free_port(), "viewer": free_port()}
        self.mark = f"STUDYHUB_MARK={directory}"
        self.place = {
            "DATA_DIR": str(directory),
            "PORT": str(self.ports["hub"]),
            "VIEWER_PORT": str(self.ports["viewer"]),
        }
        database = connection.get_connection_params()
        socket = urlencode({name: database[name] for name in ("host", "port")})
        url = f"postgres://{database['user']}@/{database['dbname']}?{socket}"
        variables = {"DATABASE_URL": url, **dict([self.mark.split("=", 1)])}
        self.installation = Installation(directory, {**variables, **self.place})
        self.process: Process

    def start(self) -> None:
        self.process = self.installation.python("-m", "studyhub.launch", name="launch")

    def started(self, name: str) -> list[int]:
        """The numbers of the processes under which it has run."""
        return [int(pid) for pid in re.findall(rf"\| {name} started, process (\d+)\.", self.output)]

    @property
    def output(self) -> str:
        return self.process.output

    def answers(self, name: str) -> bool:
        try:
            url = f"http://127.0.0.1:{self.ports[name]}{PAGES[name]}"
            return httpx.get(url, timeout=10).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def is_up(self) -> bool:
        return all(self.started(name) for name in ALL) and self.answers("hub") and self.answers("viewer")

    def wait_for_restart(self, name: str, starts: int) -> None:
        wait_until(lambda: len(self.started(name)) > starts, what=f"Another start of {name}")
        if name in PAGES:
            wait_until(lambda: self.answers(name), what=f"An answer of the new {name}")

    def wait_for_end_of(self, pids: set[int]) -> None:
        wait_until(lambda: not pids & processes_marked(self.mark), seconds=5, what="The end of its workers")

    def assert_nothing_is_left(self) -> None:
        wait_until(lambda: not processes_marked(self.mark), seconds=5, what="The end of every process")
        assert not any(self.answers(name) for name in PAGES)


@pytest.fixture
def launched(transactional_db: None, tmp_path: Path) -> Iterator[Launched]:
    # Where there is a topic, no sample content is loaded.
    create_topic(name="Anatomy", editor=SYSTEM)
    launched = Launched(tmp_path)
    yield launched
    launched.installation.stop_all()
    for pid in processes_marked(launched.mark):
        os.kill(pid, signal.SIGKILL)


def workers_of(pid: int) -> set[int]:
    """The children of a process that have its environment, as granian's workers do."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def listeners(port: int) -> set[int]:
    """The processes that hold a socket listening on this port."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    holders = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) in sockets:
                holders.add(int(link.parts[2]))
        except OSError:
            continue
    return holders


def shown_by(terminal: int) -> bytes:
    """What a terminal shows next; nothing once its last program has gone."""
    readable, _, _ = select.select([terminal], [], [], 60)
    assert readable, "Nothing came for a minute."
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def test_who_is_killed_is_started_again_and_who_is_left_ends_with_the_supervisor(launched: Launched) -> None:
    launched.start()
    wait_until(launched.is_up, seconds=60, what="Hub, relay and viewer")
    launched.process.says("rows written")
    assert "cannot be reached" not in launched.output  # the viewer waited for the hub

    for name in ALL:
        (victim,) = launched.started(name)
        workers = workers_of(victim)
        assert bool(workers) == (name in PAGES)
        os.kill(victim, signal.SIGKILL)
        launched.process.says(f"{name} was ended by signal 9 (Killed). It is started again in ")
        launched.wait_for_restart(name, 1)
        launched.wait_for_end_of(workers)

    serving = launched.started("hub")[-1]
    for worker in workers_of(serving) & listeners(launched.ports["hub"]):
        os.kill(worker, signal.SIGKILL)
    launched.process.says("hub ended with exit code 1. It is started again in ")
    launched.wait_for_restart("hub", 2)
    newest = launched.started("hub")[-1]
    assert listeners(launched.ports["hub"]) <= {newest} | workers_of(newest)
    assert [len(launched.started(name)) for name in ALL] == [3, 2, 2, 2]

    assert len(processes_marked(launched.mark)) >= 7  # two of them servers with a worker
    os.kill(launched.process.pid, signal.SIGKILL)
    launched.process.wait()
    launched.assert_nothing_is_left()


@pytest.mark.slow
def test_what_cannot_start_is_named_with_the_command_that_says_why(launched: Launched) -> None:
    (launched.installation.directory / "viewer.sqlite3").mkdir()
    launched.start()
    launched.process.says("viewer does not stay up: 3 times now it has ended soon after its start.", seconds=60)
    wait_until(lambda: launched.answers("hub"))
    assert [len(launched.started(name)) for name in HUB_AND_RELAY] == [1, 1]

    advice = re.search(r"viewer does not .* To see why, run it alone: (.*)\n", launched.output)
    assert advice
    *assignments, python, _, module, name = shlex.split(advice[1])
    place = dict(assignment.split("=", 1) for assignment in assignments)
    assert place == launched.place
    alone = subprocess.run(
        [python, "-m", module, name],
        cwd=CHECKOUT,
        env=launched.installation.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert alone.returncode == 1
    assert "viewer.sqlite3, cannot be opened." in alone.stderr
    assert launched.process.stop() == 0


def test_ctrl_c_in_a_terminal_stops_all_with_exit_code_0(launched: Launched) -> None:
    """The terminal sends it to the whole group of processes."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(CHECKOUT)
        os.execve(sys.executable, [sys.executable, "-m", "studyhub.launch"], launched.installation.environment)
    shown = b""
    while b"rows written" not in shown:
        shown += shown_by(terminal)
    os.write(terminal, b"\x03\x03")
    began = time.monotonic()
    while more := shown_by(terminal):
        shown += more
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert time.monotonic() - began < 6
    assert b"Traceback" not in shown
    assert re.search(rb"\033\[\d\dm[\d:]{8} viewer-sync \| \033\[0mStopped at", shown)
    launched.assert_nothing_is_left()


def test_a_hub_whose_main_process_is_killed_leaves_no_worker_on_its_port(hub_here: Installation) -> None:
    hub = hub_here.hub()
    workers = workers_of(hub.pid)
    assert listeners(hub_here.port) <= workers | {hub.pid}
    os.kill(hub.pid, signal.SIGKILL)
    wait_until(lambda: not listeners(hub_here.port), seconds=5, what="A free port")
    new = hub_here.hub()
    assert listeners(hub_here.port) <= workers_of(new.pid) | {new.pid}


def test_a_second_one_on_the_same_data_is_refused(launched: Launched) -> None:
    launched.start()
    wait_until(lambda: launched.answers("hub"))
    environment = {**launched.installation.environment, "PORT": str(free_port()), "VIEWER_PORT": str(free_port())}
    second = subprocess.run(
        [sys.executable, "-m", "studyhub.launch"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert (
        second.stderr == f"StudyHub runs already with the data in {launched.installation.directory}. Stop it first.\n"
    )
