"""A backup from a running hub: of one moment, complete or not there."""

import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from django.core.management.base import OutputWrapper

import studyhub
from kit.progress import Progress
from studyhub.backup import programs
from studyhub.backup.contents import Contents, contents, exported_snapshot
from studyhub.backup.errors import BackupError
from studyhub.backup.manifest import FORMAT, NAME, Manifest, file_of, write_manifest
from studyhub.backup.uploads import save_uploads
from studyhub.postgres_programs import client_program, server_major

UNFINISHED: Final = ".unfinished."


def write_backup(directory: Path, *, stream: OutputWrapper) -> Manifest:
    """Back up the hub into a directory that is empty or not there yet. Progress goes to `stream`.

    It is written beside, under a name with `.unfinished.` in it, and renamed when it is complete and on the disk.
    Raises BackupError, and leaves nothing behind unless it is killed.
    """
    directory = directory.resolve()
    _refuse_what_is_there(directory)
    program = client_program("pg_dump", at_least=server_major())
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f"{directory.name}{UNFINISHED}", dir=directory.parent))
        try:
            with exported_snapshot() as snapshot:
                moment, present = datetime.now(UTC), contents()
                _refuse_foreign(present)
                rows = sum(present.rows.values())
                with Progress("Backup", total=rows, unit="rows", stream=stream) as progress:
                    programs.dump(program, new, snapshot=snapshot, rows=present.rows, progress=progress)
            save_uploads(new)
            manifest = Manifest(
                format=FORMAT,
                studyhub=studyhub.__version__,
                created_at=moment,
                postgresql=present.postgresql,
                pg_dump=program.version,
                feed=present.feed,
                migrations=present.migrations,
                rows=present.rows,
                files={str(path.relative_to(new)): file_of(path) for path in sorted(new.rglob("*")) if path.is_file()},
            )
            write_manifest(new, manifest)
            _seal(new)
            new.rename(directory)
            _sync_directory(directory.parent)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise BackupError(
            f"The backup cannot be written to {directory}: {error.strerror} ({error.filename})."
        ) from error
    return manifest


def _refuse_what_is_there(directory: Path) -> None:
    if directory.is_dir():
        if any(directory.iterdir()):
            what = "a backup already" if (directory / NAME).exists() else "not empty"
            raise BackupError(f"{directory} is {what}. Name a directory that is empty or not there yet.")
    elif directory.exists():
        raise BackupError(f"{directory} is no directory. Name one that is empty or not there yet.")


def _refuse_foreign(present: Contents) -> None:
    if not present.migrations:
        raise BackupError(
            "The tables of StudyHub are not in this database, so there is nothing to back up. Set DATA_DIR or "
            "DATABASE_URL as they were set for the hub."
        )


def _seal(root: Path) -> None:
    """Every directory is its owner's alone, and on the disk."""
    for parent, _directories, _files in os.walk(root):
        Path(parent).chmod(0o700)
        _sync_directory(Path(parent))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
