"""What people have uploaded goes into a backup, and from there to where it was."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memocards.admin.importing.forms import Plan
from memocards.admin.importing.uploads import Upload
from studyhub.backup.errors import BackupError
from studyhub.backup.manifest import Manifest, file_of
from studyhub.backup.uploads import put_uploads_back, save_uploads

PLAN = Plan(
    kind="card",
    file="rivers.csv",
    format="",
    encoding="utf-8",
    html=False,
    topic="Rivers",
    topic_id=1,
    create_topics=False,
    user_id=1,
    username="author",
    language="en",
)


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
    upload = Upload.create(PLAN, [b"front,back\n", b"F,B\n"])
    os.utime(upload.file, (1_900_000_000, 1_900_000_000))
    kept = len(list(upload.directory.iterdir()))
    backup = tmp_path / "backup"
    save_uploads(backup)

    settings.DATA_DIR = tmp_path / "elsewhere"
    assert Upload.find(upload.id) is None
    for _twice in range(2):
        assert put_uploads_back(backup, _manifest(backup)) == kept
    assert Upload.find(upload.id) == upload
    assert upload.file.read_bytes() == b"front,back\nF,B\n"
    assert upload.file.stat().st_mtime == 1_900_000_000
    assert upload.file.stat().st_mode & 0o777 == 0o600

    upload.file.write_bytes(b"another")
    with pytest.raises(BackupError, match="is another file than the backup's"):
        put_uploads_back(backup, _manifest(backup))


def test_without_uploads_there_is_nothing_to_save(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path / "data"
    save_uploads(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
