"""What an import refuses as a whole; what is wrong with a single row is a BadRow."""

from collections.abc import Sequence

from memocards.errors import DomainError
from memocards.importing.rows import BadRow


class UnreadableFile(DomainError):
    """The file, or the rest of it from `place` on, cannot be read."""

    def __init__(self, file: str, reason: str, *, place: str | None = None) -> None:
        self.file, self.place, self.reason = file, place, reason
        super().__init__(f"{file}, {place}: {reason}" if place else f"{file}: {reason}")


class BadRows(DomainError):
    """Some rows cannot be stored, so nothing was. `listed` are the first of them, `count` is how many there are."""

    def __init__(self, file: str, listed: Sequence[BadRow], count: int) -> None:
        self.file, self.listed, self.count = file, list(listed), count
        rows = "1 row" if count == 1 else f"{count:,} rows"
        super().__init__(f"{file}: {rows} cannot be imported, so nothing was. Correct the file, or skip the bad rows.")


class UnknownTopics(DomainError):
    """The file names topics that are not there."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        listed = ", ".join(repr(name) for name in self.names[:10])
        more = f" and {len(self.names) - 10:,} more" if len(self.names) > 10 else ""
        super().__init__(
            f"There is no topic {listed}{more}. Create it first, name another with --topic, or add --create-topics."
        )


class TopicMissing(DomainError):
    """Neither the file nor the caller says where its rows belong."""

    def __init__(self, file: str, place: str) -> None:
        super().__init__(f"{file}, {place}: This row names no topic. Say where it belongs with --topic.")
