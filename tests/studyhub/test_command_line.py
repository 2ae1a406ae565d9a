"""The command line as a person meets it who has set something wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).parents[2]


@pytest.mark.django_db
def test_a_database_without_our_tables_is_named_in_a_sentence() -> None:
    asked = subprocess.run(
        [sys.executable, "manage.py", "publish_status"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(settings.DATA_DIR),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            # Every server has it, and nothing of ours is in it.
            "STUDYHUB_TEST_DATABASE": "postgres",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 1
    assert asked.stderr.startswith("The tables of StudyHub are not in this database.")
    assert "Traceback" not in asked.stderr


def test_no_command_writes_past_the_outbox() -> None:
    """django-import-export has commands that would."""
    from django.core.management import get_commands

    assert not {"import", "export"} & set(get_commands())
