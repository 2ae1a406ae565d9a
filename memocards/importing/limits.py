"""What reading one file may take, and what is said when that is not enough."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.utils.translation import gettext as _

from memocards.errors import DomainError

MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """`seconds` are the clock's; `memory`, `disk` and `text` are bytes. `disk` is for one file, such as an unpacked
    collection; `text` for all rows together. `rows` None: as many as there are."""

    processor_seconds: int
    seconds: int
    memory: int
    disk: int
    text: int
    rows: int | None


class Limit(StrEnum):
    PROCESSOR = "processor"
    CLOCK = "clock"
    MEMORY = "memory"
    DISK = "disk"
    TEXT = "text"
    ROWS = "rows"


class LimitReached(DomainError):
    """The file takes more than it may. Whoever reports it adds what to do."""

    def __init__(self, limit: Limit, limits: Limits) -> None:
        self.limit = limit
        super().__init__(_SENTENCES[limit](limits))


def _mebibytes(size: int) -> str:
    return f"{size // MEBIBYTE:,}"


_SENTENCES: Final[Mapping[Limit, Callable[[Limits], str]]] = {
    Limit.PROCESSOR: lambda limits: (
        _("Reading the file takes more than %s seconds of computing.") % f"{limits.processor_seconds:,}"
    ),
    Limit.CLOCK: lambda limits: _("Reading the file takes longer than %s seconds.") % f"{limits.seconds:,}",
    Limit.MEMORY: lambda limits: _("Reading the file takes more than %s MiB of memory.") % _mebibytes(limits.memory),
    Limit.DISK: lambda limits: _("The file unpacks to more than %s MiB.") % _mebibytes(limits.disk),
    Limit.TEXT: lambda limits: _("The rows of the file hold more than %s MiB of text.") % _mebibytes(limits.text),
    Limit.ROWS: lambda limits: _("The file has more than %s rows.") % f"{limits.rows or 0:,}",
}
