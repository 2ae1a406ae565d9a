"""Keeps programs running: what ends is started again, and none of them outlives this process.

One thread and one event loop do it all. The kernel ties a child's life to the thread that started it, and a second
thread could hold a lock while a child is forked.
"""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from kit.parent_death import end_with
from kit.pauses import GrowingPauses

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
# What held out so long had started well, and begins with the first pause again.
STEADY_SECONDS = 60.0
ENDS_BEFORE_ADVICE = 3
# After that a program is killed. The hub gives open connections 3 seconds.
STOP_WITHIN_SECONDS = 6.0
# One Ctrl-C may arrive twice: from the terminal, and again from make.
SAME_SIGNAL_SECONDS = 1.0

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

LONGEST_LINE = 64 * 1024
COLOURS = (36, 33, 35, 32, 34, 31)


@dataclass(frozen=True)
class Program:
    """`command` is for /bin/sh and begins with exec, so that signals reach the program itself. `advice` is what to do
    where it does not stay up. `may_start`, where there is one, is asked until it says so before the first start."""

    name: str
    command: str
    advice: str
    may_start: Callable[[], Awaitable[bool]] | None = None


class Supervisor:
    """Runs programs until SIGTERM, SIGINT or SIGHUP, or until nobody reads what they write."""

    def __init__(self, programs: Sequence[Program], *, environment: Mapping[str, str], directory: Path) -> None:
        self._programs = programs
        self._environment = environment
        self._directory = directory
        self._children: set[_Child] = set()
        self._stop = asyncio.Event()
        self._stopped_at = 0.0
        self._output = _Output([program.name for program in programs], on_reader_gone=self._stop.set)

    async def run(self) -> None:
        """Returns when all programs have ended after a stop; from then on this process hears none of its signals."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in STOP_SIGNALS:
            # nohup has SIGHUP ignored.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_stop_signal)
        tasks = [loop.create_task(self._keep(program)) for program in self._programs]
        for task in tasks:
            # Before a stop none of them ends, unless this code is at fault.
            task.add_done_callback(lambda _task: self._stop.set())
        await self._stop.wait()
        for child in self._children:
            child.terminate()
        _, running = await asyncio.wait(tasks, timeout=STOP_WITHIN_SECONDS)
        if running:
            for child in self._children:
                self._say(f"{child.name} has not stopped within {STOP_WITHIN_SECONDS:.0f} s and is killed.")
            self._kill_all()
        await asyncio.gather(*tasks)
        # One that comes late finds nothing to stop, and would change the exit code.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    async def _keep(self, program: Program) -> None:
        """Start one program, and start it again whenever it ends, until the stop."""
        pauses = GrowingPauses(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
        early_ends = 0
        await self._wait_for_turn(program)
        while not self._stop.is_set():
            started_at = time.monotonic()
            ending = await self._run(program)
            if self._stop.is_set():
                return
            if time.monotonic() - started_at >= STEADY_SECONDS:
                pauses.reset()
                early_ends = 0
            early_ends += 1
            pause = pauses.next()
            self._say(f"{program.name} {ending}. It is started again in {pause:.1f} s.")
            if early_ends == ENDS_BEFORE_ADVICE:
                self._say(
                    f"{program.name} does not stay up: {early_ends} times now it has ended soon after its start. The "
                    f"others go on. {program.advice}"
                )
            await self._pause(pause)

    async def _wait_for_turn(self, program: Program) -> None:
        deadline = time.monotonic() + STEADY_SECONDS
        while program.may_start and not self._stop.is_set() and time.monotonic() < deadline:
            if await program.may_start():
                return
            await self._pause(0.2)

    async def _run(self, program: Program) -> str:
        """Run it once. Returns how it ended, as the end of a sentence."""
        try:
            child = _Child(program, self._environment, self._directory, self._output)
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        self._children.add(child)
        self._say(f"{program.name} started, process {child.pid}.")
        # It may have ended before it was in the set.
        self._reap()
        code = await child.ended
        self._children.discard(child)
        return (
            f"was ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"
        )

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _reap(self) -> None:
        for child in self._children:
            child.reap()

    def _on_stop_signal(self) -> None:
        now = time.monotonic()
        if not self._stop.is_set():
            self._stopped_at = now
            self._say("Stopping …")
            self._stop.set()
        elif now - self._stopped_at > SAME_SIGNAL_SECONDS:
            self._kill_all()

    def _kill_all(self) -> None:
        for child in self._children:
            child.kill()

    def _say(self, sentence: str) -> None:
        self._output.write("system", sentence.encode())


class _Child:
    """A running program in a session of its own, so that a terminal's Ctrl-C comes to it through us alone.

    Raises OSError where it cannot be started.
    """

    def __init__(self, program: Program, environment: Mapping[str, str], directory: Path, output: "_Output") -> None:
        parent = os.getpid()
        self.name = program.name
        self._output = output
        self._pipe, writing_end = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            self._popen = subprocess.Popen(  # noqa: S603 (a line of our own Procfile)
                ["/bin/sh", "-c", program.command],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=writing_end,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: end_with(parent),  # noqa: PLW1509 (there is one thread)
            )
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(writing_end)
        self._unfinished_line = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pipe, self._read)
        self.ended: asyncio.Future[int] = self._loop.create_future()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def terminate(self) -> None:
        """Ask the program alone: it tells its own workers."""
        if not self.ended.done():
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the program and whatever it has started in its session."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Set `ended` to the exit code, if it has ended; a negative one is a signal's."""
        if self.ended.done() or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        # Until it is waited for, its number is nobody else's.
        self.kill()
        code = self._popen.wait()
        self._read()
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)
        if self._unfinished_line:
            self._output.write(self.name, self._unfinished_line)
        self.ended.set_result(code)

    def _read(self) -> None:
        try:
            # As much as a pipe holds.
            text = os.read(self._pipe, LONGEST_LINE)
        except BlockingIOError:
            return
        if not text:
            # It has closed its output, and works on.
            self._loop.remove_reader(self._pipe)
        *lines, self._unfinished_line = (self._unfinished_line + text).split(b"\n")
        if len(self._unfinished_line) > LONGEST_LINE:
            lines.append(self._unfinished_line)
            self._unfinished_line = b""
        for line in lines:
            self._output.write(self.name, line)


class _Output:
    """Standard output, shared by lines: each with the time and the name of who wrote it, in colour on a terminal."""

    def __init__(self, names: Sequence[str], *, on_reader_gone: Callable[[], None]) -> None:
        self._width = max(map(len, [*names, "system"]))
        self._descriptor = sys.stdout.fileno()
        self._colours = dict(zip(names, cycle(COLOURS), strict=False)) if os.isatty(self._descriptor) else {}
        self._on_reader_gone = on_reader_gone

    def write(self, name: str, line: bytes) -> None:
        """The line's bytes as they are: they are the program's own."""
        prefix = f"{time.strftime('%H:%M:%S')} {name:<{self._width}} | "
        if colour := self._colours.get(name):
            prefix = f"\033[{colour}m{prefix}\033[0m"
        text = prefix.encode() + line.rstrip(b"\r") + b"\n"
        try:
            while text:
                text = text[os.write(self._descriptor, text) :]
        except OSError as error:
            # The rest of the line is lost, as where a disk is full. Where nobody reads any more, such as after the
            # terminal was closed, the programs would go on unseen.
            if error.errno in {errno.EPIPE, errno.EIO}:
                self._on_reader_gone()
