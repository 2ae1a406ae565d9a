"""Real processes of the hub and its viewers: started, awaited, killed, and none left behind."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

from studyhub.embedded_postgres import server
from studyhub.embedded_postgres.layout import Layout
from studyhub.embedded_postgres.postmaster import read_pid_file

CHECKOUT = Path(__file__).resolve().parents[2]
_KEPT = {"PATH", "HOME", "LANG", "TMPDIR"}

T = TypeVar("T")


def say(line: str) -> None:
    """A line of figures, for whoever runs this with its output shown."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def wait_until(condition: Callable[[], T], *, seconds: float = 30, what: str = "The condition") -> T:
    """Poll until the condition gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s."
        time.sleep(0.01)
    return value


def processes_marked(variable: str) -> set[int]:
    """The running processes that were started with `NAME=value` in their environment, wherever they are now."""
    return {int(path.name) for path in Path("/proc").glob("[0-9]*") if variable.encode() in _environment_of(path)}


def _environment_of(process: Path) -> list[bytes]:
    try:
        # Empty for one that has ended and is not waited for yet.
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def hub_command(port: int) -> list[str]:
    """How `make run` serves the hub."""
    line = next(line for line in (CHECKOUT / "Procfile").read_text().splitlines() if line.startswith("hub: exec "))
    program, *arguments = shlex.split(line.removeprefix("hub: exec ").replace("$PORT", str(port)))
    return [str(Path(sys.executable).with_name(program)), *arguments]


class Process:
    """A running program with a process group and a log of its own."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self._popen = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, text: str, *, seconds: float = 30) -> None:
        """Wait until it has written this."""
        wait_until(
            lambda: text in self.output or (not self.is_running and self._fail(text)),
            seconds=seconds,
            what=f"{text!r} in {self.log.name}",
        )

    def kill(self) -> None:
        """SIGKILL to the whole group, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 20) -> int:
        """Ask it to stop, and wait. Returns its exit code."""
        if self.is_running:
            self._popen.send_signal(number)
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = 60) -> int:
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"It did not end within {seconds} s:\n{self.output}") from None
        finally:
            self.kill()

    def _fail(self, text: str) -> bool:
        raise AssertionError(f"It ended with {self._popen.returncode} before it said {text!r}:\n{self.output}")


class Installation:
    """A hub with its own environment: the programs that work in it, and where it answers."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.environment = {
            **{name: value for name, value in os.environ.items() if name in _KEPT},
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        }
        self.processes: list[Process] = []
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *command: str, name: str, **environment: str) -> Process:
        log = self.directory / f"{len(self.processes):03}-{name}.log"
        self.processes.append(Process(list(command), {**self.environment, **environment}, log))
        return self.processes[-1]

    def python(self, *arguments: str, name: str, **environment: str) -> Process:
        return self.start(sys.executable, *arguments, name=name, **environment)

    def manage(self, *arguments: str, fails: bool = False, **environment: str) -> str:
        """Run `manage.py …` to its end. Returns what it wrote to stdout."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=CHECKOUT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert fails == bool(done.returncode), done.stdout + done.stderr
        return done.stdout

    def program(self, module: str, *arguments: str) -> Any:
        """Run a program of the tests' own in this installation, and read the JSON that it writes."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not done.returncode, done.stdout + done.stderr
        return json.loads(done.stdout)

    def hub(self) -> Process:
        """The hub as `make run` serves it, once it answers."""
        hub = self.start(*hub_command(self.port), name="hub")
        wait_until(self._answers, what="An answer of the hub")
        return hub

    def relay(self, *arguments: str, wait: bool = True) -> Process:
        relay = self.python("manage.py", "run_relay", *arguments, name="relay")
        if wait:
            relay.says("Relay: started.")
        return relay

    def stop_all(self) -> None:
        for process in self.processes:
            process.kill()

    def _answers(self) -> bool:
        try:
            status = httpx.get(f"{self.url}/api/feed", timeout=5).status_code
            return status in {httpx.codes.UNAUTHORIZED, httpx.codes.MOVED_PERMANENTLY}
        except httpx.TransportError:
            return False


class OwnDatabase(Installation):
    """An installation with a PostgreSQL of its own, as durable as a user's."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, {"DATA_DIR": str(directory), "DJANGO_SETTINGS_MODULE": "studyhub.settings"})
        self.restarts = 0

    def prepare(self, code: str = "") -> list[str]:
        """Make the tables, and run this in the same process. Returns the lines that it wrote."""
        migrate = "from django.core.management import call_command; call_command('migrate', verbosity=0)"
        return self.manage("shell", "--verbosity", "0", "-c", f"{migrate}\n{code}").splitlines()

    @property
    def _layout(self) -> Layout:
        return Layout(self.directory / "postgres")

    def kill_postgres(self) -> None:
        """kill -9 of the postmaster, and wait until its keeper has another one ready."""
        file = wait_until(self._ready_postmaster, what="A running PostgreSQL")
        assert file is not None
        os.kill(file, signal.SIGKILL)
        wait_until(lambda: self._ready_postmaster() not in {None, file}, seconds=60, what="Another PostgreSQL")
        self.restarts += 1

    def _ready_postmaster(self) -> int | None:
        file = read_pid_file(self._layout.data)
        return file.pid if file and file.ready else None

    def stop_all(self) -> None:
        super().stop_all()
        server.stop(self.directory / "postgres")


@contextlib.contextmanager
def own_database() -> Iterator[OwnDatabase]:
    """An installation that is stopped and deleted at the end."""
    # A short path, since a socket's name has to fit into 100 bytes.
    installation = OwnDatabase(Path(tempfile.mkdtemp(prefix="studyhub-")))
    try:
        yield installation
    finally:
        installation.stop_all()
        shutil.rmtree(installation.directory, ignore_errors=True)


class Viewer(Installation):
    """A viewer of a hub, in a directory of its own."""

    def __init__(self, directory: Path, *, hub_url: str, token: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory, {"DATA_DIR": str(directory), "HUB_URL": hub_url, "HUB_TOKEN": token})

    def sync(self, *arguments: str) -> Process:
        return self.python("-m", "viewer", "sync", *arguments, name="sync")

    def sync_once(self) -> str:
        process = self.sync("--once")
        assert process.wait() == 0, process.output
        return process.output

    def pages(self) -> Process:
        pages = self.python("-m", "viewer", "runserver", "--port", str(self.port), name="pages")
        wait_until(self._answers, what="An answer of the viewer")
        return pages

    def rows(self, statement: str) -> list[Any]:
        """What its database holds, read from outside."""
        with contextlib.closing(sqlite3.connect(self.directory / "viewer.sqlite3", timeout=20)) as database:
            try:
                return database.execute(statement).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def change(self, statement: str) -> None:
        """Change its database from outside, as the passing of time would."""
        with contextlib.closing(sqlite3.connect(self.directory / "viewer.sqlite3", timeout=20)) as database, database:
            database.execute(statement)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/", timeout=5).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
