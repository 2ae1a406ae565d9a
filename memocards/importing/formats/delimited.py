"""CSV and TSV: a header line names the columns, and each record below it is a row."""

import csv
from collections.abc import Iterator
from functools import partial
from typing import Final

from django.utils.translation import gettext as _

from memocards.importing.formats.columns import Header
from memocards.importing.formats.decoding import lines, undecoded
from memocards.importing.formats.empty_rows import EmptyRows
from memocards.importing.formats.format import Format, OpenFile
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import BadRow, RawItem, at_line

TAB: Final = "\t"


def records(file: OpenFile, *, delimiter: str | None = None) -> Iterator[RawItem]:
    """The rows of the file. Without a delimiter, the header line tells: comma, semicolon or tab."""
    header: Header | None = None
    empty = EmptyRows(file.name)
    text = lines(file)
    try:
        for line, cells in cells_of(text, delimiter):
            place = at_line(line)
            if isinstance(cells, BadRow):
                if header is None:
                    raise UnreadableFile(file.name, cells.reason, place=cells.place)
                yield cells
            elif not cells:
                empty.add()
            elif header is None:
                header = Header.read(cells, file.kind, file.name, place)
                yield from header.ignored()
            elif any(cell.strip() for cell in cells):
                yield header.record(cells, line, place)
            else:
                empty.add()
    finally:
        text.close()
    if header is None:
        raise UnreadableFile(file.name, _("The file is empty."))


def cells_of(text: Iterator[str], delimiter: str | None) -> Iterator[tuple[int, list[str] | BadRow]]:
    """Each record's first line and its cells, or why there are none. An empty line has no cells."""
    counted = _Counted(text)
    first = next(iter(counted), None)
    if first is None:
        return
    counted.put_back(first)
    reader = csv.reader(counted, delimiter=delimiter or _delimiter_of(first), strict=True)
    while True:
        line = counted.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, BadRow(line, _span(line, counted.number), _reason(error))
            continue
        problem = next((problem for cell in cells if (problem := undecoded(cell))), None)
        yield line, BadRow(line, at_line(line), problem) if problem else cells


class _Counted:
    """Lines, counted as they are taken."""

    def __init__(self, text: Iterator[str]) -> None:
        self._text, self._again, self.number = text, "", 0

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> str:
        line, self._again = self._again or next(self._text), ""
        self.number += 1
        return line

    def put_back(self, line: str) -> None:
        self._again = line
        self.number -= 1


def _delimiter_of(header: str) -> str:
    return max((",", ";", TAB), key=header.count)


def _span(first: int, last: int) -> str:
    if last <= first:
        return at_line(first)
    return _("lines %(first)d to %(last)d") % {"first": first, "last": last}


def _reason(error: csv.Error) -> str:
    text = str(error)
    if "field larger" in text:
        return _("A cell is longer than 131,072 characters. Perhaps a quotation mark that opens it is never closed.")
    if "unexpected end of data" in text:
        return _("The file ends inside a quoted cell: it is cut off, or a quotation mark is never closed.")
    if "expected after" in text:
        return _("A quoted cell goes on after its closing quotation mark. Write a quotation mark inside of it twice.")
    return _("The line is no record: %s.") % text


CSV: Final = Format(name="csv", title="CSV", extensions=(".csv",), records=records)
TSV: Final = Format(name="tsv", title="TSV", extensions=(".tsv", ".tab"), records=partial(records, delimiter=TAB))
