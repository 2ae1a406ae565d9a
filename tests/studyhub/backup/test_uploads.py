"""What people have uploaded goes into a backup, and from there to where it was."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memocards.admin.importing.uploads import Uploads
from studyhub.backup.errors import BackupError
from studyhub.backup.manifest import Manifest, file_of
from studyhub.backup.uploads import put_uploads_back, save_uploads


def _manifest(directory: Path) -> Manifest:
    return Manifest(
        format=1,
        studyhub="0.1.0",
        created_at=datetime.now(UTC),
        postgresql="18.4",
        pg_dump="18.4",
        feed=None,
        migrations=(),
        rows={},
        files={str(path.relative_to(directory)): file_of(path) for path in directory.rglob("*") if path.is_file()},
    )


def test_a_file_between_preview_and_answer_comes_back_as_old_as_it_was(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path / "data"
    upload = Uploads()
    upload.save([b"front,back\n", b"F,B\n"])
    os.utime(upload.read(), (1_900_000_000, 1_900_000_000))
    backup = tmp_path / "backup"
    save_uploads(backup)

    settings.DATA_DIR = tmp_path / "elsewhere"
    assert not upload.read().exists()
    for _twice in range(2):
        assert put_uploads_back(backup, _manifest(backup)) == 1
    assert upload.read().read_bytes() == b"front,back\nF,B\n"
    assert upload.read().stat().st_mtime == 1_900_000_000
    assert upload.read().stat().st_mode & 0o777 == 0o600

    upload.read().write_bytes(b"another")
    with pytest.raises(BackupError, match="is another file than the backup's"):
        put_uploads_back(backup, _manifest(backup))


def test_without_uploads_there_is_nothing_to_save(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path / "data"
    save_uploads(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
