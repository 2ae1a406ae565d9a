"""Anki's collection, an SQLite database: one record for each card, rendered by its note type's template.

Both schemas in use: 11, which keeps note types and decks as JSON in one row, and 18, which has tables for them.
"""

import errno
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from django.utils.translation import gettext as _

from memocards.importing.formats.anki.templates import LONGEST_SIDE, Template, TooLong, answer_only
from memocards.importing.formats.anki.wire import int_field, text_field
from memocards.importing.limits import MEBIBYTE
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import BadRow, RawItem, Record

_FIELD_END: Final = "\x1f"
_CARDS: Final = (
    "SELECT card.ord, card.did, card.odid, notes.id, notes.guid, notes.mid, notes.tags, notes.flds"
    # Sorted before the join, whatever the indexes are: rows with texts would take much room, as many cards share one.
    " FROM (SELECT nid, ord, did, odid FROM cards ORDER BY nid, ord LIMIT -1) AS card"
    " CROSS JOIN notes ON notes.id = card.nid"
)
_CLOZE: Final = 1
# The code below takes it for granted what a collection looks like. Where one of these is raised, the file is at fault.
_STUMBLES: Final = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)
# Bytes of the longest value that SQLite may read or put together: longer than any text or picture in a field.
_LONGEST_VALUE: Final = 64 * MEBIBYTE
# What SQLite says when one of its files may not grow any further.
_NO_ROOM: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
# How many steps SQLite may take. An honest file needs a quarter of a step for each of its bytes.
_STEPS_AT_ONCE: Final = 1_000_000
_LEAST_STEPS, _STEPS_FOR_A_BYTE = 20_000_000, 5


@dataclass(frozen=True, slots=True)
class _NoteType:
    name: str
    is_cloze: bool
    fields: tuple[str, ...]
    templates: Mapping[int, tuple[str, Template, Template]]

    def template(self, ordinal: int) -> tuple[str, Template, Template] | None:
        """Name, front and back. A cloze note has one template, and a card for each of its numbers."""
        return self.templates.get(0 if self.is_cloze else ordinal)


def records(path: Path, name: str) -> Iterator[RawItem]:
    """A record for each card, in order of notes. `external_id` is the note's guid: see card_id()."""
    with _opened(path, name) as database:
        # Tables whose rows stand in the file. Those of a view or a virtual table are computed, perhaps without end.
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0")
        tables = {name for (name,) in names}
        is_newer = "notetypes" in tables
        if not {"notes", "cards", "col"} | ({"fields", "templates"} if is_newer else set()) <= tables:
            raise UnreadableFile(name, _("The database in this package is no Anki collection."))
        note_types = _note_types_18(database) if is_newer else _note_types_11(database)
        decks = _decks_18(database) if "decks" in tables else _decks_11(database)
        for line, row in enumerate(database.execute(_CARDS), start=1):
            yield _record(line, row, note_types, decks)


def card_id(guid: str, ordinal: int) -> str:
    """The external id of a note's card: the note's guid, and for its second card on the number after it."""
    return guid if ordinal == 0 else f"{guid}#{ordinal + 1}"


def _record(line: int, row: Any, note_types: Mapping[int, _NoteType], decks: Mapping[int, str]) -> RawItem:
    ordinal, deck, home_deck, note, guid, type_id, tags, texts = row
    place = _("card %(card)s of note %(note)s") % {"card": ordinal + 1, "note": int(note)}
    note_type = note_types.get(type_id)
    template = note_type.template(ordinal) if note_type else None
    if note_type is None or template is None:
        return BadRow(line, place, _("The package does not hold the note type or the template of this card."))
    name, front, back = template
    values = dict(zip(note_type.fields, str(texts).split(_FIELD_END), strict=False))
    # A filtered deck borrows its cards; the home deck is where they belong.
    topic = decks.get(home_deck or deck, "Default")
    special = {
        "Tags": str(tags).strip(),
        "Deck": topic,
        "Subdeck": topic.rsplit("::", 1)[-1],
        "Type": note_type.name,
        "Card": name,
    }
    try:
        question = front.render({**special, **values}, cloze=ordinal + 1, answer=False)
        answer = back.render({**special, **values}, cloze=ordinal + 1, answer=True)
    except TooLong:
        reason = _("A side of this card is longer than %s characters.") % f"{LONGEST_SIDE:,}"
        return BadRow(line, place, reason)
    return Record(
        line,
        place,
        {
            "topic": topic,
            "external_id": card_id(str(guid), ordinal),
            "front": question,
            "back": answer_only(answer),
            "tags": str(tags).split(),
        },
    )


@contextmanager
def _opened(path: Path, name: str) -> Iterator[sqlite3.Connection]:
    """The database, read-only and trusted with nothing; an error of SQLite is the file's fault."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            database.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            database.create_collation("unicase", _compare)
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
            steps = count()
            most = (_LEAST_STEPS + _STEPS_FOR_A_BYTE * path.stat().st_size) // _STEPS_AT_ONCE
            database.set_progress_handler(lambda: next(steps) > most, _STEPS_AT_ONCE)
            yield database
    except (sqlite3.Error, *_STUMBLES) as error:
        if getattr(error, "sqlite_errorcode", None) in _NO_ROOM:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG)) from error
        raise UnreadableFile(name, _("The Anki collection is damaged: %s.") % error) from error


def _compare(a: str, b: str) -> int:
    a, b = a.casefold(), b.casefold()
    return (a > b) - (a < b)


def _note_types_11(database: sqlite3.Connection) -> dict[int, _NoteType]:
    (models,) = database.execute("SELECT models FROM col").fetchone()
    return {
        int(key): _NoteType(
            name=model["name"],
            is_cloze=model.get("type") == _CLOZE,
            fields=tuple(field["name"] for field in sorted(model["flds"], key=lambda field: field["ord"])),
            templates={
                template["ord"]: (template["name"], Template(template["qfmt"]), Template(template["afmt"]))
                for template in model["tmpls"]
            },
        )
        for key, model in json.loads(models).items()
    }


def _note_types_18(database: sqlite3.Connection) -> dict[int, _NoteType]:
    fields: dict[int, list[str]] = {}
    for type_id, field in database.execute("SELECT ntid, name FROM fields ORDER BY ntid, ord"):
        fields.setdefault(type_id, []).append(field)
    templates: dict[int, dict[int, tuple[str, Template, Template]]] = {}
    for type_id, ordinal, name, config in database.execute("SELECT ntid, ord, name, config FROM templates"):
        sides = Template(text_field(config, 1)), Template(text_field(config, 2))
        templates.setdefault(type_id, {})[ordinal] = (name, *sides)
    return {
        type_id: _NoteType(
            name=name,
            is_cloze=int_field(config, 1) == _CLOZE,
            fields=tuple(fields.get(type_id, ())),
            templates=templates.get(type_id, {}),
        )
        for type_id, name, config in database.execute("SELECT id, name, config FROM notetypes")
    }


def _decks_11(database: sqlite3.Connection) -> dict[int, str]:
    (decks,) = database.execute("SELECT decks FROM col").fetchone()
    return {int(key): deck["name"] for key, deck in json.loads(decks).items()}


def _decks_18(database: sqlite3.Connection) -> dict[int, str]:
    return {key: name.replace(_FIELD_END, "::") for key, name in database.execute("SELECT id, name FROM decks")}
