"""Every command of hub and viewer beside `head`: real pipes whose reader has gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from memocards.content.editors import SYSTEM
from memocards.content.topics import create_topic
from tests.factories import MemoCardFactory
from tests.process.processes import CHECKOUT

COMMANDS = [
    "manage.py help",
    "manage.py publish_status --json",
    "manage.py verify_publish",  # which ends with 1 otherwise, since something drifted
    "manage.py export_content Anatomy",
    "manage.py import_cards {file} --topic Anatomy --dry-run",
    "-m viewer --help",
    "-m viewer sync",
]


@pytest.fixture
def environment(transactional_db: None, tmp_path: Path) -> dict[str, str]:
    topic = create_topic(name="Anatomy", editor=SYSTEM)
    MemoCardFactory.create_batch(2, topic=topic, needs_review=False)
    (tmp_path / "cards.csv").write_text("front,back\nHow many?,Two.\n")
    return {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(settings.DATA_DIR),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "STUDYHUB_TEST_DATABASE": str(connection.settings_dict["NAME"]),
        "VIEWER_DATABASE_URL": f"sqlite:///{tmp_path}/viewer.sqlite3",
        # Nobody is there, which the viewer says in its first line.
        "HUB_URL": "http://127.0.0.1:9",
    }


def python(command: str, environment: dict[str, str], stdout: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *command.split()],
        cwd=CHECKOUT,
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def pipe_without_reader() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def test_a_command_whose_reader_has_gone_ends_without_a_word_and_with_141(
    environment: dict[str, str], pipe_without_reader: int, tmp_path: Path
) -> None:
    running = {
        command: python(command.format(file=tmp_path / "cards.csv"), environment, pipe_without_reader)
        for command in COMMANDS
    }
    errors = {command: process.communicate(timeout=60)[1] for command, process in running.items()}
    ended = {command: (process.returncode, errors[command]) for command, process in running.items()}
    assert ended == dict.fromkeys(COMMANDS, (128 + signal.SIGPIPE, ""))


LOSES_ITS_DATABASE = """
from kit.standard_output import end_with_reader
with end_with_reader():
    print("begun", flush=True)
    raise BrokenPipeError("of another connection")
"""


def test_another_connection_that_breaks_is_an_error_as_before() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOSES_ITS_DATABASE],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "begun\n")
    assert "BrokenPipeError: of another connection" in ended.stderr
