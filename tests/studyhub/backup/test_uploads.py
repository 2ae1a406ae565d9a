"""What people have uploaded goes into a backup, and from there to where it was."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memocards.admin.importing.forms import Plan
from memocards.admin.importing.uploads import State, Status, Upload, uploads
from memocards.importing.scratch import scratch_directory
from studyhub.backup.manifest import Manifest, file_of
from studyhub.backup.uploads import put_staged_uploads_in_place, save_uploads, stage_uploads

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


def restore(backup: Path) -> int:
    manifest = _manifest(backup)
    count = stage_uploads(backup, manifest)
    put_staged_uploads_in_place(manifest)
    return count


def test_an_import_between_preview_and_answer_comes_back_as_old_as_it_was(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path / "data"
    upload = Upload.create(PLAN, [b"front,back\n", b"F,B\n"])
    os.utime(upload.file, (1_900_000_000, 1_900_000_000))
    backup = tmp_path / "backup"
    save_uploads(backup)

    settings.DATA_DIR = tmp_path / "elsewhere"
    assert Upload.find(upload.id) is None
    for _twice in range(2):
        assert restore(backup) == len(["plan.json", "file", "state.json"])
    assert Upload.find(upload.id) == upload
    assert upload.file.read_bytes() == b"front,back\nF,B\n"
    assert upload.file.stat().st_mtime == 1_900_000_000
    assert upload.file.stat().st_mode & 0o777 == 0o600


def test_an_import_that_went_on_since_the_backup_is_again_as_its_database_is(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path / "data"
    upload = Upload.create(PLAN, [b"front,back\nF,B\n"])
    save_uploads(tmp_path / "backup")
    upload.drop_content()
    upload.change(status=Status.STORED)
    later = Upload.create(PLAN, [b"front,back\nG,B\n"])

    restore(tmp_path / "backup")

    assert upload.state == State(Status.WAITING)
    assert upload.is_open
    assert {found.id for found in uploads()} == {upload.id, later.id}
    (replaced,) = upload.directory.parent.glob(f"{upload.id}.replaced-*")
    assert '"stored"' in (replaced / "state.json").read_text()


def test_what_only_a_running_import_needs_is_in_no_backup(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path / "data"
    upload = Upload.create(PLAN, [b"front,back\n"])
    with scratch_directory() as scratch, upload.held() as held:
        assert held
        (scratch / "unpacked").write_bytes(b"gigabytes")
        upload.draft_of_rows.write_bytes(b"half of the rows")
        save_uploads(tmp_path / "backup")
    saved = {path.name for path in (tmp_path / "backup").rglob("*") if path.is_file()}
    assert saved == {"plan.json", "file", "state.json"}


def test_without_uploads_there_is_nothing_to_save(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path / "data"
    save_uploads(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
