"""The rows of a file, written down as they were read: one line of JSON for each, below a line about the file.

A spool is written by this hub, so reading it takes neither long nor much memory, whatever the file was like.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from memocards.importing.formats.format import Format
from memocards.importing.formats.table import format_named
from memocards.importing.rows import BadRow, CardRow, Item, QuestionRow, RowKind, Skipped

_TYPES: Final[Mapping[str, Any]] = {item.__name__: item for item in (CardRow, QuestionRow, BadRow, Skipped)}
_FIELDS: Final = {item: tuple(field.name for field in fields(item)) for item in _TYPES.values()}


class Rows(Protocol):
    """What is stored: a file that is read, or its spool. It can be iterated as often as it takes."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> RowKind: ...
    @property
    def format(self) -> Format: ...
    def __iter__(self) -> Iterator[Item]: ...


@dataclass(frozen=True)
class Spool:
    """A file's rows in the file `path`. `count`: its items."""

    path: Path
    name: str
    kind: RowKind
    format: Format
    count: int

    @classmethod
    def opened(cls, path: Path, count: int) -> "Spool":
        with path.open("rb") as file:
            name, kind, format = json.loads(file.readline())
        return cls(path, name, RowKind(kind), format_named(format), count)

    def __iter__(self) -> Iterator[Item]:
        with self.path.open("rb") as file:
            file.readline()
            for line in file:
                name, *values = json.loads(line.decode("utf-8", "surrogatepass"))
                yield _TYPES[name](*(tuple(value) if isinstance(value, list) else value for value in values))


class SpoolWriter:
    """Writes a spool; `size` is how many bytes it has so far."""

    def __init__(self, file: BinaryIO, name: str, kind: RowKind, format: Format) -> None:
        self._file, self.size = file, 0
        self._line([name, kind, format.name])

    def add(self, item: Item) -> None:
        kind = type(item)
        self._line([kind.__name__, *(getattr(item, name) for name in _FIELDS[kind])])

    def _line(self, values: list[Any]) -> None:
        line = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"
        self._file.write(line)
        self.size += len(line)
