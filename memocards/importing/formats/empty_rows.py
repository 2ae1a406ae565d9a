"""Rows in which nothing stands: passed over, but not without end."""

from typing import Final

from django.utils.translation import gettext as _

from memocards.importing.refusals import UnreadableFile

# As many rows as a sheet has. A file of line ends alone would hold a processor for a minute.
MOST_EMPTY_ROWS: Final = 1_048_576


class EmptyRows:
    """Counts those of one file. Raises UnreadableFile beyond the limit."""

    def __init__(self, file: str) -> None:
        self._file, self._count = file, 0

    def add(self) -> None:
        self._count += 1
        if self._count > MOST_EMPTY_ROWS:
            reason = _("The file has more than %s empty rows. Delete them.")
            raise UnreadableFile(self._file, reason % f"{MOST_EMPTY_ROWS:,}")
