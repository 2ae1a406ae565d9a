"""Files that are made to break the import: each is refused with a sentence, or read, in time that its size explains."""

import sqlite3
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from memocards.importing.formats import xlsx
from memocards.importing.formats.anki import collection as anki_collection
from memocards.importing.formats.anki.templates import LONGEST_SIDE, Template, TooLong
from memocards.importing.formats.decoding import known_encoding
from memocards.importing.limits import MEBIBYTE
from memocards.importing.reading import read
from memocards.importing.refusals import UnreadableFile
from memocards.importing.reports import Report, printable
from memocards.importing.rows import BadRow, RowKind, Skipped
from memocards.markup.from_html import from_html
from tests.memocards.importing.files import (
    PLAIN_TYPE,
    bad,
    card,
    cards,
    collection,
    items,
    question,
    questions,
    skipped,
    write,
    write_jsonl,
    write_xlsx,
    write_zip,
)

# What was read in minutes or never is read in a second or two; a loaded machine may take its time.
PATIENCE_SECONDS = 60
SCHEMA_11 = (
    "CREATE TABLE col (id, models, decks); CREATE TABLE notes (id, guid, mid, tags, flds);"
    "CREATE TABLE cards (id, nid, did, odid, ord);"
)


def in_time(program: str, *arguments: Any) -> str:
    """What a program of its own prints. Raises TimeoutExpired."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, django\ndjango.setup()\n{program}", *map(str, arguments)],
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "DATA_DIR": str(settings.DATA_DIR)},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    return done.stdout.strip()


def read_in_time(path: Path) -> str:
    """How many items a file has, or why it is refused."""
    return in_time(
        "from memocards.importing.reading import read\n"
        "from memocards.importing.refusals import UnreadableFile\n"
        "try:\n    print(len(list(read(sys.argv[1]))))\nexcept UnreadableFile as error:\n    print(error)",
        path,
    )


def workbook(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """A sound workbook with one row, of whose members something is changed."""
    with zipfile.ZipFile(write_xlsx(path, [["front", "back"], ["f", "b"]])) as archive:
        members = {name: change(name, archive.read(name)) for name in archive.namelist()}
    return write_zip(path, {**members})


def with_rows(path: Path, rows: str) -> Path:
    return workbook(
        path,
        lambda name, content: content.replace(b"</sheetData>", rows.encode() + b"</sheetData>"),
    )


def package(path: Path, script: str, *rows: tuple[str, tuple[Any, ...]]) -> Path:
    """An Anki package around a database that is made by these statements."""
    database_path = path.with_suffix(".sqlite")
    with closing(sqlite3.connect(database_path)) as database:
        database.executescript(script)
        for statement, values in rows:
            database.execute(statement, values)
        database.commit()
    return write_zip(path, {"collection.anki2": database_path.read_bytes()})


def patched(path: Path, signature: bytes, changes: dict[int, bytes]) -> Path:
    """Change what the archive's directory says, so many bytes after each of these signatures."""
    content = bytearray(path.read_bytes())
    at = content.find(signature)
    while at >= 0:
        for offset, changed in changes.items():
            content[at + offset : at + offset + len(changed)] = changed
        at = content.find(signature, at + 1)
    return write(path, bytes(content))


ENTRY, END = b"PK\x01\x02", b"PK\x05\x06"


@pytest.mark.parametrize(
    ("signature", "changes", "message"),
    [
        # The flag for UTF-8, and a first byte that is none.
        (ENTRY, {9: b"\x08", 46: b"\xff"}, "The archive is damaged or cut off."),
        (ENTRY, {10: struct.pack("<H", 9)}, "The archive is packed in an unusual way."),
        (ENTRY, {10: struct.pack("<H", 99)}, "The archive is packed in an unusual way."),
        (ENTRY, {10: struct.pack("<H", zipfile.ZIP_LZMA)}, "The archive is packed in an unusual way."),
        (ENTRY, {10: struct.pack("<H", zipfile.ZIP_BZIP2)}, "The archive is packed in an unusual way."),
        # "Patched data", which zipfile knows of and cannot read.
        (ENTRY, {8: b"\x20"}, "compressed patched data (flag bit 5)."),
        # Members that begin before the file does.
        (END, {16: struct.pack("<I", 2**31)}, "The archive is damaged or cut off."),
    ],
)
@pytest.mark.parametrize("name", ["a.xlsx", "a.apkg"])
def test_an_archive_with_a_strange_directory(
    tmp_path: Path, name: str, signature: bytes, changes: dict[int, bytes], message: str
) -> None:
    path = tmp_path / name
    if name == "a.xlsx":
        write_xlsx(path, [["front", "back"], ["f", "b"]])
    else:
        write_zip(path, {"collection.anki2": collection([("D", PLAIN_TYPE, ["f", "b"], "g", [])])})
    with pytest.raises(UnreadableFile) as caught:
        items(patched(path, signature, changes))
    assert message in str(caught.value)


def test_a_workbook_without_a_workbook(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", lambda name, content: b"<x/>" if "Content_Types" in name else content)
    with pytest.raises(UnreadableFile, match=r"This is not a sound Excel workbook: File contains no valid workbook"):
        items(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('<row r="1000000000000"><c r="A1"><v>1</v></c></row>', "Row 1,000,000,000,000 follows row 2."),
        ('<row r="1048577"/>', "Row 1,048,577 follows row 2."),
        ('<row r="2"/>', "Row 2 follows row 2."),
        ('<row r="1048576"><c r="A1"><v>1</v></c><c r="B1"><v>2</v></c></row>', "2"),
    ],
)
def test_a_workbook_with_far_rows(tmp_path: Path, rows: str, message: str) -> None:
    assert message in read_in_time(with_rows(tmp_path / "a.xlsx", rows))


def test_gaps_in_a_workbook_cost_nothing(tmp_path: Path) -> None:
    path = with_rows(
        tmp_path / "a.xlsx", '<row r="900000"><c r="XFD1"/></row><row r="900001"><c r="B1"><v>5</v></c></row>'
    )
    with path.open("rb") as stream:
        assert [(number, len(cells)) for number, cells in xlsx._rows(stream, "a")] == [
            *((1, 2), (2, 2)),
            *((900_000, 1), (900_001, 1)),
        ]
    entries = items(path)
    assert [row.place for row in cards(entries)] == ["row 2"]
    assert bad(entries) == [("row 900001", "The front is empty.")]


@pytest.mark.parametrize("encoding", ["utf-16", "UTF-16", "utf-16-le"])
def test_utf_16_without_a_mark(tmp_path: Path, encoding: str) -> None:
    content = "front,back\n서울,가가가가\n"
    entries = items(write(tmp_path / "a.csv", content.encode("utf-16-le")), encoding=encoding)
    assert [(row.front, row.back) for row in cards(entries)] == [("서울", "가가가가")]
    if encoding != "utf-16-le":
        assert items(write(tmp_path / "b.csv", content.encode("utf-16-be")), encoding=encoding) == entries


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl"])
def test_what_is_not_in_the_chosen_encoding(tmp_path: Path, name: str, encoding: str) -> None:
    with pytest.raises(UnreadableFile, match=r"UTF-(16|32)"):
        items(write(tmp_path / name, "front,back\na,b\n"), encoding=encoding)


@pytest.mark.parametrize("name", ["rot13", "base64", "idna", "undefined", "no such"])
def test_what_is_no_encoding_of_a_file(name: str) -> None:
    with pytest.raises(Exception, match="is not the name of an encoding"):
        known_encoding(name)


def test_the_number_of_a_column_is_short(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", f"#separator:tab\n#guid column:{'9' * 5_000}\na\tb\n")
    with pytest.raises(UnreadableFile, match=r"line 2: '9{40}' is no number of a column\."):
        items(path)


def test_reports_can_be_written_and_shown(tmp_path: Path) -> None:
    report = Report("a")
    report.add_skipped(Skipped("column", "\ud800\x1b[2J"))
    report.add_skipped(Skipped("media", "\udcff.png"))
    report.add_bad(BadRow(1, "line 1", "\udfff" + "x" * 3_000))
    assert report.ignored_columns == [r"\ud800\x1b[2J"]
    assert list(report.media) == [r"\udcff.png"]
    assert report.bad_rows[0].reason.startswith(r"\udfffxxx")
    assert len(report.bad_rows[0].reason) < 2_100
    assert printable("한국어 ‘ok’, 👩‍🏫") == "한국어 ‘ok’, 👩‍🏫"
    assert printable(read(write(tmp_path / "\udcff.csv", "front,back\n")).name) == r"\udcff.csv"
    assert str(UnreadableFile("a", "\ud800")) == r"a: \ud800"


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("[" * 100_000, "maximum recursion depth exceeded"),
        ('{"a":' * 100_000, "maximum recursion depth exceeded"),
        ('{"%s": {}}' % ("9" * 5_000), "Exceeds the limit"),
    ],
)
def test_a_collection_that_is_no_sense(tmp_path: Path, models: str, message: str) -> None:
    path = package(tmp_path / "a.apkg", SCHEMA_11, ("INSERT INTO col VALUES (1, ?, '{}')", (models,)))
    with pytest.raises(UnreadableFile, match=f"The Anki collection is damaged: .*{message}"):
        items(path)


@pytest.mark.parametrize("note", ["\udcff", 1e999])
def test_a_note_without_a_number(tmp_path: Path, note: Any) -> None:
    value = note.encode("utf-8", "surrogateescape") if isinstance(note, str) else note
    path = package(
        tmp_path / "a.apkg",
        SCHEMA_11,
        ("INSERT INTO col VALUES (1, '{}', '{}')", ()),
        (
            "INSERT INTO notes VALUES (CAST(? AS text), 'g', 1, '', 'f')"
            if isinstance(note, str)
            else "INSERT INTO notes VALUES (?, 'g', 1, '', 'f')",
            (value,),
        ),
        ("INSERT INTO cards SELECT 1, id, 1, 0, 0 FROM notes", ()),
    )
    with pytest.raises(UnreadableFile, match="The Anki collection is damaged"):
        items(path)


@pytest.mark.parametrize("table", ["notes", "fields", "templates"])
def test_a_view_is_no_table(tmp_path: Path, table: str) -> None:
    newer = (
        "CREATE TABLE notetypes (id, name, config); CREATE TABLE fields (ntid, name, ord);"
        "CREATE TABLE templates (ntid, ord, name, config); CREATE TABLE decks (id, name);"
    )
    endless = (
        f"DROP TABLE {table}; CREATE VIEW {table} AS"
        " WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
        " SELECT x AS ntid, x AS id, x AS ord, 'n' AS name, x'' AS config FROM n;"
    )
    path = package(tmp_path / "a.apkg", SCHEMA_11 + newer + endless)
    assert "no Anki collection" in read_in_time(path)


def test_sqlite_works_no_longer_than_the_file_explains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = collection([("D", PLAIN_TYPE, [f"f{number}", "b"], f"g{number}", []) for number in range(200)])
    path = write_zip(tmp_path / "a.apkg", {"collection.anki2": content})
    monkeypatch.setattr(anki_collection, "_STEPS_AT_ONCE", 100)
    monkeypatch.setattr(anki_collection, "_LEAST_STEPS", 0)
    # Small as it is, the file is read with what its size alone allows.
    assert len(items(path)) == 200
    monkeypatch.setattr(anki_collection, "_STEPS_FOR_A_BYTE", 0)
    with pytest.raises(UnreadableFile, match="The Anki collection is damaged: interrupted"):
        items(path)


def test_sqlite_makes_no_gigabytes(tmp_path: Path) -> None:
    zeros = f"hex(zeroblob({33 * MEBIBYTE}))"
    path = package(
        tmp_path / "a.apkg",
        SCHEMA_11.replace("flds)", f"flds AS ({zeros}))"),
        ("INSERT INTO col VALUES (1, '{}', '{}')", ()),
        ("INSERT INTO notes (id, guid, mid, tags) VALUES (1, 'g', 1, '')", ()),
        ("INSERT INTO cards VALUES (1, 1, 1, 0, 0)", ()),
    )
    with pytest.raises(UnreadableFile, match="The Anki collection is damaged: string or blob too big"):
        items(path)


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("x" * (LONGEST_SIDE + 1), {}),
        ("{{F}}" * 1_000, {"F": "x" * LONGEST_SIDE}),
        ("{{text:F}}" * 1_000, {"F": "<a>" * 1_000}),
        ("{{" + "text:" * 1_000 + "F}}", {"F": "<a>" * 1_000}),
        ("{{#F}}{{/F}}" * 1_000, {"F": "<a>" * 1_000}),
    ],
)
def test_a_side_that_takes_too_long(source: str, values: dict[str, str]) -> None:
    with pytest.raises(TooLong):
        Template(source).render(values, cloze=1, answer=True)


def test_a_card_that_takes_too_long_is_one_bad_row(tmp_path: Path) -> None:
    content = collection(
        [("D", PLAIN_TYPE, ["f", "x" * LONGEST_SIDE], "g", []), ("D", PLAIN_TYPE, ["f", "b"], "h", [])]
    )
    entries = items(write_zip(tmp_path / "a.apkg", {"collection.anki2": content}))
    assert [reason for _place, reason in bad(entries)] == ["A side of this card is longer than 500,000 characters."]
    assert len(cards(entries)) == 1


COSTLY_CALLS = [
    "from_html('<b>a</b>' * 20_000)",
    "from_html('[sound:' * 100_000)",
    "from_html('[anki:tts]' * 100_000)",
    "from_html(''.join(f'<b id={number}><p>' for number in range(7_000)))",
    "from_markdown('**a* ' * 20_000 + '<b>x</b>')",
    "Template('{{' + ' ' * 20_000)",
    "Template('{{ ' * 300_000)",
    "Template('<!--' * 300_000)",
    "Template('{{furigana:F}}').render({'F': 'a[' * 50_000}, cloze=1, answer=True)",
    "Template('{{kana:F}}').render({'F': 'a' * 200_000}, cloze=1, answer=True)",
    "Template('{{text:F}}').render({'F': '<' * 200_000}, cloze=1, answer=True)",
    "answer_only('<hr id' * 60_000)",
    "cloze('{{c1::' * 300_000 + '}}' * 300_000, 1, answer=True)",
]


def test_no_text_takes_minutes() -> None:
    """The one that did is the one after what was printed last."""
    in_time(
        "from memocards.markup.from_html import from_html, from_markdown\n"
        "from memocards.importing.formats.anki.templates import Template, answer_only, cloze\n"
        + "\n".join(f"{call}\nprint({call!r}, flush=True)" for call in COSTLY_CALLS)
    )


def test_a_table_is_not_filled_up_without_end() -> None:
    wide, long = "<td>a" * 1_000, "<tr><td>b" * 1_000
    text, _media = from_html(f"<table><tr>{wide}{long}</table>")
    assert len(text) < 20_000


@pytest.mark.parametrize(
    ("front", "reason"),
    [
        (
            "a|" * 200 + "\n" + "-|" * 200 + "\n" + "b|\n" * 200 + "\n<b>x</b>",
            "The front holds a table of too many cells.",
        ),
        (
            "<b>x</b>" * 12_501,
            "The front has 100,008 characters with its markup; at most 100,000 are read.",
        ),
    ],
)
def test_a_text_that_is_not_converted(tmp_path: Path, front: str, reason: str) -> None:
    entries = items(write_jsonl(tmp_path / "a.jsonl", [card(1, front=front), card(2)]))
    assert bad(entries) == [("line 1", reason)]
    assert len(cards(entries)) == 1
    asked = question(1, choices=["a", front])
    ((_place, why),) = bad(items(write_jsonl(tmp_path / "b.jsonl", [asked]), kind=RowKind.QUESTION))
    assert why == reason.replace("The front", "The choice 2")


def test_a_choice_has_one_column(tmp_path: Path) -> None:
    header, row = "question,answer,A,B,a,Choice 2", "Q?,1,x,y,z,z"
    entries = items(write(tmp_path / "a.csv", f"{header}\n{row}\n"), kind=RowKind.QUESTION)
    assert [row.choices for row in questions(entries)] == [("x", "y")]
    assert skipped(entries) == [("column", "a"), ("column", "Choice 2")]
