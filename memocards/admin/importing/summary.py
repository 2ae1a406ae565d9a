"""What an import would do, or did: made once, where the rows are compared, kept as JSON, and shown by the page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.contrib.admin.utils import label_for_field
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, ngettext_lazy

from memocards.admin.importing.differences import marked, plain
from memocards.importing.reports import Difference, Preview, Report
from memocards.importing.rows import BadRow, RowKind
from memocards.importing.targets import TARGETS

MOST_SHOWN: Final = 100
MOST_NAMED: Final = 10


@dataclass(frozen=True)
class Summary:
    """`kept`: the report, as its fields; the labels of the columns; and the first rows that are new or change, each
    with its place, whether it is new, and its cells as HTML."""

    kept: dict[str, Any]

    @classmethod
    def of(cls, seen: Preview, kind: RowKind) -> "Summary":
        names = _telling(seen.differences, list(TARGETS[kind].columns))
        rows = [
            {
                "place": difference.place,
                "is_new": difference.before is None,
                "cells": [str(_cell(difference, name)) for name in names],
            }
            for difference in seen.differences
        ]
        labels = [str(label_for_field(name, TARGETS[kind].model)) for name in names]
        return cls({"report": _fields(seen.report), "labels": labels, "rows": rows})

    @classmethod
    def done(cls, report: Report, kind: RowKind) -> "Summary":
        return cls.of(Preview(report, []), kind)

    @property
    def report(self) -> Report:
        kept = self.kept["report"]
        bad = [BadRow(**row) for row in kept["bad_rows"]]
        return Report(**{**kept, "bad_rows": bad, "media": dict.fromkeys(kept["media"])})

    @property
    def labels(self) -> list[str]:
        labels: list[str] = self.kept["labels"]
        return labels

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Each with `place`, `is_new` and `cells`: pairs of a label and HTML."""
        return [
            # What was escaped when it was made: see differences.py.
            {**row, "cells": [(label, mark_safe(cell)) for label, cell in zip(self.labels, row["cells"], strict=True)]}  # noqa: S308
            for row in self.kept["rows"]
        ]

    @property
    def at_stake(self) -> str:
        """What a yes is said to. When it differs by then, it is asked again."""
        report = self.report
        counts = (report.new, report.changed, report.unapproved, report.deleted, report.bad, len(report.new_topics))
        return "-".join(map(str, (*counts, report.versions)))

    @property
    def stored(self) -> int:
        """How many rows are new or changed."""
        report = self.report
        return report.new + report.changed

    @property
    def more(self) -> int:
        """How many of them are not shown."""
        return self.stored - len(self.kept["rows"])

    @property
    def yes(self) -> str:
        """What the button says."""
        bad = self.report.bad
        asked = ngettext("Import %d row", "Import %d rows", self.stored) % self.stored
        if not bad:
            return asked
        return _("%(import)s and skip %(bad)d bad") % {"import": asked, "bad": bad}

    @property
    def sentences(self) -> list[str]:
        """What was counted, and what viewers will see of it."""
        report = self.report
        said = [
            _about(report.new, ngettext_lazy("%d row is new.", "%d rows are new.")),
            _about(report.changed, ngettext_lazy("%d row has changed.", "%d rows have changed.")),
            _about(
                report.unapproved,
                ngettext_lazy(
                    "%d of them is approved: viewers will drop it until it is approved again.",
                    "%d of them are approved: viewers will drop them until they are approved again.",
                ),
            ),
            _about(report.unchanged, ngettext_lazy("%d row is here already.", "%d rows are here already.")),
            _about(
                report.deleted,
                ngettext_lazy("%d row was deleted here and stays so.", "%d rows were deleted here and stay so."),
            ),
            _about(report.repeated, ngettext_lazy("%d row repeats another.", "%d rows repeat others.")),
            _naming(_("Topics to be created: %s."), report.new_topics, len(report.new_topics)),
            _naming(_("Columns without a use: %s."), report.ignored_columns, len(report.ignored_columns)),
            _naming(_("Pictures and sounds are left out: %s."), list(report.media), report.media_count),
        ]
        if not self.stored:
            said.append(_("There is nothing to import."))
        return [sentence for sentence in said if sentence]


def _fields(report: Report) -> dict[str, Any]:
    """Of what is listed, as much as a page shows: the counts say how much there is."""
    shown = {
        "bad_rows": [asdict(row) for row in report.bad_rows[:MOST_SHOWN]],
        "ignored_columns": report.ignored_columns[: MOST_NAMED + 1],
        "media": list(report.media)[:MOST_NAMED],
    }
    return {**vars(report), **shown}


def _cell(difference: Difference, name: str) -> Any:
    after = difference.after[name]
    return plain(after) if difference.before is None else marked(difference.before[name], after)


def _telling(differences: Sequence[Difference], names: Sequence[str]) -> list[str]:
    """The columns of which any of these rows says something."""
    rows = [row for difference in differences for row in (difference.before, difference.after) if row]
    return [name for name in names if any(row[name] for row in rows)]


def _about(count: int, sentence: Any) -> str:
    return str(sentence % count) if count else ""


def _naming(sentence: str, names: Sequence[str], count: int) -> str:
    """A sentence with the first of these names; none without names."""
    if not names:
        return ""
    listed = ", ".join(f"“{name}”" for name in names[:MOST_NAMED])
    if count > MOST_NAMED:
        listed = _("%(names)s and %(count)s more") % {"names": listed, "count": f"{count - MOST_NAMED:,}"}
    return sentence % listed
