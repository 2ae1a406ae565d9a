"""Run one of PostgreSQL's programs: the right user, a clean environment, never longer than its keeper."""

import os
import signal
import subprocess
from collections.abc import Callable
from typing import IO, NamedTuple

from kit.parent_death import end_with

# LC_*, LANG and PG* of whoever came first must not decide how the cluster is made or how the server speaks.
# The path is for /bin/sh, through which initdb calls postgres.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class Programs(NamedTuple):
    directory: str
    run_as: tuple[int, int] | None  # uid and gid when the keeper is root, because PostgreSQL refuses to be

    def start(self, name: str, *arguments: str, stdin: int | IO[bytes] = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a program that writes to this process's stderr and does not outlive this process."""
        return subprocess.Popen(  # noqa: S603 (programs of the wheel; no shell)
            [f"{self.directory}/{name}", *arguments],
            stdin=stdin,
            stdout=2,
            env=ENVIRONMENT,
            preexec_fn=_end_with(os.getpid()),  # noqa: PLW1509 (the keeper has one thread)
            user=self.run_as[0] if self.run_as else None,
            group=self.run_as[1] if self.run_as else None,
            extra_groups=[] if self.run_as else None,
        )

    def run(self, name: str, *arguments: str, text: str = "") -> None:
        """Run a program to its end with `text` on its stdin. Raises CalledProcessError."""
        with self.start(name, *arguments, stdin=subprocess.PIPE) as process:
            process.communicate(text.encode())
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, name)


def _end_with(parent: int) -> Callable[[], None]:
    def prepare_child() -> None:  # runs after the change of user, which would reset the death signal
        end_with(parent, signal.SIGINT)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    return prepare_child
