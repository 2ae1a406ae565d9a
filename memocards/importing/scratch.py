"""The directory DATA_DIR/imports: uploaded files, unpacked files and spools, for as long as they are needed."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from django.conf import settings

# What nobody came back to for so long is deleted.
KEPT_SECONDS: Final = 24 * 60 * 60


def imports_directory() -> Path:
    """The directory, which is created if need be. Other users of this machine may not look into it."""
    data: Any = settings.DATA_DIR
    directory = Path(data) / "imports"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory for the caller alone. It is deleted at the end; if the process dies before, after a day."""
    forget_old()
    with tempfile.TemporaryDirectory(prefix="reading-", dir=imports_directory(), ignore_cleanup_errors=True) as path:
        yield Path(path)


def forget_old() -> None:
    """Delete what nobody came back to for a day."""
    for path in imports_directory().iterdir():
        try:
            if path.is_dir() and time.time() - path.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        except FileNotFoundError:
            continue  # somebody else was first
