"""read(): a file of any format as rows, bad rows and what is left out; as often as it is iterated."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from django.utils.translation import gettext as _

from memocards.exchange.markup import Markup
from memocards.importing.answers import CountsFromZero
from memocards.importing.checking import checked
from memocards.importing.conversions import Conversions
from memocards.importing.formats.format import Format, OpenFile
from memocards.importing.formats.table import format_named, recognise
from memocards.importing.refusals import UnreadableFile
from memocards.importing.reports import printable
from memocards.importing.rows import Item, Record, RowKind

Source: TypeAlias = str | Path | BinaryIO


@dataclass(frozen=True)
class Reading:
    """A file that can be iterated more than once, so that an import can start over. See read()."""

    source: Source
    name: str
    kind: RowKind
    format: Format
    markup: Markup
    encoding: str | None
    answers_from: int

    def __iter__(self) -> Iterator[Item]:
        conversions = Conversions()
        with _opened(self.source, self.name) as stream:
            for item in self.format.records(OpenFile(stream, self.name, self.kind, self.encoding)):
                if not isinstance(item, Record):
                    yield item
                    continue
                try:
                    yield from checked(item, self.kind, self.markup, conversions, self.answers_from)
                except CountsFromZero as error:
                    sentence = _(
                        "The answer in %(place)s is 0, so this file counts its choices from 0. Import it so: with "
                        "--answers-from 0, or with “Choices are counted from” on the page."
                    )
                    raise UnreadableFile(self.name, sentence % {"place": item.place}) from error


def read(
    source: Source,
    format: str | None = None,
    *,
    kind: RowKind = RowKind.CARD,
    encoding: str | None = None,
    html: bool = False,
    answers_from: int = 1,
    name: str | None = None,
) -> Reading:
    """The file's rows, bad rows and what is skipped, in the file's order.

    `source` is a path, or a binary file that can seek and stays open while it is read. Without a format, content
    decides and then the extension. `encoding` is for texts without a byte order mark (UTF-8). Texts are Markdown,
    Anki's are HTML; `html` says that the others are HTML too, and a row's own `markup` goes before all that.
    `answers_from` is the number of the first choice, 0 or 1, where an answer is a number. Raises UnreadableFile, also
    while it is iterated: an answer 0 where the first choice is 1 speaks of the whole file.
    """
    name = printable(name or _name_of(source))
    with _opened(source, name) as stream:
        chosen = format_named(format) if format else recognise(stream, name, encoding=encoding)
    if kind not in chosen.kinds:
        raise UnreadableFile(name, str(chosen.wrong_kind))
    return Reading(source, name, kind, chosen, Markup.HTML if html else chosen.markup, encoding, answers_from)


def _name_of(source: Source) -> str:
    path = source if isinstance(source, str | Path) else getattr(source, "name", None) or _("the file")
    return Path(str(path)).name


@contextmanager
def _opened(source: Source, name: str) -> Iterator[BinaryIO]:
    """The file, at its start. An open one stays open."""
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
