"""A backup is looked at before anything is touched: what is wrong with it is said in a sentence."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import OutputWrapper

from studyhub.backup.errors import BackupError
from studyhub.backup.manifest import file_of, read_manifest
from studyhub.backup.restoring import restore_backup

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What a backup looks like that is well."""
    files = {"database/toc.dat": b"table of contents", "files/imports/0123": b"front,back\n"}
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    manifest = {
        "format": 1,
        "studyhub": "0.1.0",
        "created_at": "2031-05-01T10:00:00Z",
        "postgresql": "18.4",
        "pg_dump": "18.4",
        "feed": {"epoch": "e904664a-05ea-4f84-8bfe-a9cdf7c6e957", "last_seq": 7},
        "migrations": ["memocards.0001_initial"],
        "rows": {"public.memocards_topic": 3},
        "files": {name: file_of(tmp_path / name).model_dump() for name in files},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def _change(directory: Path, change: Change) -> None:
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def _refusal(directory: Path) -> str:
    """How a restore ends that may not come as far as the database: no test here has one."""
    with pytest.raises(BackupError) as caught:
        restore_backup(directory, replace=True, stream=OutputWrapper(io.StringIO()))
    return str(caught.value)


def test_what_is_written_is_read_again(directory: Path) -> None:
    manifest = read_manifest(directory)
    assert manifest.feed
    assert (manifest.feed.last_seq, manifest.server_major, manifest.size) == (7, 18, 28)
    assert [str(path) for path in manifest.uploads] == ["imports/0123"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda it: it.update(format=2, studyhub="3.0", files=None), "newer StudyHub (3.0), in format 2"),
        (lambda it: it["migrations"].append("memocards.0999_later"), "has the migrations memocards.0999_later, which"),
        (lambda it: it.pop("rows"), "cannot be read (rows: Field required)"),
        (lambda it: it.update(created_at="yesterday"), "cannot be read (created_at: "),
        (lambda it: it["files"].update({"../secret-key": {"size": 1, "sha256": ""}}), "'../secret-key', which cannot"),
        (lambda it: it["files"].update({"/etc/passwd": {"size": 1, "sha256": ""}}), "'/etc/passwd', which cannot"),
        (lambda it: it["files"].update({"files/../../x": {"size": 1, "sha256": ""}}), "which cannot be in it"),
        (lambda it: it["files"].update({"database/2.dat": {"size": 1, "sha256": ""}}), "database/2.dat cannot be read"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(directory: Path, change: Change, sentence: str) -> None:
    _change(directory, change)
    assert sentence in _refusal(directory)


def test_a_manifest_that_is_cut_off_is_refused(directory: Path) -> None:
    path = directory / "manifest.json"
    path.write_text(path.read_text()[:-9])
    assert "is damaged: manifest.json cannot be read" in _refusal(directory)


@pytest.mark.parametrize("name", ["database/toc.dat", "files/imports/0123"])
@pytest.mark.parametrize("content", [b"", b"another content.."])
def test_a_changed_file_is_refused_by_name(directory: Path, name: str, content: bytes) -> None:
    (directory / name).write_bytes(content)
    assert f"is damaged: {name} has not the bytes that were written" in _refusal(directory)


def test_a_directory_that_is_no_backup_is_refused(directory: Path) -> None:
    (directory / "manifest.json").unlink()
    assert "is no backup, or one that was not finished" in _refusal(directory)
    assert "is no backup, or one that was not finished" in _refusal(directory / "missing")
    assert "is no backup, or one that was not finished" in _refusal(directory / "database" / "toc.dat")
