"""Small files that were made to cost a lot, each with what is said of it."""

import io
import json
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import zstandard

# A text of which a hundred thousand characters take seconds to convert.
COSTLY: Final = "<ul><li>" * 12_300
_NOTE_TYPES: Final = json.dumps(
    {
        "1": {
            "name": "n",
            "type": 0,
            "flds": [{"name": "F", "ord": 0}],
            "tmpls": [{"ord": 0, "name": "c", "qfmt": "{{F}}", "afmt": "{{F}}"}],
        }
    }
)
_SPREADSHEET: Final = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_RELATIONS: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_WORKBOOK: Final = {
    "[Content_Types].xml": (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/xl/workbook.xml"'
        ' ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
        '<Override PartName="/xl/worksheets/sheet1.xml"'
        ' ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        '<Override PartName="/xl/sharedStrings.xml"'
        ' ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/></Types>'
    ),
    "_rels/.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook {_SPREADSHEET} xmlns:r="{_RELATIONS}">'
        '<sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="r2" Type="{_RELATIONS}/sharedStrings" Target="sharedStrings.xml"/></Relationships>'
    ),
}


def archive(members: dict[str, bytes | str], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def workbook(texts: list[str], rows: list[list[int]]) -> bytes:
    """A workbook of these shared texts, whose cells name them by number."""
    cells = "".join(
        f'<row r="{line}">'
        + "".join(f'<c r="{"ABCD"[at]}{line}" t="s"><v>{text}</v></c>' for at, text in enumerate(row))
        + "</row>"
        for line, row in enumerate(rows, start=1)
    )
    shared = "".join(f"<si><t>{text.replace('<', '&lt;')}</t></si>" for text in texts)
    return archive(
        {
            **_WORKBOOK,
            "xl/sharedStrings.xml": f"<sst {_SPREADSHEET}>{shared}</sst>",
            "xl/worksheets/sheet1.xml": f"<worksheet {_SPREADSHEET}><sheetData>{cells}</sheetData></worksheet>",
        }
    )


def package(notes: str, cards: int) -> bytes:
    """An Anki package of one note, whose field is this SQL expression, with so many cards on it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "collection"
        database = sqlite3.connect(path)
        database.executescript(
            f"create table col(models text, decks text); insert into col values('{_NOTE_TYPES}', '{{}}');"
            "create table notes(id integer primary key, guid, mid, tags, flds);"
            "create table cards(id integer primary key, nid, ord, did, odid);"
            f"insert into notes values(1, 'g', 1, '', {notes});"
            f"with recursive c(x) as (select 1 union all select x + 1 from c where x < {cards})"
            " insert into cards select x, 1, 0, 1, 0 from c;"
        )
        database.commit()
        database.close()
        return archive({"collection.anki2": path.read_bytes()})


def one_text_in_many_rows() -> bytes:
    return workbook(["id", "front", "back", COSTLY], [[0, 1, 2], *([3, 3, 3] for _row in range(3_000))])


def many_texts_that_differ() -> bytes:
    lines = (json.dumps({"front": f"{number}{COSTLY}", "back": f"{COSTLY}{number}"}) for number in range(300))
    return "\n".join(lines).encode()


def many_cards_on_one_note() -> bytes:
    return package("replace(hex(zeroblob(12000)), '00', '<ul><li>')", 200_000)


def few_cards_on_one_note() -> bytes:
    return package("replace(hex(zeroblob(12000)), '00', '<ul><li>')", 60)


def empty_rows() -> bytes:
    return b"front,back\n" + b"\n" * 9_000_000


def a_long_list_of_media() -> bytes:
    listed = zstandard.ZstdCompressor(level=19).compress(b"\x0a\x02\x0a\x00" * 4_000_000)
    return archive({"collection.anki2": "x", "media": listed}, zipfile.ZIP_STORED)


def many_members() -> bytes:
    return archive({**{f"{n}": "" for n in range(400_000)}, "xl/workbook.xml": "x"}, zipfile.ZIP_STORED)


def many_shared_texts() -> bytes:
    return workbook(["front", "back", *(f"{n:x}" for n in range(2_000_000))], [[0, 1]])


# How it is made, its name, and what is said of it.
SMALL: Final[list[tuple[Callable[[], bytes], str, str]]] = [
    (one_text_in_many_rows, "a.xlsx", "3000 rows cannot be imported"),
    (few_cards_on_one_note, "b.apkg", "60 rows cannot be imported"),
    (many_cards_on_one_note, "c.apkg", "The file has more than 10,000 rows."),
    (a_long_list_of_media, "d.apkg", "list of media has more than 250,000 entries."),
]
LARGE: Final[list[tuple[Callable[[], bytes], str, str]]] = [
    (empty_rows, "e.csv", "The file has more than 1,048,576 empty rows. Delete them."),
    (many_members, "f.xlsx", "The archive holds more than 250,000 files."),
    (many_shared_texts, "g.xlsx", "The workbook holds more than 1,000,000 different texts."),
    (many_texts_that_differ, "h.jsonl", "Reading the file takes"),
]
