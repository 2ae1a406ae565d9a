"""The header of a table: which column holds what."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.utils.translation import gettext as _

from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import BadRow, Record, RowKind, Skipped

CARD_NAMES: Final = {
    "front": "front",
    "back": "back",
    "note": "note",
    "notes": "note",
    "tags": "tags",
    "source": "source",
    "external_id": "external_id",
    "id": "external_id",
    "guid": "external_id",
    "topic": "topic",
    "deck": "topic",
    "markup": "markup",
}
QUESTION_NAMES: Final = {
    "stem": "stem",
    "question": "stem",
    "choices": "choices",
    "answer": "answer",
    "explanation": "explanation",
    "source": "source",
    "external_id": "external_id",
    "id": "external_id",
    "topic": "topic",
    "markup": "markup",
}
_REQUIRED: Final = {RowKind.CARD: ("front", "back"), RowKind.QUESTION: ("stem", "choices", "answer")}
_CHOICE: Final = re.compile(r"(?:choice|option)_?([a-j]|10|[1-9])|([a-j])")


def names_of(kind: RowKind) -> Mapping[str, str]:
    """Name in a file → name of the value. Where a file has two for one value, the earlier one here wins."""
    return CARD_NAMES if kind is RowKind.CARD else QUESTION_NAMES


def normalised(name: str) -> str:
    """A column's name as it is compared: `External ID` is `external_id`."""
    return re.sub(r"[\s-]+", "_", name.strip().casefold())


class Header:
    """Finds the values in the cells of a row."""

    def __init__(self, kind: RowKind, columns: Sequence[str]) -> None:
        self._width = len(columns)
        self._places: dict[str, int] = {}
        self._choices: list[tuple[int, int]] = []
        self._ignored: list[str] = []
        names = names_of(kind)
        ranks = {name: rank for rank, name in enumerate(names)}
        by_rank = sorted((ranks.get(normalised(column), len(ranks)), place) for place, column in enumerate(columns))
        for _rank, place in by_rank:
            column = normalised(columns[place])
            value = names.get(column)
            number = _choice_number(column) if kind is RowKind.QUESTION and value is None else None
            if number is not None and all(number != other for other, _place in self._choices):
                self._choices.append((number, place))
            elif value is not None and value not in self._places:
                self._places[value] = place
            elif column:
                self._ignored.append(columns[place].strip())
        self._choices.sort()
        if self._choices and "choices" not in self._places:
            self._places["choices"] = -1

    @classmethod
    def read(cls, columns: Sequence[str], kind: RowKind, file: str, place: str) -> "Header":
        """Raises UnreadableFile where a column is missing."""
        header = cls(kind, columns)
        missing = [name for name in _REQUIRED[kind] if name not in header._places]
        if missing:
            present = ", ".join(column.strip()[:40] for column in columns[:20]) or _("nothing")
            raise UnreadableFile(
                file,
                _("The first line names the columns, and %(missing)s must be among them. It reads: %(found)s.")
                % {"missing": _(" and ").join(missing), "found": present},
                place=place,
            )
        return header

    def ignored(self) -> Iterator[Skipped]:
        for name in self._ignored:
            yield Skipped("column", name)

    def record(self, cells: Sequence[Any], line: int, place: str) -> Record | BadRow:
        """The values of one row; too many cells mean that a delimiter inside a text was not quoted."""
        if len(cells) > self._width and any(str(cell or "").strip() for cell in cells[self._width :]):
            reason = _("The row has %(cells)d cells, but the header names %(columns)d columns.")
            return BadRow(line, place, reason % {"cells": len(cells), "columns": self._width})
        values = {name: cells[at] if at < len(cells) else "" for name, at in self._places.items() if at >= 0}
        if "choices" not in values and self._choices:
            letters = [(number, cells[at] if at < len(cells) else "") for number, at in self._choices]
            while letters and not str(letters[-1][1] if letters[-1][1] is not None else "").strip():
                letters.pop()
            values["choices"] = [text for _number, text in letters]
        return Record(line, place, values)


def _choice_number(column: str) -> int | None:
    match = _CHOICE.fullmatch(column)
    if match is None:
        return None
    name = match[1] or match[2]
    return int(name) if name.isdecimal() else ord(name) - ord("a") + 1
