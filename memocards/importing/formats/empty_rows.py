"""Rows without content: they are passed over, up to a limit."""

from typing import Final

from django.utils.translation import gettext as _

from memocards.importing.refusals import UnreadableFile

# As many as the rows of a sheet. Without a limit, a file of line ends alone would keep a processor busy for a minute.
MOST_EMPTY_ROWS: Final = 1_048_576


class EmptyRows:
    """Counts the empty rows of one file. Raises UnreadableFile beyond the limit."""

    def __init__(self, file: str) -> None:
        self._file, self._count = file, 0

    def add(self) -> None:
        self._count += 1
        if self._count > MOST_EMPTY_ROWS:
            reason = _("The file has more than %s empty rows. Delete them.")
            raise UnreadableFile(self._file, reason % f"{MOST_EMPTY_ROWS:,}")
