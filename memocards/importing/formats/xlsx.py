"""Excel workbooks: the first sheet, read row by row, its first row naming the columns."""

import datetime
import re
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Final
from xml.etree.ElementTree import ParseError

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from memocards.importing.formats.archives import DAMAGED, open_archive, require_harmless
from memocards.importing.formats.columns import Header
from memocards.importing.formats.empty_rows import EmptyRows
from memocards.importing.formats.format import Format, OpenFile
from memocards.importing.limits import MEBIBYTE
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import BadRow, RawItem

# All texts of a workbook stand in one table, which is read into memory.
_MOST_BYTES: Final = 256 * MEBIBYTE
# openpyxl trusts the XML, so whatever it stumbles over is the file's fault.
_STUMBLES: Final = (
    ParseError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
)
_MOST_TEXTS: Final = 1_000_000
_TEXT: Final = re.compile(rb"<(?:\w{1,20}:)?si[\s/>]")
_LONGEST_TAG: Final = 24
# As many as Excel has.
_MOST_ROWS: Final = 1_048_576
_ERRORS: Final = {"#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"}


def records(file: OpenFile) -> Iterator[RawItem]:
    """The rows of the first sheet."""
    header: Header | None = None
    empty = EmptyRows(file.name)
    for line, cells in _rows(file.stream, file.name):
        place = _("row %d") % line
        written = {column: text for column, cell in cells if (text := _text(cell))}
        if not any(text.strip() for text in written.values()):
            empty.add()
            continue
        texts = [written.get(column, "") for column in range(1, max(written) + 1)]
        if header is None:
            header = Header.read(_without_empty_end(texts), file.kind, file.name, place)
            yield from header.ignored()
        elif broken := next((text for text in texts if text in _ERRORS), None):
            yield BadRow(line, place, _("A cell holds the error %s.") % broken)
        else:
            yield header.record(texts, line, place)
    if header is None:
        raise UnreadableFile(file.name, _("The first sheet is empty."))


def _rows(stream: BinaryIO, name: str) -> Iterator[tuple[int, list[tuple[int, Any]]]]:
    """The number of each row that is there, and of each of its cells the column and the value."""
    # A tenth of a second, for which only whoever reads a workbook should wait: every start reads the table of formats.
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    with open_archive(stream, name) as archive:
        require_harmless(archive, archive.namelist(), name, most_bytes=_MOST_BYTES)
        _require_few_texts(archive, name)
    try:
        with warnings.catch_warnings():
            # About styles and extensions, which nobody reads here.
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(stream, read_only=True, data_only=True, keep_links=False)
        try:
            if not book.worksheets:
                raise UnreadableFile(name, _("The workbook has no sheet."))
            last = 0
            for number, cells in _parsed(book.worksheets[0]):
                if not last < number <= _MOST_ROWS:
                    raise UnreadableFile(
                        name,
                        _("Row %(number)s follows row %(last)s. Rows are numbered upwards, to 1,048,576 at most.")
                        % {"number": f"{number:,}", "last": f"{last:,}"},
                    )
                last = number
                yield number, [(cell["column"], cell["value"]) for cell in cells]
        finally:
            book.close()
    except (*DAMAGED, *_STUMBLES, InvalidFileException) as error:
        raise UnreadableFile(name, _("This is not a sound Excel workbook: %s.") % error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise UnreadableFile(name, _("This is not a sound Excel workbook: %s.") % error) from error


def _require_few_texts(archive: zipfile.ZipFile, name: str) -> None:
    """openpyxl makes an object of each text of the workbook before it reads the first row. Raises UnreadableFile."""
    for member in archive.namelist():
        if not member.lower().endswith("sharedstrings.xml"):
            continue
        count, end = 0, b""
        with archive.open(member) as texts:
            while chunk := texts.read(MEBIBYTE):
                count += len(_TEXT.findall(end + chunk))
                # What may be a tag in two chunks. One in a MiB is counted twice then, which is no matter.
                end = b"".join(chunk[-_LONGEST_TAG:].rpartition(b"<")[1:]) if b"<" in chunk[-_LONGEST_TAG:] else b""
                if count > _MOST_TEXTS:
                    reason = _("The workbook holds more than %s different texts. Save the sheet as CSV.")
                    raise UnreadableFile(name, reason % f"{_MOST_TEXTS:,}")


def _parsed(sheet: Any) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """By openpyxl's parser, for its sheets fill all gaps: the second row of a small file may be number a billion."""
    from openpyxl.worksheet._reader import WorkSheetParser

    book = sheet.parent
    with sheet._get_source() as source:
        yield from WorkSheetParser(
            source,
            sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        ).parse()


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


XLSX: Final = Format(
    name="xlsx",
    title=gettext_lazy("Excel (XLSX)"),
    extensions=(".xlsx",),
    sniff=lambda sample: "xl/workbook.xml" in sample.members,
    records=records,
    is_text=False,
)
