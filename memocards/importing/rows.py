"""What a file consists of: records as they stand in it, and the rows that they become."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from django.utils.translation import gettext as _


class RowKind(StrEnum):
    """What a file's rows are."""

    CARD = "card"
    QUESTION = "question"


@dataclass(frozen=True, slots=True)
class Record:
    """The named values of one row, not looked at yet. `place` is what a person finds it by, such as "line 7"."""

    line: int
    place: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CardRow:
    """A card that may be stored. `tags` and `source` None: the file does not speak of them, so the stored ones stay."""

    line: int
    place: str
    topic: str | None
    external_id: str
    front: str
    back: str
    tags: tuple[str, ...] | None
    source: str | None


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """A question that may be stored. `explanation` and `source` None: the stored ones stay."""

    line: int
    place: str
    topic: str | None
    external_id: str
    stem: str
    choices: tuple[str, ...]
    answer: int
    explanation: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be stored, and why: whole sentences."""

    line: int
    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that is left out and does no harm. `what`: "media" or "column"."""

    what: str
    name: str


def at_line(number: int) -> str:
    """What a person finds a row of a text file by."""
    return _("line %d") % number


Row: TypeAlias = CardRow | QuestionRow
Item: TypeAlias = Row | BadRow | Skipped
RawItem: TypeAlias = Record | BadRow | Skipped
