"""pg_dump and pg_restore at work, with their progress."""

import os
import re
import subprocess
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from kit.progress import Progress
from studyhub.backup.errors import BackupError
from studyhub.backup.manifest import DATABASE
from studyhub.postgres_programs import Program, environment

# What both say, at --verbose, when they begin with a table.
_TABLE = re.compile(r'(?:dumping contents of|processing data for) table "(.+)"$')
_TROUBLE = re.compile(r"\b(?:error|fatal|detail|hint): ")
_SHOWN_LINES = 6


def dump(program: Program, directory: Path, *, snapshot: str, rows: Mapping[str, int], progress: Progress) -> None:
    """Write the hub's database as of a snapshot below `directory`, and on the disk. Raises BackupError."""
    arguments = ["--verbose", "--format=directory", f"--snapshot={snapshot}", f"--file={directory / DATABASE}"]
    _run([str(program.path), *arguments], environment(), rows, progress)


def load(program: Program, directory: Path, *, database: str, rows: Mapping[str, int], progress: Progress) -> None:
    """Fill an empty database from a dump. Roles and privileges stay behind: another server has others."""
    arguments = ["--verbose", "--exit-on-error", "--no-owner", "--no-privileges", f"--dbname={database}"]
    _run([str(program.path), *arguments, str(directory / DATABASE)], environment(database=database), rows, progress)


def _run(command: list[str], reachable: Mapping[str, str], rows: Mapping[str, int], progress: Progress) -> None:
    """Run a program to its end. A table's rows are done when the next table begins. Raises BackupError."""
    last_lines: deque[str] = deque(maxlen=_SHOWN_LINES)
    in_hand = 0
    with subprocess.Popen(  # noqa: S603 (a program of PostgreSQL; no shell)
        command,
        env={**os.environ, **reachable, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        umask=0o077,
    ) as process:
        try:
            for line in process.stderr or ():
                if table := _TABLE.search(line.rstrip()):
                    progress.advance(in_hand)
                    in_hand = rows.get(table[1], 0)
                elif _TROUBLE.search(line):
                    last_lines.append(line.strip())
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = "\n".join(f"    {line}" for line in last_lines) or f"    exit code {process.returncode}"
        raise BackupError(f"{Path(command[0]).name} failed:\n{said}")
    progress.advance(in_hand)
