"""`manage.py postgres`: PostgreSQL's own programs, in the hub's database, as if they had been started alone."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(db: None) -> Run:
    def run(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", "postgres", *arguments],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "DATA_DIR": str(settings.DATA_DIR),
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "STUDYHUB_TEST_DATABASE": str(connection.settings_dict["NAME"]),
                "PGDATABASE": "another",
                "PGHOSTADDR": "192.0.2.1",
            },
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_a_program_finds_the_hubs_database_and_reads_standard_input(run: Run) -> None:
    process = run("psql", "-AtX", stdin="SELECT current_database(), current_user, current_setting('application_name');")
    assert process.stdout == f"{connection.settings_dict['NAME']}|studyhub|psql\n", process.stderr


def test_its_exit_code_is_passed_on_and_a_double_dash_may_stand_before_it(run: Run) -> None:
    process = run("--", "psql", "-X", "-v", "ON_ERROR_STOP=1", stdin="SELECT 1/0;")
    assert (process.returncode, process.stdout) == (3, "")
    assert process.stderr == "ERROR:  division by zero\n"


def test_whoever_stops_reading_ends_it_quietly(run: Run) -> None:
    """Python ignores SIGPIPE, and would let the program do so too."""
    process = run("psql", "-AtX", "-c", r"\! grep SigIgn /proc/$PPID/status")
    ignored = int(process.stdout.split()[-1], 16)
    assert not ignored & (1 << 12)


def test_a_program_that_works_on_a_servers_files_is_refused(run: Run) -> None:
    refused = run("pg_resetwal", "-f")
    assert refused.returncode == 2
    assert "psql" in refused.stderr.splitlines()[-1]
