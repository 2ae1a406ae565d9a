"""A file is read in a process of its own: it comes back the same, within limits, and whatever becomes of the reader."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation

from memocards.importing.limits import MEBIBYTE, LimitReached, Limits
from memocards.importing.reading import read
from memocards.importing.reading_apart import read_apart
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import RowKind
from memocards.importing.spool import Spool
from tests.memocards.importing.files import (
    PLAIN_TYPE,
    Note,
    card,
    collection,
    question,
    write,
    write_jsonl,
    write_xlsx,
    write_zip,
)
from tests.process.processes import CHECKOUT, wait_until

LIMITS = Limits(
    processor_seconds=30,
    seconds=60,
    memory=256 * MEBIBYTE,
    disk=256 * MEBIBYTE,
    text=16 * MEBIBYTE,
    rows=None,
)
# A text that takes half a second and more to convert, for as often as it is another one.
COSTLY = "<ul><li>" * 12_000


def apart(path: Path, *, kind: RowKind = RowKind.CARD, **options: Any) -> Spool:
    spool = path.with_name("spool")
    return read_apart(path, spool, kind=kind, name=path.name, **{"limits": LIMITS, **options})


def reached(path: Path, **limits: Any) -> str:
    with pytest.raises(LimitReached) as caught:
        apart(path, limits=replace(LIMITS, **limits))
    return str(caught.value)


def costly_rows(path: Path, count: int) -> Path:
    return write_jsonl(path, [card(number, front=f"{number}{COSTLY}") for number in range(count)])


def readers_of(pid: int) -> list[int]:
    """The processes that one has started, once they run their own program and are no copy of it any more."""
    readers = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):
            if b"-m\0memocards.importing.reader_process" in Path(f"/proc/{child}/cmdline").read_bytes():
                readers.append(int(child))
    return readers


def a_table(folder: Path) -> Path:
    return write(folder / "a.csv", "front,back,tags,mood\nf,b,x y,\n,b,,\n수도,<b>서울</b><img src='한강.png'>,,\n")


def a_workbook(folder: Path) -> Path:
    return write_xlsx(folder / "a.xlsx", [["front", "back"], ["f", "b"], [1, 2.5]])


def json_lines(folder: Path) -> Path:
    lines = [json.dumps(row) for row in (card(1, tags=["a", "b c"]), {"front": "\ud800", "mood\ud800": 1})]
    return write(folder / "a.jsonl", "\n".join(lines))


def an_anki_package(folder: Path) -> Path:
    note = ("Asia", PLAIN_TYPE, ["f", "b"], "g", ["t"])
    return write_zip(folder / "a.apkg", {"media": '{"0": "a.png"}', "collection.anki2": collection([note])})


@pytest.mark.parametrize("make", [a_table, a_workbook, json_lines, an_anki_package])
def test_rows_come_back_as_they_are_read_here(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    here, spool = read(path), apart(path)
    assert list(spool) == list(here)
    assert list(spool) == list(spool)
    assert (spool.name, spool.kind, spool.format, spool.count) == (here.name, here.kind, here.format, len(list(here)))


def test_questions_and_options_go_along(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a", [question(1, explanation="Because."), question(2, stem="x &lt; y")])
    options: dict[str, Any] = {"format": "jsonl", "html": True, "encoding": "utf-8"}
    assert list(apart(path, kind=RowKind.QUESTION, **options)) == list(read(path, kind=RowKind.QUESTION, **options))


def test_refusals_are_told_in_the_readers_language_with_their_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "front,rear\n")
    with pytest.raises(UnreadableFile, match=r"a\.csv, line 1: The first line names the columns") as caught:
        apart(path)
    assert caught.value.place == "line 1"
    with translation.override("ko"), pytest.raises(UnreadableFile) as caught:
        apart(path)
    with translation.override("ko"), pytest.raises(UnreadableFile) as here:
        list(read(path))
    assert str(caught.value) == str(here.value)
    assert caught.value.place != "line 1"


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="The file cannot be opened"):
        apart(tmp_path / "missing.csv")


def test_each_limit_is_said_in_a_sentence(tmp_path: Path) -> None:
    costly = costly_rows(tmp_path / "a.jsonl", 20)
    assert reached(costly, processor_seconds=1) == "Reading the file takes more than 1 seconds of computing."
    assert reached(costly, seconds=1) == "Reading the file takes longer than 1 seconds."
    many = write(tmp_path / "b.csv", "front,back\n" + "f,b\n" * 12_000)
    assert reached(many, rows=11_999) == "The file has more than 11,999 rows."
    assert reached(many, text=MEBIBYTE) == "The rows of the file hold more than 1 MiB of text."
    assert apart(many, limits=replace(LIMITS, rows=12_000)).count == 12_000


@pytest.mark.slow
def test_memory_is_limited(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", [["front", "back"], *([f"f{n}", f"b{n}"] for n in range(20_000))])
    sizes = range(64, 512, 8)
    needed = sizes[bisect_left(sizes, True, key=lambda size: _takes_no_more_than(path, size))]
    few = write_xlsx(tmp_path / "b.xlsx", [["front", "back"], ["f", "b"]])
    assert apart(few, limits=replace(LIMITS, memory=(needed - 8) * MEBIBYTE)).count == 1
    assert reached(path, memory=(needed - 8) * MEBIBYTE) == (
        f"Reading the file takes more than {needed - 8} MiB of memory."
    )


def _takes_no_more_than(path: Path, mebibytes: int) -> bool:
    try:
        return apart(path, limits=replace(LIMITS, memory=mebibytes * MEBIBYTE)).count > 0
    except LimitReached:
        return False


def test_what_is_unpacked_lies_with_the_spool_and_is_limited(tmp_path: Path) -> None:
    notes: list[Note] = [("Asia", PLAIN_TYPE, [f"{n}", os.urandom(2_000).hex()], f"g{n}", []) for n in range(1_000)]
    path = write_zip(tmp_path / "a.apkg", {"media": "{}", "collection.anki2": collection(notes)})
    assert reached(path, disk=MEBIBYTE) == "The file unpacks to more than 1 MiB."
    assert apart(path).count == 1_000
    assert {path.name for path in tmp_path.iterdir()} == {"a.apkg", "spool"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_reader_that_dies_is_a_sentence(number: signal.Signals, tmp_path: Path, in_thread: Any) -> None:
    before = set(readers_of(os.getpid()))
    reading = in_thread(apart, costly_rows(tmp_path / "a.jsonl", 60))
    (reader,) = wait_until(lambda: set(_children_of_threads()) - before, what="A reader")
    os.kill(reader, number)
    with pytest.raises(UnreadableFile, match=rf"Reading the file broke off \({number.name}\)"):
        reading.result()


def _children_of_threads() -> list[int]:
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_a_reader_ends_with_whoever_asked(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, django; django.setup()\n"
        "from memocards.importing.reading_apart import read_apart\n"
        "from tests.memocards.importing.test_reading_apart import LIMITS\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "read_apart(path, path.with_name('spool'), kind='card', name='a', limits=LIMITS)\n"
    )
    costly = costly_rows(tmp_path / "a.jsonl", 100)
    asking = subprocess.Popen(
        [sys.executable, "-c", program, costly],
        cwd=CHECKOUT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )
    (reader,) = wait_until(lambda: readers_of(asking.pid), what="A reader")
    environment = Path(f"/proc/{reader}/environ").read_bytes()
    assert b"DATABASE_URL" not in environment
    assert b"SECRET_KEY" not in environment
    asking.kill()
    asking.wait()
    wait_until(lambda: not Path(f"/proc/{reader}").exists(), seconds=5, what="The reader's end")
