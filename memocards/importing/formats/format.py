"""What a format is: how it is called, by what a file of it is recognised, how it is read, and what it can carry."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from django.utils.functional import Promise

from memocards.exchange.markup import Markup
from memocards.importing.rows import RawItem, RowKind


@dataclass(frozen=True)
class OpenFile:
    """A file that is read. `stream` can seek. `encoding`: of a text without a byte order mark; None is UTF-8."""

    stream: BinaryIO
    name: str
    kind: RowKind
    encoding: str | None = None


@dataclass(frozen=True)
class Sample:
    """What a file is recognised by.

    `start`: its first bytes; `text`: the same as text, without what is blank before it. `members`: the names in a ZIP
    archive, which has no text. `extension`: with its dot; empty where it is that of no text format.
    """

    name: str
    start: bytes
    text: str = ""
    extension: str = ""
    members: frozenset[str] = frozenset()


def _never(_sample: Sample) -> bool:
    return False


@dataclass(frozen=True)
class Format:
    """One format, as it stands in the table.

    `name`: for a command, and for a spool, which keeps it. `title`: for people. `extensions`: with their dots.
    `records`: the rows of a file, not checked yet; raises UnreadableFile. `sniff`: whether a file is of this format by
    its content; without it, the extension decides. `kinds`: what rows it can carry; `wrong_kind`: what is said to
    whoever wants others. `markup`: how its texts are written, where nobody says otherwise. `is_text`: lines of
    characters, for which an extension may speak. `has_guids`: its rows are known by Anki's guids.
    """

    name: str
    title: str | Promise
    extensions: tuple[str, ...]
    records: Callable[[OpenFile], Iterator[RawItem]]
    sniff: Callable[[Sample], bool] = _never
    kinds: frozenset[RowKind] = frozenset(RowKind)
    wrong_kind: str | Promise = ""
    markup: Markup = Markup.MARKDOWN
    is_text: bool = True
    has_guids: bool = False
