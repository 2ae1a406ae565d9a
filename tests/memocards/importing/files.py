"""Small real files of every format, made on the spot."""

import io
import json
import sqlite3
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import genanki
import openpyxl
import zstandard

from memocards.importing.reading import read
from memocards.importing.rows import BadRow, CardRow, Item, QuestionRow, Skipped

NOTE_TYPE = genanki.Model(
    1_607_392_319,
    "Two ways",
    fields=[{"name": "Front"}, {"name": "Back"}, {"name": "Hint"}],
    templates=[
        {
            "name": "Forward",
            "qfmt": "{{Front}}{{#Hint}} ({{Hint}}){{/Hint}}",
            "afmt": "{{FrontSide}}<hr id=answer>{{Back}}{{^Hint}}!{{/Hint}}",
        },
        {"name": "Backward", "qfmt": "{{Back}}", "afmt": "{{Back}}<hr id='answer'>{{Front}}"},
    ],
)
CLOZE_TYPE = genanki.Model(
    1_607_392_320,
    "Gaps",
    fields=[{"name": "Text"}, {"name": "Extra"}],
    templates=[{"name": "Gap", "qfmt": "{{cloze:Text}}", "afmt": "{{cloze:Text}}<br>{{Extra}}"}],
    model_type=genanki.Model.CLOZE,
)
PLAIN_TYPE = genanki.Model(
    1_607_392_321,
    "Plain",
    fields=[{"name": "Front"}, {"name": "Back"}],
    templates=[{"name": "Card", "qfmt": "{{Front}}", "afmt": "{{FrontSide}}<hr id=answer>{{Back}}"}],
)


Note: TypeAlias = tuple[str, Any, list[str], str, list[str]]


def items(path: Path, **options: Any) -> list[Item]:
    return list(read(path, **options))


def cards(entries: Iterable[Item]) -> list[CardRow]:
    return [item for item in entries if isinstance(item, CardRow)]


def questions(entries: Iterable[Item]) -> list[QuestionRow]:
    return [item for item in entries if isinstance(item, QuestionRow)]


def bad(entries: Iterable[Item]) -> list[tuple[str, str]]:
    return [(item.place, item.reason) for item in entries if isinstance(item, BadRow)]


def skipped(entries: Iterable[Item]) -> list[tuple[str, str]]:
    return [(item.what, item.name) for item in entries if isinstance(item, Skipped)]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    return write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_xlsx(path: Path, rows: Iterable[Sequence[Any]]) -> Path:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Cards")
    for row in rows:
        sheet.append(list(row))
    book.save(path)
    return path


def card(number: int, **values: Any) -> dict[str, Any]:
    return {"external_id": f"c{number}", "front": f"Front {number}", "back": f"Back {number}", **values}


def question(number: int, **values: Any) -> dict[str, Any]:
    return {
        "external_id": f"q{number}",
        "question": f"Question {number}?",
        "choices": {"A": "Yes", "B": "No"},
        "answer": "B",
        **values,
    }


def collection(notes: Iterable[Note]) -> bytes:
    """A collection of schema 11. Each note: deck, note type, fields, guid, tags."""
    decks: dict[str, genanki.Deck] = {}
    for deck, note_type, fields, guid, tags in notes:
        place = decks.setdefault(deck, genanki.Deck(2_000_000_000 + len(decks), deck))
        place.add_note(genanki.Note(model=note_type, fields=fields, guid=guid, tags=tags))
    buffer = io.BytesIO()
    genanki.Package(list(decks.values())).write_to_file(buffer)
    with zipfile.ZipFile(buffer) as archive:
        return archive.read("collection.anki2")


def newer_collection(folder: Path, guid: str, front: str, back: str) -> bytes:
    """A collection of schema 18 with one note, packed by zstd as in collection.anki21b."""
    path = folder / "newer.sqlite"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.create_collation("unicase", lambda a, b: (a > b) - (a < b))
        database.executescript(
            "CREATE TABLE col (id integer PRIMARY KEY, ver integer);"
            "CREATE TABLE notetypes (id integer PRIMARY KEY, name text COLLATE unicase, config blob);"
            "CREATE TABLE fields (ntid integer, ord integer, name text COLLATE unicase, config blob);"
            "CREATE TABLE templates (ntid integer, ord integer, name text COLLATE unicase, config blob);"
            "CREATE TABLE decks (id integer PRIMARY KEY, name text COLLATE unicase);"
            "CREATE TABLE notes (id integer PRIMARY KEY, guid text, mid integer, tags text, flds text);"
            "CREATE TABLE cards (id integer PRIMARY KEY, nid integer, did integer, ord integer, odid integer);"
        )
        database.execute("INSERT INTO col VALUES (1, 18)")
        database.execute("INSERT INTO notetypes VALUES (7, 'Basic', ?)", [b""])
        database.executemany("INSERT INTO fields VALUES (7, ?, ?, x'')", [(0, "Front"), (1, "Back")])
        config = _text_message(1, "{{Front}}") + _text_message(2, "{{FrontSide}}<hr id=answer>{{Back}}")
        database.execute("INSERT INTO templates VALUES (7, 0, 'Card 1', ?)", [config])
        # A nested deck, and a filtered one that has borrowed the card.
        database.executemany("INSERT INTO decks VALUES (?, ?)", [(3, "World\x1fEurope"), (4, "Cram")])
        database.execute("INSERT INTO notes VALUES (11, ?, 7, ' a  b ', ?)", [guid, f"{front}\x1f{back}"])
        database.execute("INSERT INTO cards VALUES (12, 11, 4, 0, 3)")
        database.commit()
    return zstandard.ZstdCompressor().compress(path.read_bytes())


def media_list(*names: str) -> bytes:
    """The list of media of a newer package."""
    entries = b"".join(_message(1, _text_message(1, name)) for name in names)
    return zstandard.ZstdCompressor().compress(entries)


def write_zip(path: Path, members: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _text_message(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _message(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content
