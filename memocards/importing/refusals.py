"""Errors that refuse an import as a whole. What is wrong with a single row is a BadRow."""

from collections.abc import Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from memocards.errors import DomainError
from memocards.importing.reports import printable
from memocards.importing.rows import BadRow


class UnreadableFile(DomainError):
    """The file, or the rest of it from `place` on, cannot be read."""

    def __init__(self, file: str, reason: str, *, place: str | None = None) -> None:
        reason = printable(reason)
        self.file, self.place, self.reason = file, place, reason
        super().__init__(f"{file}, {place}: {reason}" if place else f"{file}: {reason}")


class BadRows(DomainError):
    """Some rows cannot be stored, so nothing was. `listed` are the first of them, `count` is how many there are."""

    def __init__(self, file: str, listed: Sequence[BadRow], count: int) -> None:
        self.file, self.listed, self.count = file, list(listed), count
        sentence = ngettext(
            "%(count)s row cannot be imported, so nothing was. Correct the file, or skip the bad rows.",
            "%(count)s rows cannot be imported, so nothing was. Correct the file, or skip the bad rows.",
            count,
        )
        super().__init__(f"{file}: {sentence % {'count': f'{count:,}'}}")


class UnknownTopics(DomainError):
    """The file names topics that are not there."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        listed = ", ".join(repr(name) for name in self.names[:10])
        if len(self.names) > 10:
            listed = _("%(names)s and %(count)s more") % {"names": listed, "count": f"{len(self.names) - 10:,}"}
        super().__init__(
            _("There is no topic %s. Create it first, choose one topic for all rows, or have missing ones created.")
            % listed
        )


class TopicMissing(DomainError):
    """Neither the file nor the caller says where its rows belong."""

    def __init__(self, file: str, place: str) -> None:
        reason = _("This row names no topic. Choose one topic for all rows.")
        super().__init__(f"{file}, {place}: {reason}")
