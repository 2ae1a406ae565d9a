"""Every format is read; what is wrong is named with its place, and nothing is read past a limit."""

import datetime
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from memocards.importing.checking import derived_id
from memocards.importing.formats import jsonl, xlsx
from memocards.importing.formats.anki import text as anki_text
from memocards.importing.reading import read
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import CardRow, QuestionRow, RowKind
from tests.memocards.importing.files import (
    bad,
    card,
    cards,
    items,
    question,
    questions,
    skipped,
    write,
    write_jsonl,
    write_xlsx,
    write_zip,
)

EXPECTED = [
    CardRow(2, "line 2", None, "1", "Seoul?", "Korea, the *south*", ("capital", "asia"), None),
    CardRow(3, "line 3", None, "2", 'A "quoted"\nfront', "b", ("South America",), "Atlas"),
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a.csv",
            "External ID,Front,back,tags,source,mood\n"
            '1,Seoul?,"Korea, the *south*","capital, asia",,\n'
            '2,"A ""quoted""\nfront",b,"[""South America""]",Atlas,\n',
        ),
        (
            "semicolons.csv",
            "id;front;back;tags;source;mood\r\n"
            "1;Seoul?;Korea, the *south*;capital asia;;\r\n"
            '2;"A ""quoted""\r\nfront";b;South America,;Atlas;\r\n',
        ),
        (
            "a.tsv",
            "guid\tfront\tback\ttags\tsource\tmood\n"
            "1\tSeoul?\tKorea, the *south*\tcapital asia\t\t\n"
            '2\t"A ""quoted""\nfront"\tb\tSouth America;\tAtlas\t\n',
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables(tmp_path: Path, name: str, content: str, encoding: str) -> None:
    entries = items(write(tmp_path / name, content.encode(encoding)))
    assert cards(entries) == EXPECTED
    assert skipped(entries) == [("column", "mood")]


def test_xlsx(tmp_path: Path) -> None:
    path = write_xlsx(
        tmp_path / "cards.xlsx",
        [
            ["front", "back", "tags", None],
            ["2 + 1", 3.0, "sums", None],
            [None, None, None, None],
            ["day", datetime.datetime(2026, 1, 5), None, None],
            ["broken", "#N/A", None, None],
            ["", "b", None, None],
            ["f", "b", None, "surplus"],
        ],
    )
    entries = items(path)
    assert [(row.place, row.front, row.back, row.tags) for row in cards(entries)] == [
        ("row 2", "2 + 1", "3", ("sums",)),
        ("row 4", "day", "2026-01-05", ()),
    ]
    assert bad(entries) == [
        ("row 5", "A cell holds the error #N/A."),
        ("row 6", "The front is empty."),
        ("row 7", "The row has 4 cells, but the header names 3 columns."),
    ]


def test_jsonl_with_other_names(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "a.jsonl",
        [
            {"id": 7, "front": "f", "back": "b", "note": "more", "tags": ["South America", "x"], "lang": "en"},
            {"front": " 같은  말 ", "back": "b", "external_id": None},
        ],
    )
    entries = items(path)
    assert cards(entries) == [
        CardRow(1, "line 1", None, "7", "f", "b\n\nmore", ("South America", "x"), None),
        CardRow(2, "line 2", None, derived_id("같은 말"), "같은  말", "b", None, None),
    ]
    assert skipped(entries) == [("column", "lang")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a.jsonl",
            '{"id": "q", "question": "Is it?", "choices": {"A": "Yes", "B": "`No`"}, "answer": "b",'
            ' "explanation": "Because.", "source": "Exam 3"}',
        ),
        (
            "list.jsonl",
            '{"external_id": "q", "stem": "Is it?", "choices": ["Yes", "`No`"], "answer": 2,'
            ' "explanation": "Because.", "source": "Exam 3"}',
        ),
        ("a.csv", "id,question,a,b,c,answer,explanation,source\nq,Is it?,Yes,`No`,,B,Because.,Exam 3\n"),
        (
            "numbered.csv",
            "id,stem,choice 2,choice 1,answer,explanation,source\nq,Is it?,`No`,Yes,2,Because.,Exam 3\n",
        ),
        ("cell.tsv", "id\tstem\tchoices\tanswer\texplanation\tsource\nq\tIs it?\tYes|`No`\t2.\tBecause.\tExam 3\n"),
    ],
)
def test_questions(tmp_path: Path, name: str, content: str) -> None:
    (row,) = questions(items(write(tmp_path / name, content), kind=RowKind.QUESTION))
    assert (row.external_id, row.stem, row.choices, row.answer) == ("q", "Is it?", ("Yes", "`No`"), 2)
    assert (row.explanation, row.source) == ("Because.", "Exam 3")


def test_a_question_without_an_explanation_leaves_that_open(tmp_path: Path) -> None:
    (row,) = questions(items(write_jsonl(tmp_path / "a.jsonl", [question(1)]), kind=RowKind.QUESTION))
    assert row == QuestionRow(1, "line 1", None, "q1", "Question 1?", ("Yes", "No"), 2, None, None)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"back": ""}, "The back is empty."),
        ({"back": " \n"}, "The back is empty."),
        ({"back": "<b></b>"}, "The back is empty."),
        ({"front": None, "back": None}, "The front is empty. The back is empty."),
        ({"front": ["x"]}, "The front is not a text."),
        ({"front": True}, "The front is not a text."),
        ({"front": "a\0b"}, "The front holds a NUL character."),
        ({"front": "a\ud800b"}, "The front holds half of a character (a lone surrogate)."),
        ({"front": "x" * 20_001}, "The front has 20,001 characters; at most 20,000 are possible."),
        ({"external_id": "x" * 201}, "The id has 201 characters; at most 200 are possible."),
        ({"tags": [str(n) for n in range(51)]}, "The row has 51 tags; at most 50 are possible."),
        ({"tags": ["x" * 101]}, f"The tag {'x' * 20}… has 101 characters; at most 100 are possible."),
        ({"tags": [1.5, {}]}, "The tag is not a text."),
        ({"topic": "x" * 201}, "The topic's name has 201 characters; at most 200 are possible."),
        ({"back": '<img src="a.png">'}, "The back holds media only (a.png), which are left out."),
    ],
)
def test_a_bad_card(tmp_path: Path, values: dict[str, Any], reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, [card(1), card(2, **values), card(3)])))
    entries = items(path)
    assert bad(entries) == [("line 2", reason)]
    assert [row.external_id for row in cards(entries)] == ["c1", "c3"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"choices": ["one"]}, "The question has 1 choices; 2 to 10 are possible."),
        ({"choices": [str(n) for n in range(11)]}, "The question has 11 choices; 2 to 10 are possible."),
        ({"choices": 7}, "The choices are neither a list of texts nor an object of letters and texts."),
        ({"choices": ["a", " "]}, "Choice 2 is empty."),
        ({"choices": ["a", []]}, "The choice 2 is not a text."),
        *(
            (
                {"answer": answer},
                f"The answer '{answer}' is none of the choices: it is the text of one, a number from 1 to 2, or one of "
                "the letters A, B.",
            )
            for answer in ("C", 3, "Maybe", "")
        ),
        ({"answer": ["A", "B"]}, "This row names 2 right answers (A, B); a question has one here."),
        (
            {"choices": ["x" * 10_000, "y" * 10_001]},
            "The list of choices has 20,001 characters; at most 20,000 are possible.",
        ),
        ({"question": ""}, "The question is empty."),
        ({"source": "x" * 501}, "The source has 501 characters; at most 500 are possible."),
    ],
)
def test_a_bad_question(tmp_path: Path, values: dict[str, Any], reason: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [question(1), question(2, **values)])
    entries = items(path, kind=RowKind.QUESTION)
    assert bad(entries) == [("line 2", reason)]
    assert len(questions(entries)) == 1


@pytest.mark.parametrize(
    ("name", "content", "place", "reason"),
    [
        ("a.jsonl", '{"front": "f", "back": "b"}\n{"front": "f", "ba', "line 2", "This is not valid JSON: "),
        ("a.jsonl", '{"front": "f", "back": "b"}\n\n[1]\n', "line 3", "This is a list. JSON Lines has"),
        ("a.jsonl", '{"front": "f", "back": "b"}\n"x"\n', "line 2", "This is not a JSON object"),
        ("a.jsonl", '{"front": "f", "back": "b"}\n{"front": NaN}\n', "line 2", "This is not valid JSON: a number"),
        ("a.jsonl", '{"front": "f", "back": "b"}\n' + "[" * 100_000, "line 2", "This is not valid JSON: "),
        ("a.jsonl", b'{"front": "f", "back": "b"}\n{"front": "\xb0\xa1"}\n', "line 2", "The text holds the byte 0xB0"),
        ("a.csv", b"front,back\nf,b\n\xb0\xa1,b\n", "line 3", "The text holds the byte 0xB0"),
        ("a.csv", "front,back\nf,b\na,b,c\n", "line 3", "The row has 3 cells, but the header names 2 columns."),
        ("a.csv", 'front,back\nf,b\n"a"x,b\n', "line 3", "A quoted cell goes on after its closing quotation mark."),
        ("a.csv", 'front,back\nf,b\n"a,b\nc,d\n', "lines 3 to 4", "The file ends inside a quoted cell"),
        ("a.csv", f'front,back\nf,b\n"{"x" * 140_000}",b\n', "line 3", "A cell is longer than 131,072 characters."),
    ],
)
def test_a_bad_line(tmp_path: Path, name: str, content: str | bytes, place: str, reason: str) -> None:
    entries = items(write(tmp_path / name, content))
    ((at, why),) = bad(entries)
    assert at == place
    assert why.startswith(reason)
    assert len(cards(entries)) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv: The file is empty."),
        ("a.csv", " \n\n", "a.csv: The file is empty."),
        ("a.csv", "word,meaning\na,b\n", "a.csv, line 1: The first line names the columns, and front and back must be"),
        ("a.csv", b"front,back\0\n", "a.csv: This is not a text file."),
        ("a.csv", b'"\xff\xfe\n', "a.csv, line 1: "),
        (
            "a.tsv",
            "front\tback\nx\t" + "y" * 1_000_001,
            "a.tsv, line 2: This line is longer than 1,000,000 characters.",
        ),
        ("a.csv", "front,back\nä,b\n".encode("utf-16")[:-1], "a.csv, line 2: The text is not in UTF-16"),
        ("a.pdf", b"%PDF-1.7 ...", "a.pdf: This is a PDF, which holds no rows."),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "a.xls: This is a workbook of an old Excel."),
        ("a.csv", b"\x1f\x8b\x08\0", "a.csv: This file is packed by gzip."),
        ("a.anki2", b"SQLite format 3\0...", "a.anki2: This is a bare SQLite database."),
        ("a.jsonl", '[{"front": "f"}]', "a.jsonl: This is one JSON list."),
        ("a.zip", b"PK\x03\x04 and then nothing", "a.zip: The archive is damaged or cut off."),
    ],
)
def test_a_foreign_file(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(UnreadableFile) as caught:
        items(write(tmp_path / name, content))
    assert str(caught.value).startswith(message)


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "front,back\n서울,수도\n".encode("cp949"))
    assert bad(items(path)) != []
    assert [row.front for row in cards(items(path, encoding="cp949"))] == ["서울"]


def test_html_is_converted_when_it_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "front,back\n<b>x</b> *y*,<ul><li>a</ul>\n")
    (row,) = cards(items(path, html=True))
    assert (row.front, row.back) == ("**x** \\*y\\*", "- a")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"gone.csv: The file cannot be opened: No such file or directory\."):
        read(tmp_path / "gone.csv")


def test_content_decides_before_the_extension(tmp_path: Path) -> None:
    as_csv = write_jsonl(tmp_path / "a.csv", [card(1)])
    assert read(as_csv).format == jsonl.JSONL
    as_txt = write_xlsx(tmp_path / "a.txt", [["front", "back"], ["f", "b"]])
    assert read(as_txt).format == xlsx.XLSX
    assert read(write(tmp_path / "b.txt", "#separator:comma\n#html:false\nf,b\n")).format == anki_text.ANKI_TEXT


def test_an_open_file_is_read_twice_and_left_open(tmp_path: Path) -> None:
    stream = io.BytesIO(b"front,back\nf,b\n")
    rows = read(stream, name="upload.csv")
    assert list(rows) == list(rows) != []
    assert not stream.closed


def test_a_workbook_that_is_cut_off(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", [["front", "back"], *([f"f{n}", "b"] for n in range(200))])
    content = path.read_bytes()
    with pytest.raises(UnreadableFile, match=r"a.xlsx: The archive is damaged or cut off"):
        items(write(path, content[: len(content) // 2]))


def test_a_workbook_with_broken_xml(tmp_path: Path) -> None:
    source = write_xlsx(tmp_path / "a.xlsx", [["front", "back"], ["f", "b"]])
    with zipfile.ZipFile(source) as archive:
        members: dict[str, bytes | str] = {name: archive.read(name) for name in archive.namelist()}
        sheet = next(name for name in members if name.startswith("xl/worksheets/"))
        members[sheet] = archive.read(sheet)[:-40]
    with pytest.raises(UnreadableFile, match=r"b.xlsx: This is not a sound Excel workbook"):
        items(write_zip(tmp_path / "b.xlsx", members))


def test_a_zip_bomb_as_a_workbook(tmp_path: Path) -> None:
    source = write_xlsx(tmp_path / "a.xlsx", [["front", "back"], ["f", "b"]])
    with zipfile.ZipFile(source) as archive:
        members: dict[str, bytes | str] = {name: archive.read(name) for name in archive.namelist()}
    members["xl/sharedStrings.xml"] = b" " * (40 * 1024 * 1024)
    with pytest.raises(UnreadableFile, match=r"would unpack from [\d,]+ to 41,943,040 bytes. That is a ZIP bomb"):
        items(write_zip(tmp_path / "bomb.xlsx", members))


def test_an_archive_that_lies_about_its_sizes(tmp_path: Path) -> None:
    source = write_xlsx(tmp_path / "a.xlsx", [["front", "back"], ["f" * 5_000, "b"]])
    content = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        sizes = [info.file_size for info in archive.infolist() if info.filename.startswith("xl/worksheets/")]
    at = content.rfind(struct.pack("<I", sizes[0]))
    content[at : at + 4] = struct.pack("<I", 100)
    with pytest.raises(UnreadableFile, match=r"a\.xlsx: This is not a sound Excel workbook"):
        items(write(source, bytes(content)))


def test_an_archive_with_a_password(tmp_path: Path) -> None:
    source = write_xlsx(tmp_path / "a.xlsx", [["front", "back"], ["f", "b"]])
    content = bytearray(source.read_bytes())
    for at in range(len(content) - 10):
        if content[at : at + 4] == b"PK\x01\x02":
            content[at + 8] |= 1
    with pytest.raises(UnreadableFile, match="protected by a password"):
        items(write(source, bytes(content)))


def test_some_other_archive(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="neither an Anki package nor an Excel workbook"):
        items(write_zip(tmp_path / "a.zip", {"readme.txt": "hello"}))
