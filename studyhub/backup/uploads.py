"""Files that people have uploaded: into a backup, and back to where they were below DATA_DIR."""

import os
import shutil
from pathlib import Path
from typing import Final

from django.conf import settings

from studyhub.backup.errors import BackupError
from studyhub.backup.manifest import FILES, Manifest, file_of

# Everything else below DATA_DIR can be made again, is a secret, or belongs to a viewer.
FOLDERS: Final = ("imports",)


def save_uploads(directory: Path) -> None:
    """Copy what waits into a backup. A file that is answered and deleted meanwhile need not be kept."""
    for folder in FOLDERS:
        for path in sorted((settings.DATA_DIR / folder).rglob("*")):
            copy = directory / FILES / path.relative_to(settings.DATA_DIR)
            try:
                if path.is_file():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    _copy(path, copy)
            except FileNotFoundError:
                copy.unlink(missing_ok=True)


def put_uploads_back(directory: Path, manifest: Manifest) -> int:
    """Copy a backup's uploads to where they were, and return how many. Raises BackupError where another file is."""
    for path in manifest.uploads:
        target = settings.DATA_DIR / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _copy(directory / FILES / path, target)
        except FileExistsError:
            if file_of(target) != manifest.files[f"{FILES}/{path}"]:
                raise BackupError(f"{target} is another file than the backup's. Move it away.") from None
    return len(manifest.uploads)


def _copy(source: Path, target: Path) -> None:
    """Copy a file onto the disk, for its owner alone, and as old as it is: by its age it is cleared away."""
    with (
        source.open("rb") as read,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written,
    ):
        shutil.copyfileobj(read, written)
        written.flush()
        times = os.fstat(read.fileno())
        os.utime(written.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))
        os.fsync(written.fileno())
