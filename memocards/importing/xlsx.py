"""Excel workbooks: the first sheet, read row by row, its first row naming the columns."""

import datetime
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final
from xml.etree.ElementTree import ParseError

import openpyxl
from django.utils.translation import gettext as _
from openpyxl.utils.exceptions import InvalidFileException

from memocards.importing.archives import DAMAGED, MEBIBYTE, open_archive, require_harmless
from memocards.importing.columns import Header
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import BadRow, Kind, RawItem

# All texts of a workbook stand in one table, which is read into memory.
_MOST_BYTES: Final = 256 * MEBIBYTE
# openpyxl trusts the XML, so whatever it stumbles over is the file's fault.
_STUMBLES: Final = (ParseError, KeyError, ValueError, TypeError, IndexError, AttributeError, InvalidFileException)
_ERRORS: Final = {"#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"}


def records(stream: BinaryIO, name: str, *, kind: Kind) -> Iterator[RawItem]:
    """The rows of the first sheet."""
    header: Header | None = None
    rows = _rows(stream, name)
    for line, cells in enumerate(rows, start=1):
        place = _("row %d") % line
        texts = [_text(cell) for cell in cells]
        if not any(text.strip() for text in texts):
            continue
        if header is None:
            header = Header.read(_without_empty_end(texts), kind, name, place)
            yield from header.ignored()
        elif broken := next((text for text in texts if text in _ERRORS), None):
            yield BadRow(line, place, _("A cell holds the error %s.") % broken)
        else:
            yield header.record(texts, line, place)
    if header is None:
        raise UnreadableFile(name, _("The first sheet is empty."))


def _rows(stream: BinaryIO, name: str) -> Iterator[Sequence[Any]]:
    with open_archive(stream, name) as archive:
        require_harmless(archive, archive.namelist(), name, most_bytes=_MOST_BYTES)
    try:
        with warnings.catch_warnings():
            # About styles and extensions, which nobody reads here.
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(stream, read_only=True, data_only=True, keep_links=False)
        try:
            if not book.worksheets:
                raise UnreadableFile(name, _("The workbook has no sheet."))
            sheet = book.worksheets[0]
            # What a file says about its size may be wrong by a million empty cells.
            sheet.reset_dimensions()
            yield from sheet.iter_rows(values_only=True)
        finally:
            book.close()
    except (*DAMAGED, *_STUMBLES) as error:
        raise UnreadableFile(name, _("This is not a sound Excel workbook: %s.") % error) from error


def _text(cell: Any) -> str:
    """A cell as a person sees it: 3 for 3.0."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime.datetime) and cell.time() == datetime.time():
        return cell.date().isoformat()
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell)


def _without_empty_end(texts: list[str]) -> list[str]:
    while texts and not texts[-1].strip():
        texts.pop()
    return texts
