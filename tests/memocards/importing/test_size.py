"""A hundred thousand rows: in under a minute, in memory that does not grow with the file, and twice over."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from memocards.models import MemoCard
from tests.factories import TopicFactory
from tests.memocards.importing.files import PLAIN_TYPE, Note, collection, write_xlsx, write_zip

MANY, FEW = 100_000, 10_000
# What a process may take more for the large file than for the small one.
GROWTH_MEBIBYTES = 40
PROGRAM = """
import json, pathlib, re, sys, time
import django
django.setup()
from memocards.importing.reading import read
from memocards.importing.storing import store
start = time.monotonic()
report = store(read(sys.argv[1]), topic="Large", editor=SYSTEM)
# Not ru_maxrss, which a process inherits from the one that started it.
status = pathlib.Path("/proc/self/status")
peak = int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) / 1024 if status.exists() else 0
json.dump({"new": report.new, "changed": report.changed, "unchanged": report.unchanged, "mebibytes": peak,
           "seconds": time.monotonic() - start}, sys.stdout)
"""

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def rows(count: int) -> Iterator[tuple[str, str, str, str]]:
    for number in range(count):
        yield f"id-{number}", f"단어 {number} in a sentence of some length", f"Meaning **{number}**. " * 5, "one two"


def note(row: tuple[str, str, str, str]) -> Note:
    return "Large", PLAIN_TYPE, [row[1], f"<b>{row[0]}</b><br>{row[2]}"], row[0], []


def make(path: Path, count: int) -> Path:
    if path.suffix == ".jsonl":
        names = ("id", "front", "back", "tags")
        with path.open("w") as out:
            out.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows(count))
    elif path.suffix == ".csv":
        with path.open("w") as out:
            out.write("id,front,back,tags\n")
            out.writelines(",".join(row) + "\n" for row in rows(count))
    elif path.suffix == ".xlsx":
        write_xlsx(path, [("id", "front", "back", "tags"), *rows(count)])
    else:
        write_zip(path, {"collection.anki2": collection(map(note, rows(count)))})
    return path


def run(path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "STUDYHUB_TEST_DATABASE": connection.settings_dict["NAME"],
            "DATA_DIR": str(settings.DATA_DIR),
        },
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".xlsx", ".apkg"])
def test_a_large_file(tmp_path: Path, suffix: str) -> None:
    TopicFactory.create(name="Large")
    small = run(make(tmp_path / f"small{suffix}", FEW))
    assert small["new"] == FEW
    large = run(make(tmp_path / f"large{suffix}", MANY))
    assert (large["new"], large["unchanged"]) == (MANY - FEW, FEW)
    again = run(tmp_path / f"large{suffix}")
    assert (again["new"], again["changed"], again["unchanged"]) == (0, 0, MANY)
    figures = {"few": small, "many": large, "again": again}
    if suffix == ".csv":
        MemoCard.objects.update(back="old")
        figures["changed"] = run(tmp_path / f"large{suffix}")
        assert figures["changed"]["changed"] == MANY
    for name, figure in figures.items():
        sys.stdout.write(f"{suffix} {name}: {figure['seconds']:.1f} s, {figure['mebibytes']:.0f} MiB\n")
    assert max(figure["seconds"] for figure in figures.values()) < 60
    # The texts of a workbook stand in one table, which its reader holds in memory: up to a limit of the file's size.
    allowed = GROWTH_MEBIBYTES if suffix != ".xlsx" else 4 * GROWTH_MEBIBYTES
    assert max(figure["mebibytes"] for figure in figures.values()) - small["mebibytes"] < allowed
