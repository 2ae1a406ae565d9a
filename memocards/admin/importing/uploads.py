"""An import on its way: the uploaded file, its rows once they are read, and how far it is, in a directory of its own.

All of this lies in files, so that an import outlives the processes that work on it. Whoever works on one holds a lock,
which the kernel releases when the process dies: so no import claims to be worked on when it is not.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from memocards.admin.importing.forms import Plan
from memocards.admin.importing.summary import Summary
from memocards.importing.scratch import forget_old, imports_directory
from memocards.importing.spool import Spool

# Imports of one user that are read, or wait for that or for the user's yes: these keep a file.
MOST_OPEN: Final = 10
# Imports of one user that are over, and only say how they ended.
_MOST_OVER: Final = 10
_ID_LENGTH: Final = 32
# The files that it takes to go on with an import, in an order in which a backup can copy them while somebody works on
# it: a file is complete before those in front of it are deleted, and before those behind it say that it is there.
_LASTING: Final = ("plan.json", "file", "count", "rows", "state.json", "outcome.json")


class Status(StrEnum):
    # To be read. The lock says whether a process reads it already.
    WAITING = "waiting"
    # Read and compared. If there is anything to store, it waits for the user's yes.
    PREVIEWED = "previewed"
    # The user said yes: to be stored.
    ACCEPTED = "accepted"
    STORED = "stored"
    REFUSED = "refused"


@dataclass(frozen=True)
class State:
    """`sentences`: why the import was refused, or why there is another preview. `attempts`: how often a process began
    to do what the status says is to be done."""

    status: Status = Status.WAITING
    sentences: list[str] = field(default_factory=list)
    attempts: int = 0


@dataclass(frozen=True)
class Upload:
    """One import. Its id cannot be guessed, and is shown to its user alone."""

    id: str
    plan: Plan
    created: float

    @classmethod
    def create(cls, plan: Plan, chunks: Iterable[bytes]) -> "Upload":
        """Keep a file that nobody else on this machine may read."""
        forget_old()
        upload = cls(uuid4().hex, plan, time.time())
        # The directory is complete before it gets its name, so that nobody takes half of it for the whole.
        draft = imports_directory() / f"draft-{upload.id}"
        draft.mkdir(mode=0o700)
        try:
            _write(draft / "file", chunks)
            _write(draft / "plan.json", [json.dumps({"plan": asdict(plan), "created": upload.created}).encode()])
            _write(draft / "state.json", [json.dumps(asdict(State())).encode()])
            draft.rename(upload.directory)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return upload

    @classmethod
    def find(cls, id: str) -> "Upload | None":
        """None if the import is gone, or never was."""
        if len(id) != _ID_LENGTH or not id.isalnum():
            return None
        try:
            content = json.loads((imports_directory() / id / "plan.json").read_bytes())
            return cls(id, Plan(**content["plan"]), content["created"])
        except (OSError, ValueError, TypeError):
            return None

    @property
    def directory(self) -> Path:
        return imports_directory() / self.id

    @property
    def lasting_files(self) -> list[Path]:
        """The files that a backup keeps, so that the import can go on. Some may not exist yet, or any more."""
        return [self.directory / name for name in _LASTING]

    @property
    def file(self) -> Path:
        return self.directory / "file"

    @property
    def state(self) -> State:
        """How far the import is. If it was removed meanwhile, it is refused, without a reason."""
        try:
            fields = json.loads((self.directory / "state.json").read_bytes())
        except OSError:
            return State(Status.REFUSED)
        return State(**{**fields, "status": Status(fields["status"])})

    def change(self, **changes: Any) -> None:
        """Change the state. Only whoever holds the lock may do that: see held()."""
        if self.directory.exists():
            _replace(self.directory / "state.json", json.dumps(asdict(replace(self.state, **changes))))

    @property
    def summary(self) -> Summary | None:
        """What the import would do. None until the rows are compared."""
        try:
            return Summary(json.loads((self.directory / "outcome.json").read_bytes()))
        except OSError:
            return None

    def keep_summary(self, summary: Summary) -> None:
        _replace(self.directory / "outcome.json", json.dumps(summary.content))

    @property
    def rows_read(self) -> int:
        try:
            return int((self.directory / "rows-read").read_text())
        except (OSError, ValueError):
            return 0

    def note_rows_read(self, rows: int) -> None:
        _replace(self.directory / "rows-read", str(rows))

    @property
    def draft_of_rows(self) -> Path:
        return self.directory / "rows.draft"

    @property
    def rows(self) -> Spool | None:
        """The rows of the file. None until it is read, and after the import is over."""
        try:
            return Spool.opened(self.directory / "rows", int((self.directory / "count").read_text()))
        except (OSError, ValueError):
            return None

    def keep_rows(self, spool: Spool) -> Spool:
        """Keep the rows, and delete the file itself, which is not needed any more."""
        _replace(self.directory / "count", str(spool.count))
        path = spool.path.rename(self.directory / "rows")
        self.file.unlink(missing_ok=True)
        return replace(spool, path=path)

    def drop_content(self) -> None:
        """Delete file and rows of an import that is over. How it ended is kept."""
        for name in ("file", "rows", "rows.draft"):
            (self.directory / name).unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def is_open(self) -> bool:
        return any((self.directory / name).exists() for name in ("file", "rows"))

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the import's lock. False if somebody else holds it."""
        try:
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield False
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(lock)


def uploads() -> list[Upload]:
    """All imports, the oldest first."""
    everything = [Upload.find(path.name) for path in imports_directory().iterdir() if len(path.name) == _ID_LENGTH]
    return sorted((upload for upload in everything if upload), key=lambda upload: (upload.created, upload.id))


def uploads_of(user_id: int, kind: str) -> list[Upload]:
    """The imports of one user into one list, the newest first."""
    mine = [upload for upload in uploads() if (upload.plan.user_id, upload.plan.kind) == (user_id, kind)]
    return mine[::-1]


def room_for_another(user_id: int) -> bool:
    """Whether this user may upload another file. Deletes the oldest of the user's imports that are over."""
    mine = [upload for upload in uploads() if upload.plan.user_id == user_id]
    over = [upload for upload in mine if not upload.is_open]
    for upload in over[: max(0, len(over) - _MOST_OVER)]:
        upload.remove()
    return len(mine) - len(over) < MOST_OPEN


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    path.touch(mode=0o600)
    with path.open("wb") as file:
        file.writelines(chunks)


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    _write(draft, [text.encode()])
    draft.replace(path)
