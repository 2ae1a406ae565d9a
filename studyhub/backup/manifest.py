"""What a backup says of itself, in manifest.json, and whether that is still so.

DIR/manifest.json   versions, the feed's place, rows of each table, size and SHA-256 of every other file
DIR/database/       the database, in pg_dump's directory format
DIR/files/          uploaded files, under their names below DATA_DIR
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from kit.environment import open_private
from studyhub.backup.errors import BackupError

FORMAT: Final = 1
NAME: Final = "manifest.json"
DATABASE: Final = "database"
FILES: Final = "files"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class File(_Frozen):
    """Size in bytes, and SHA-256 in hexadecimal."""

    size: int
    sha256: str


class Feed(_Frozen):
    """Which feed it is, and its head."""

    epoch: UUID
    last_seq: int


class Manifest(_Frozen):
    """`migrations` are APP.NAME; `rows` are by SCHEMA.TABLE; `files` by the path below the backup's directory."""

    format: int
    studyhub: str
    created_at: AwareDatetime
    postgresql: str
    pg_dump: str
    feed: Feed | None
    migrations: tuple[str, ...]
    rows: dict[str, int]
    files: dict[str, File]

    @property
    def server_major(self) -> int:
        """The major version of the server that was backed up."""
        return int(self.postgresql.partition(".")[0])

    @property
    def pg_dump_major(self) -> int:
        return int(self.pg_dump.partition(".")[0])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def uploads(self) -> list[PurePosixPath]:
        """The uploaded files, by their path below DATA_DIR."""
        paths = (PurePosixPath(name) for name in self.files)
        return [path.relative_to(FILES) for path in paths if path.parts[0] == FILES]


class _Versions(BaseModel):
    """What a manifest of any format has."""

    format: int
    studyhub: str


def read_manifest(directory: Path) -> Manifest:
    """Raises BackupError where this is no backup, is damaged, or was written by a newer StudyHub."""
    try:
        text = (directory / NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BackupError(
            f"{directory} is no backup, or one that was not finished: it has no {NAME}. Name a directory that "
            "`manage.py backup` has written."
        ) from None
    try:
        versions = _Versions.model_validate_json(text)
        if versions.format > FORMAT:
            raise BackupError(
                f"The backup in {directory} was written by a newer StudyHub ({versions.studyhub}), in format "
                f"{versions.format}; this one reads format {FORMAT}. Update StudyHub first."
            )
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its text"
        raise BackupError(
            f"The backup in {directory} is damaged: {NAME} cannot be read ({where}: {first['msg']}). Nothing was "
            "touched. Use another backup."
        ) from None
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.parts[0] not in {DATABASE, FILES}:
            raise BackupError(f"The backup in {directory} is damaged: {NAME} names {name!r}, which cannot be in it.")
    return manifest


def check_files(directory: Path, manifest: Manifest, advance: Callable[[int], None]) -> None:
    """Compare every file with the manifest; `advance` is told the bytes read. Raises BackupError for a difference."""
    for name, expected in manifest.files.items():
        try:
            present = file_of(directory / name)
        except OSError as error:
            raise BackupError(
                f"The backup in {directory} is not complete: {name} cannot be read ({error.strerror}). Nothing was "
                "touched. Use another backup."
            ) from error
        if present != expected:
            raise BackupError(
                f"The backup in {directory} is damaged: {name} has not the bytes that were written (it has "
                f"{present.size:,} of {expected.size:,}). Nothing was touched. Use another backup."
            )
        advance(present.size)


def file_of(path: Path) -> File:
    """Read a file for its size and hash."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return File(size=file.tell(), sha256=digest)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """The last file of a backup, for its owner alone, and on the disk when this returns."""
    with open_private(directory / NAME, "x") as file:
        file.write(manifest.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
