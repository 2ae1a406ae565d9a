"""What an import did, or would do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from memocards.importing.rows import BadRow, Skipped

# Names and rows that are listed, more than a person reads. All are counted.
MOST_LISTED: Final = 1_000
_LONGEST_SHOWN: Final = 2_000
# A terminal would obey a control character, and a text with a surrogate cannot be encoded.
_CONTROLS_AND_SURROGATES: Final = re.compile(r"[\0-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    """A stranger's text as it may be shown: no longer than a page, and strange characters by their numbers."""
    if len(text) > _LONGEST_SHOWN:
        text = f"{text[:_LONGEST_SHOWN]}…"
    return _CONTROLS_AND_SURROGATES.sub(lambda match: repr(match[0])[1:-1], text)


@dataclass
class Report:
    """Counts of rows. `read` is all of them: new + changed + unchanged + deleted + repeated + bad.

    `unapproved`: how many of the changed were approved, and go back to review. `versions`: a digest of which rows
    change and when each was last written: if it differs later, somebody changed them meanwhile. `deleted`: rows whose
    card or question was deleted here; it stays deleted. `repeated`: rows that say what an earlier row of the file said.
    """

    file: str
    read: int = 0
    new: int = 0
    changed: int = 0
    unapproved: int = 0
    versions: str = ""
    unchanged: int = 0
    deleted: int = 0
    repeated: int = 0
    bad: int = 0
    bad_rows: list[BadRow] = field(default_factory=list)
    new_topics: list[str] = field(default_factory=list)
    ignored_columns: list[str] = field(default_factory=list)
    # Names, each once.
    media: dict[str, None] = field(default_factory=dict)
    media_count: int = 0

    def add_bad(self, row: BadRow) -> None:
        self.bad += 1
        if len(self.bad_rows) < MOST_LISTED:
            self.bad_rows.append(replace(row, reason=printable(row.reason)))

    def add_skipped(self, skipped: Skipped) -> None:
        name = printable(skipped.name)
        if skipped.what == "column":
            if len(self.ignored_columns) < MOST_LISTED:
                self.ignored_columns.append(name)
        elif name not in self.media:
            self.media_count += 1
            if len(self.media) < MOST_LISTED:
                self.media[name] = None


@dataclass(frozen=True)
class Difference:
    """One row that is new or would change. `before` is None for a new one; both map field to value."""

    place: str
    external_id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


@dataclass(frozen=True)
class Preview:
    """What storing the file would do. `differences` are the first of them, in the file's order."""

    report: Report
    differences: list[Difference]
