"""The table of formats, and which of them a file is of."""

from pathlib import Path
from typing import BinaryIO, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from memocards.importing.formats import delimited, jsonl, xlsx
from memocards.importing.formats.anki import package, text
from memocards.importing.formats.archives import ARCHIVE_START, open_archive
from memocards.importing.formats.decoding import encoding_of
from memocards.importing.formats.format import Format, Sample
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import RowKind

# In the order in which a form offers them.
FORMATS: Final[tuple[Format, ...]] = (
    delimited.CSV,
    delimited.TSV,
    xlsx.XLSX,
    jsonl.JSONL,
    package.ANKI,
    text.ANKI_TEXT,
)
_SAMPLE_BYTES: Final = 4096
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


def formats_of(kind: RowKind) -> list[Format]:
    """The formats that can carry rows of this kind."""
    return [format for format in FORMATS if kind in format.kinds]


def format_named(name: str) -> Format:
    """Raises ValueError where there is none of this name."""
    for format in FORMATS:
        if format.name == name:
            return format
    raise ValueError(name)


def recognise(stream: BinaryIO, name: str, *, encoding: str | None = None) -> Format:
    """The format of a file, by content, then by extension. Raises UnreadableFile for what cannot be imported."""
    stream.seek(0)
    start = stream.read(_SAMPLE_BYTES)
    if not start.strip():
        raise UnreadableFile(name, _("The file is empty."))
    if start.startswith(ARCHIVE_START):
        with open_archive(stream, name) as archive:
            by_content = _sniffed(Sample(name, start, members=frozenset(archive.namelist())))
        if by_content is None:
            raise UnreadableFile(name, _("This ZIP archive is neither an Anki package nor an Excel workbook."))
        return by_content
    for beginning, reason in _FOREIGN:
        if start.startswith(beginning):
            raise UnreadableFile(name, str(reason))
    written = start.decode(encoding_of(start, wanted=encoding), "ignore").lstrip("\ufeff").lstrip()
    extension = Path(name).suffix.lower()
    by_extension = next((format for format in FORMATS if format.is_text and extension in format.extensions), None)
    by_content = _sniffed(Sample(name, start, written, extension if by_extension else ""))
    return by_content or by_extension or delimited.CSV


def _sniffed(sample: Sample) -> Format | None:
    return next((format for format in FORMATS if format.sniff(sample)), None)
