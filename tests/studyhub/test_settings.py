"""The environment: what cannot be read is refused with its name and with what it may be."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def check(data_dir: Path | str, /, **variables: str) -> "subprocess.CompletedProcess[str]":
    """`manage.py check`, as an operator runs it who has set nothing but these variables."""
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATA_DIR": str(data_dir), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value", "may_be"),
    [
        ("DEBUG", "maybe", "true or false"),
        ("HTTPS", "2", "true or false"),
        ("PUBLISH_ENABLED", "enabled", "true or false"),
        ("DAY_ROLLOVER_HOUR", "24", "a whole number from 0 to 23"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "addresses and networks"),
        ("LOCK_TIMEOUT_SECONDS", "0", "a whole number from 1 to 60"),
        ("STATEMENT_TIMEOUT_SECONDS", "1.5", "a whole number from 1 to 3600"),
        ("IDLE_TRANSACTION_TIMEOUT_SECONDS", "never", "a whole number from 1 to 86400"),
        ("PORT", "http", "a whole number from 1 to 65535"),
        ("STUDY_TIME_ZONE", "../Seoul", "such as Asia/Seoul"),
        ("LADDER_DAYS", "1,3,x", "whole days"),
        ("LADDER_DAYS", "1,7,3", "in rising order"),
        ("LADDER_DAYS", "1,40000", "from 1 to 36500"),
        ("DATABASE_URL", "mysql://user:secret@host/name", "postgres://USER:PASSWORD@HOST:PORT/NAME"),
        ("DATABASE_URL", "postgres://user:secret@host:port/name", "postgres://USER:PASSWORD@HOST:PORT/NAME"),
        ("DATABASE_URL", "postgres://user:secret@host", "postgres://USER:PASSWORD@HOST:PORT/NAME"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str, value: str, may_be: str) -> None:
    checked = check(tmp_path, **{name: value})
    assert checked.returncode != 0
    sentence = checked.stderr.strip().splitlines()[-1]
    assert f" {name} " in f" {sentence.removeprefix('django.core.exceptions.ImproperlyConfigured: ')} "
    assert may_be in sentence
    assert "secret" not in checked.stderr


def test_a_directory_that_cannot_be_written_is_refused_by_name() -> None:
    checked = check("/dev/null/studyhub")
    assert checked.returncode != 0
    assert "DATA_DIR is '/dev/null/studyhub'" in checked.stderr.splitlines()[-1]


def test_empty_variables_mean_the_defaults_and_a_secret_key_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    names = ("SECRET_KEY", "DATABASE_URL", "DEBUG", "ALLOWED_HOSTS", "LADDER_DAYS", "STUDY_TIME_ZONE", "PORT")
    data = tmp_path / "made on first use"
    first = check(data, **dict.fromkeys(names, " "))
    assert first.returncode == 0, first.stderr
    key = data / "secret-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key_text = key.read_text()
    assert len(key_text) >= 50
    assert check(data).returncode == 0
    assert key.read_text() == key_text
    assert sorted(path.name for path in data.iterdir()) == ["secret-key"]
