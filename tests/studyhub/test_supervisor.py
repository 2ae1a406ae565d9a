"""Programs under the supervisor: restarted, named when they do not stay up, stopped, and never left behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.processes import CHECKOUT, Process, processes_marked, wait_until

STAYS = "exec sleep 300"
IGNORES_SIGTERM = f"""exec {sys.executable} -c '
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(300)'"""

Supervise = Callable[..., Process]


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """A variable by which every process of this test is known."""
    return f"STUDYHUB_MARK={tmp_path}"


@pytest.fixture
def environment(mark: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **dict([mark.split("=", 1)])}


@pytest.fixture
def supervise(environment: dict[str, str], mark: str, tmp_path: Path) -> Iterator[Supervise]:
    supervisors: list[Process] = []

    def start(**programs: str) -> Process:
        arguments = [f"{name}={command}" for name, command in programs.items()]
        command = [sys.executable, "-m", "tests.studyhub.supervising", *arguments]
        supervisors.append(Process(command, environment, tmp_path / "log"))
        return supervisors[-1]

    yield start
    for supervisor in supervisors:
        supervisor.kill()
    for pid in processes_marked(mark):
        os.kill(pid, signal.SIGKILL)


def started(supervisor: Process, name: str) -> list[int]:
    """The numbers of the processes under which it has run."""
    return [int(pid) for pid in re.findall(rf"\| {name} started, process (\d+)\.", supervisor.output)]


def test_what_does_not_stay_up_is_named_with_advice_and_the_others_go_on(supervise: Supervise) -> None:
    supervisor = supervise(broken="echo no configuration >&2; exit 7", sound=STAYS)
    supervisor.says("broken does not stay up: 3 times now it has ended soon after its start. The others go on. ")
    assert "Ask broken itself." in supervisor.output
    assert re.search(r"system \| broken ended with exit code 7\. It is started again in \d\.\d s\.", supervisor.output)
    assert supervisor.output.count("broken | no configuration\n") == 3
    first, second, third = (float(text) for text in re.findall(r"again in ([\d.]+) s", supervisor.output))
    assert 0.5 <= first <= 1 <= second <= 2 <= third <= 4
    (sound,) = started(supervisor, "sound")
    os.kill(sound, 0)
    assert supervisor.stop() == 0


def test_what_a_killed_program_had_started_ends_with_it(supervise: Supervise, mark: str) -> None:
    supervisor = supervise(server="sleep 301 & sleep 302")
    wait_until(lambda: len(processes_marked(mark)) == 4)
    before = processes_marked(mark)
    os.kill(started(supervisor, "server")[0], signal.SIGKILL)
    supervisor.says("server was ended by signal 9 (Killed)")
    wait_until(lambda: len(started(supervisor, "server")) == 2)
    assert processes_marked(mark) & before == {supervisor.pid}


def test_lines_come_whole_with_time_and_name_and_bytes_as_they_are(supervise: Supervise) -> None:
    supervisor = supervise(a=r"printf 'one\r\ntw'; sleep 0.2; printf 'o \377\nunfinished'; exit 3", longer=STAYS)
    supervisor.says("a ended with exit code 3")
    supervisor.stop()
    lines = supervisor.log.read_bytes().splitlines()
    written = [line[9:] for line in lines if re.match(rb"\d\d:\d\d:\d\d a      \| ", line)]
    assert written[:3] == [b"a      | one", b"a      | two \xff", b"a      | unfinished"]
    assert b"\033" not in supervisor.log.read_bytes()


def test_a_very_long_line_is_passed_on_in_pieces(supervise: Supervise) -> None:
    supervisor = supervise(a=f'exec {sys.executable} -c \'print("x" * 1_000_000 + "end"); input()\'')
    supervisor.says("xend\n")
    assert supervisor.output.count("x") >= 1_000_000
    supervisor.stop()


def test_a_signal_that_comes_twice_at_once_is_one_stop(supervise: Supervise, mark: str) -> None:
    takes_a_moment = "trap 'sleep 0.5; echo orderly; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    supervisor = supervise(a=takes_a_moment)
    supervisor.says("a      | ready")
    os.kill(supervisor.pid, signal.SIGINT)
    os.kill(supervisor.pid, signal.SIGTERM)
    assert supervisor.stop() == 0
    assert "| orderly" in supervisor.output
    assert processes_marked(mark) == set()


def test_a_second_signal_does_not_wait_for_who_does_not_stop(supervise: Supervise, mark: str) -> None:
    supervisor = supervise(a=IGNORES_SIGTERM)
    supervisor.says("| deaf")
    os.kill(supervisor.pid, signal.SIGINT)
    supervisor.says("Stopping …")
    began = time.monotonic()
    while supervisor.is_running:
        os.kill(supervisor.pid, signal.SIGINT)
        time.sleep(0.2)
    assert time.monotonic() - began < 4
    assert supervisor.wait() == 0
    assert processes_marked(mark) == set()


@pytest.mark.slow
def test_who_does_not_stop_is_killed_after_some_seconds(supervise: Supervise, mark: str) -> None:
    supervisor = supervise(a=IGNORES_SIGTERM)
    supervisor.says("| deaf")
    assert supervisor.stop() == 0
    assert "a has not stopped within 6 s and is killed." in supervisor.output
    assert processes_marked(mark) == set()


def test_killed_by_force_it_takes_its_programs_along(supervise: Supervise, mark: str) -> None:
    supervisor = supervise(a=STAYS, deaf=IGNORES_SIGTERM)
    supervisor.says("| deaf")
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    wait_until(lambda: not processes_marked(mark), seconds=5)


def test_it_stops_when_nobody_reads_its_lines_any_more(environment: dict[str, str], mark: str) -> None:
    reading, writing = os.pipe()
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "tests.studyhub.supervising", "a=while :; do echo line; sleep 0.1; done"],
        cwd=CHECKOUT,
        env=environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert os.read(reading, 1)
    os.close(reading)
    _, errors = supervisor.communicate(timeout=20)
    assert (supervisor.returncode, errors) == (0, "")
    assert processes_marked(mark) == set()
