"""The formats that the form offers, as django-import-export wants them."""

from pathlib import Path
from typing import ClassVar, Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from import_export.formats.base_formats import Format as BaseFormat

from memocards.importing.reading import Format


class FileFormat(BaseFormat):  # type: ignore[misc]
    """A choice of the form. What it makes of an upload is where that lies: reading it is memocards.importing's."""

    # As memocards.importing calls it; empty: by the file's content.
    name: ClassVar[str] = ""
    title: ClassVar[str | Promise] = _("By its content")
    extensions: ClassVar[tuple[str, ...]] = ()

    def get_title(self) -> str:
        return str(self.title)

    def create_dataset(self, in_stream: Path) -> Path:
        return in_stream

    def can_import(self) -> bool:
        return True


def _format(name: Format, title: str | Promise, *extensions: str) -> type[FileFormat]:
    return type(FileFormat.__name__, (FileFormat,), {"name": str(name), "title": title, "extensions": extensions})


TABLES: Final[list[type[FileFormat]]] = [
    FileFormat,
    _format(Format.CSV, "CSV", ".csv"),
    _format(Format.TSV, "TSV", ".tsv", ".tab"),
    _format(Format.XLSX, _("Excel (XLSX)"), ".xlsx"),
    _format(Format.JSONL, _("JSON Lines"), ".jsonl", ".ndjson"),
]
ANKI: Final[list[type[FileFormat]]] = [
    _format(Format.ANKI, _("Anki package"), ".apkg", ".colpkg"),
    _format(Format.ANKI_TEXT, _("Anki text"), ".txt"),
]
