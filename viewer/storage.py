"""The viewer's own database when it cannot be used: what is wrong, in a sentence, and what helps."""

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)

REPAIR = (
    "Stop the viewer's processes and run `python -m viewer repair`. It keeps the ratings made here; everything else "
    "comes from the hub anew."
)
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SENTENCES = {
    sqlite3.SQLITE_FULL: "There is no room left on the disk of the viewer's database, {path}.",
    sqlite3.SQLITE_IOERR: "The disk of the viewer's database, {path}, cannot be read or written. Is it full?",
    sqlite3.SQLITE_READONLY: "The viewer's database, {path}, may not be written. Its file and directory must belong "
    "to the user of the viewer.",
    sqlite3.SQLITE_PERM: "The viewer's database, {path}, may not be opened by this user.",
    sqlite3.SQLITE_CANTOPEN: "The viewer's database, {path}, cannot be opened. Is its directory there, with room, and "
    "may this user write it?",
    sqlite3.SQLITE_BUSY: "Another program keeps the viewer's database, {path}, locked.",
    sqlite3.SQLITE_LOCKED: "Another program keeps the viewer's database, {path}, locked.",
}


@dataclass(frozen=True)
class Trouble:
    """`is_damage`: trying again does not help."""

    sentence: str
    is_damage: bool = False


class Damaged(Exception):
    """The database file is not what was written. `str()` says what to do."""


def trouble_of(error: DatabaseError | InterfaceError) -> Trouble | None:
    """What is wrong with the database; None where the fault is in what was asked of it."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        # The lowest byte is the kind; the rest says more than a person wants to know.
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGE:
            return Trouble(f"The viewer's database, {_path()}, is damaged. {REPAIR}", is_damage=True)
        return Trouble(_SENTENCES[code].format(path=_path())) if code in _SENTENCES else None
    if isinstance(error, OperationalError | InterfaceError):
        return Trouble(f"The viewer's database is away. {error}")
    return None


def check() -> None:
    """Raises Damaged where SQLite finds the file inconsistent. Reads the whole file: about a second for a gigabyte."""
    if connection.vendor != "sqlite":
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA quick_check(1)")
            (verdict,) = cursor.fetchone()
    except DatabaseError as error:
        trouble = trouble_of(error)
        if trouble is None or not trouble.is_damage:
            raise
        raise Damaged(trouble.sentence) from error
    if verdict != "ok":
        raise Damaged(f"The viewer's database, {_path()}, is damaged: {verdict}. {REPAIR}")


def keep_private() -> None:
    """Nobody else on this machine reads the learner's progress, in files of earlier versions either."""
    if connection.vendor == "sqlite":
        for suffix in ("", "-wal", "-shm"):
            path = Path(f"{_path()}{suffix}")
            if path.exists():
                path.chmod(0o600)


class StorageMiddleware:
    """Answers with a sentence, and with what was to be kept, where the database cannot be used."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, DatabaseError | InterfaceError):
            return None
        trouble = trouble_of(exception)
        if trouble is None:
            return None
        # A new connection may find the database back.
        connection.close()
        logger.error("%s %s: %s", request.method, request.path, trouble.sentence)
        from viewer.views import storage_unavailable

        return storage_unavailable(request, trouble.sentence)


def _path() -> str:
    return str(settings.DATABASES["default"]["NAME"])
