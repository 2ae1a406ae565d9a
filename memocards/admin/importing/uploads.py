"""Uploaded files between the preview and the answer to it, in DATA_DIR/imports."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from django.conf import settings
from import_export.tmp_storages import BaseStorage

KEPT_SECONDS: Final = 24 * 60 * 60


class Uploads(BaseStorage):  # type: ignore[misc]
    """One file. Its name is made here and goes to the browser signed, so nobody can name another's."""

    def save(self, data: Iterable[bytes]) -> None:
        """Write a file that nobody else on this machine may read; what was never answered is deleted by the way."""
        directory = _directory()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_old(directory)
        self.name = uuid4().hex
        path = self.read()
        path.touch(mode=0o600)
        with path.open("wb") as file:
            file.writelines(data)

    def read(self) -> Path:
        """Where the file is: it is read from there as often as it takes, never whole."""
        return _directory() / self.name

    def remove(self) -> None:
        self.read().unlink(missing_ok=True)


def _directory() -> Path:
    directory: Any = settings.DATA_DIR
    return Path(directory) / "imports"


def _forget_old(directory: Path) -> None:
    for path in directory.iterdir():
        try:
            if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                path.unlink()
        except FileNotFoundError:
            continue  # somebody else was first
