"""Anki's text exports: lines of `#key:value`, then one note a line.

An export of notes knows neither their templates nor their cards: the first field is the front, the others are the back,
and a cloze text gives one card for each of its numbers. An export of cards has front and back, and no guid.
"""

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from memocards.exchange.markup import Markup
from memocards.importing.formats.anki.collection import card_id
from memocards.importing.formats.anki.package import NO_QUESTIONS
from memocards.importing.formats.anki.templates import cloze, cloze_numbers
from memocards.importing.formats.decoding import lines
from memocards.importing.formats.delimited import TAB, cells_of
from memocards.importing.formats.empty_rows import EmptyRows
from memocards.importing.formats.format import Format, OpenFile
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import BadRow, RawItem, Record, RowKind, at_line

HEADER_KEYS: Final = (
    *("separator", "html", "tags", "columns", "notetype", "deck", "if matches"),
    *("notetype column", "deck column", "tags column", "guid column"),
)
_SEPARATORS: Final = {
    "tab": TAB,
    "comma": ",",
    "semicolon": ";",
    "colon": ":",
    "pipe": "|",
    "space": " ",
}
_LONGEST_NUMBER: Final = 6


@dataclass(slots=True)
class Header:
    """What the lines before the notes say. Columns are counted from 0."""

    separator: str = TAB
    is_html: bool = True
    tags: tuple[str, ...] = ()
    deck: str | None = None
    columns: dict[str, int] = field(default_factory=dict)
    lines: int = 0


def is_header_line(line: str) -> bool:
    """Whether this is a `#key:value` that Anki writes."""
    key, colon, _value = line.lstrip("\ufeff")[1:].partition(":")
    return line.lstrip("\ufeff")[:1] == "#" and bool(colon) and key.strip().lower() in HEADER_KEYS


def read_header(file: OpenFile) -> Header:
    """The header of the file. Raises UnreadableFile where it makes no sense."""
    header = Header()
    text = lines(file)
    try:
        for line in text:
            if not is_header_line(line):
                break
            header.lines += 1
            key, _colon, value = line[1:].strip().partition(":")
            _take(header, key.strip().lower(), value.strip(), file.name)
    finally:
        text.close()
    return header


def records(file: OpenFile) -> Iterator[RawItem]:
    """The cards of the notes, as HTML: plain text, where the header says that it is, is made to it."""
    header = read_header(file)
    empty = EmptyRows(file.name)
    text = lines(file)
    try:
        for _header_line in range(header.lines):
            next(text)
        for counted, cells in cells_of(text, header.separator):
            line = counted + header.lines
            if isinstance(cells, BadRow):
                yield BadRow(line, at_line(line), cells.reason)
            elif any(cell.strip() for cell in cells):
                yield from _cards(header, cells, line)
            else:
                empty.add()
    finally:
        text.close()


def _take(header: Header, key: str, value: str, name: str) -> None:
    if key == "separator":
        header.separator = _SEPARATORS.get(value.lower(), value)
        if len(header.separator) != 1:
            raise UnreadableFile(name, _("The separator %r is unknown.") % value[:40], place=at_line(header.lines))
    elif key == "html":
        header.is_html = value.lower() == "true"
    elif key == "tags":
        header.tags = tuple(value.split())
    elif key == "deck":
        header.deck = value
    elif key.endswith(" column"):
        if not value.isdecimal() or len(value) > _LONGEST_NUMBER or int(value) < 1:
            raise UnreadableFile(name, _("%r is no number of a column.") % value[:40], place=at_line(header.lines))
        header.columns[key.removesuffix(" column")] = int(value) - 1


def _cards(header: Header, cells: list[str], line: int) -> Iterator[RawItem]:
    place = at_line(line)
    named = {key: cells[at] for key, at in header.columns.items() if at < len(cells)}
    texts = [cell for at, cell in enumerate(cells) if at not in header.columns.values()]
    if not header.is_html:
        texts = [html.escape(text.strip(), quote=False).replace("\n", "<br>") for text in texts]
    if not texts:
        yield BadRow(line, place, _("The note has no fields."))
        return
    front, back = texts[0], "<br><br>".join(text for text in texts[1:] if text.strip())
    common = {
        "topic": named.get("deck") or header.deck,
        # A file that names no tags, in a column or in the header for all, leaves the stored ones alone.
        **_tags(header, named),
    }
    guid = named.get("guid", "").strip()
    numbers = cloze_numbers(front)
    if not numbers:
        yield Record(line, place, {**common, "external_id": guid, "front": front, "back": back})
    for number in numbers:
        answer, gap = (cloze(front, number, answer=answer) for answer in (True, False))
        yield Record(
            line,
            place,
            {
                **common,
                "external_id": card_id(guid, number - 1) if guid else "",
                "front": gap,
                "back": f"{answer}<br>{back}" if back else answer,
            },
        )


def _tags(header: Header, named: Mapping[str, str]) -> dict[str, list[str]]:
    if "tags" not in named and not header.tags:
        return {}
    return {"tags": [*header.tags, *named.get("tags", "").split()]}


ANKI_TEXT: Final = Format(
    name="anki-text",
    title=gettext_lazy("Anki text"),
    extensions=(".txt",),
    sniff=lambda sample: is_header_line(sample.text.split("\n", 1)[0]),
    records=records,
    kinds=frozenset({RowKind.CARD}),
    wrong_kind=NO_QUESTIONS,
    markup=Markup.HTML,
    has_guids=True,
)
