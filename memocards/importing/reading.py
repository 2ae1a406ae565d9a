"""read(): a file of any format as rows, bad rows and what is left out; as often as it is iterated."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from memocards.exchange.markup import Markup
from memocards.importing.checking import Conversions, checked
from memocards.importing.formats import delimited, jsonl, xlsx
from memocards.importing.formats.anki import package as anki_package
from memocards.importing.formats.anki import text as anki_text
from memocards.importing.formats.archives import open_archive
from memocards.importing.formats.decoding import encoding_of
from memocards.importing.refusals import UnreadableFile
from memocards.importing.reports import printable
from memocards.importing.rows import Item, RawItem, Record, RowKind

Source: TypeAlias = str | Path | BinaryIO


class Format(StrEnum):
    """What a file may be."""

    CSV = "csv"
    TSV = "tsv"
    XLSX = "xlsx"
    JSONL = "jsonl"
    ANKI = "anki"
    ANKI_TEXT = "anki-text"


_EXTENSIONS: Final = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".txt": Format.ANKI_TEXT,
}
# Files that people mistake for one of ours, by how they begin.
_FOREIGN: Final = (
    (
        b"SQLite format 3\0",
        gettext_lazy("This is a bare SQLite database. Export the collection from Anki as .colpkg or .apkg."),
    ),
    (b"\xd0\xcf\x11\xe0", gettext_lazy("This is a workbook of an old Excel. Save it as .xlsx.")),
    (b"\x1f\x8b", gettext_lazy("This file is packed by gzip. Unpack it first.")),
    (b"\x28\xb5\x2f\xfd", gettext_lazy("This file is packed by zstd. Unpack it first.")),
    (b"%PDF", gettext_lazy("This is a PDF, which holds no rows.")),
    (b"Rar!", gettext_lazy("This is a RAR archive. Unpack it first.")),
    (b"7z\xbc\xaf", gettext_lazy("This is a 7-Zip archive. Unpack it first.")),
)


@dataclass(frozen=True)
class Reading:
    """A file that can be iterated more than once, so that an import can start over. See read()."""

    source: Source
    name: str
    kind: RowKind
    format: Format
    markup: Markup
    encoding: str | None

    def __iter__(self) -> Iterator[Item]:
        conversions = Conversions()
        with _opened(self.source, self.name) as stream:
            for item in self._raw(stream):
                if isinstance(item, Record):
                    yield from checked(item, self.kind, self.markup, conversions)
                else:
                    yield item

    def _raw(self, stream: BinaryIO) -> Iterator[RawItem]:
        if self.format is Format.ANKI:
            return anki_package.records(stream, self.name)
        if self.format is Format.ANKI_TEXT:
            return anki_text.records(stream, self.name, encoding=self.encoding)
        if self.format is Format.XLSX:
            return xlsx.records(stream, self.name, kind=self.kind)
        if self.format is Format.JSONL:
            return jsonl.records(stream, self.name, kind=self.kind, encoding=self.encoding)
        tab = delimited.TAB if self.format is Format.TSV else None
        return delimited.records(stream, self.name, kind=self.kind, encoding=self.encoding, delimiter=tab)


def read(
    source: Source,
    format: Format | str | None = None,
    *,
    kind: RowKind = RowKind.CARD,
    encoding: str | None = None,
    html: bool = False,
    name: str | None = None,
) -> Reading:
    """The file's rows, bad rows and what is skipped, in the file's order.

    `source` is a path, or a binary file that can seek and stays open while it is read. Without a format, content
    decides and then the extension. `encoding` is for texts without a byte order mark (UTF-8). Texts are Markdown,
    Anki's are HTML; `html` says that the others are HTML too, and a row's own `markup` goes before all that. Raises
    UnreadableFile, also while it is iterated.
    """
    name = printable(name or _name_of(source))
    with _opened(source, name) as stream:
        chosen = Format(format) if format else detect(stream, name, encoding=encoding)
        if kind is RowKind.QUESTION and chosen in {Format.ANKI, Format.ANKI_TEXT}:
            raise UnreadableFile(name, _("Anki's files hold cards, not questions. Import them as cards."))
    markup = Markup.HTML if html or chosen in {Format.ANKI, Format.ANKI_TEXT} else Markup.MARKDOWN
    return Reading(source, name, kind, chosen, markup, encoding)


def detect(stream: BinaryIO, name: str, *, encoding: str | None = None) -> Format:
    """The format, by content and then by extension. Raises UnreadableFile for what cannot be imported."""
    stream.seek(0)
    start = stream.read(4096)
    if not start.strip():
        raise UnreadableFile(name, _("The file is empty."))
    if start.startswith(b"PK"):
        return _archive_format(stream, name)
    for beginning, reason in _FOREIGN:
        if start.startswith(beginning):
            raise UnreadableFile(name, str(reason))
    text = start.decode(encoding_of(start, wanted=encoding), "ignore").lstrip("\ufeff").lstrip()
    extension = _EXTENSIONS.get(Path(name).suffix.lower())
    if anki_text.is_header_line(text.split("\n", 1)[0]):
        return Format.ANKI_TEXT
    if text[:1] == "{" and extension is not Format.ANKI_TEXT:
        return Format.JSONL
    if text[:1] == "[" and extension in {None, Format.JSONL}:
        raise UnreadableFile(name, _("This is one JSON list. Write JSON Lines instead: one object a line."))
    return extension or Format.CSV


def _archive_format(stream: BinaryIO, name: str) -> Format:
    with open_archive(stream, name) as archive:
        if anki_package.is_package(archive):
            return Format.ANKI
        if "xl/workbook.xml" in archive.namelist():
            return Format.XLSX
    raise UnreadableFile(name, _("This ZIP archive is neither an Anki package nor an Excel workbook."))


def _name_of(source: Source) -> str:
    given = source if isinstance(source, str | Path) else getattr(source, "name", None) or _("the file")
    return Path(str(given)).name


@contextmanager
def _opened(source: Source, name: str) -> Iterator[BinaryIO]:
    """The file, at its start. One that was given stays open."""
    if not isinstance(source, str | Path):
        source.seek(0)
        yield source
        return
    try:
        stream = Path(source).open("rb")  # noqa: SIM115 - only what opening raises is meant here
    except OSError as error:
        raise UnreadableFile(name, _("The file cannot be opened: %s.") % error.strerror) from error
    with stream:
        yield stream
