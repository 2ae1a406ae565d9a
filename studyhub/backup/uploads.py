"""Files that people have uploaded: into a backup, and back to where they were below DATA_DIR."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

from kit.environment import open_private
from memocards.admin.importing.uploads import uploads
from studyhub.backup.manifest import FILES, Manifest

# Beside the folder that is to be filled, so that a renaming does it.
_STAGED = ".restoring"


def save_uploads(directory: Path) -> None:
    """Copy the imports on their way into a backup. Everything else below DATA_DIR can be made again, is a secret, or
    belongs to a viewer."""
    for upload in uploads():
        for path in upload.lasting_files:
            copy = directory / FILES / path.relative_to(settings.DATA_DIR)
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                _copy(path, copy)
            except FileNotFoundError:
                copy.unlink(missing_ok=True)


def stage_uploads(directory: Path, manifest: Manifest) -> int:
    """Copy a backup's uploads onto the disk where they are to be, under another name, and return how many."""
    for folder in _folders(manifest):
        shutil.rmtree(_staged(folder), ignore_errors=True)
    for path in manifest.uploads:
        target = _staged(path.parts[0]).joinpath(*path.parts[1:])
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(directory / FILES / path, target)
    return len(manifest.uploads)


def put_staged_uploads_in_place(manifest: Manifest) -> None:
    """Each import is as it was in the backup. One that went on since is kept beside it, under another name."""
    moment = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    for folder in _folders(manifest):
        place = settings.DATA_DIR / folder
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for staged in sorted(_staged(folder).iterdir()):
            target = place / staged.name
            if target.exists():
                target.rename(f"{target}.replaced-{moment}")
            staged.rename(target)
        _staged(folder).rmdir()


def _folders(manifest: Manifest) -> set[str]:
    return {path.parts[0] for path in manifest.uploads}


def _staged(folder: str) -> Path:
    return Path(f"{settings.DATA_DIR / folder}{_STAGED}")


def _copy(source: Path, target: Path) -> None:
    """Copy a file onto the disk, for its owner alone, and as old as it is: by its age it is cleared away."""
    with (
        source.open("rb") as read,
        open_private(target, "xb") as written,
    ):
        shutil.copyfileobj(read, written)
        written.flush()
        times = os.fstat(read.fileno())
        os.utime(written.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))
        os.fsync(written.fileno())
