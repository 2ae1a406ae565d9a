"""What an import would do, or did: put together where the rows are compared, kept as JSON, and shown by the page."""

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
    """`content`, as it is kept: the report, as its fields; the labels of the columns; and the first rows that are new
    or change, each with its place, whether it is new, and its cells as HTML."""

    content: dict[str, Any]

    @classmethod
    def of(cls, preview: Preview, kind: RowKind) -> "Summary":
        names = _columns_with_values(preview.differences, list(TARGETS[kind].columns))
        rows = [
            {
                "place": difference.place,
                "is_new": difference.before is None,
                "cells": [str(_cell(difference, name)) for name in names],
            }
            for difference in preview.differences
        ]
        labels = [str(label_for_field(name, TARGETS[kind].model)) for name in names]
        return cls({"report": _fields(preview.report), "labels": labels, "rows": rows})

    @classmethod
    def done(cls, report: Report, kind: RowKind) -> "Summary":
        return cls.of(Preview(report, []), kind)

    @property
    def report(self) -> Report:
        fields = self.content["report"]
        bad_rows = [BadRow(**row) for row in fields["bad_rows"]]
        return Report(**{**fields, "bad_rows": bad_rows, "media": dict.fromkeys(fields["media"])})

    @property
    def labels(self) -> list[str]:
        labels: list[str] = self.content["labels"]
        return labels

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Each with `place`, `is_new` and `cells`: pairs of a label and HTML."""
        return [
            # differences.py escaped the cells when it wrote them.
            {**row, "cells": [(label, mark_safe(cell)) for label, cell in zip(self.labels, row["cells"], strict=True)]}  # noqa: S308
            for row in self.content["rows"]
        ]

    @property
    def at_stake(self) -> str:
        return at_stake(self.report)

    @property
    def new_or_changed(self) -> int:
        """How many rows are stored."""
        report = self.report
        return report.new + report.changed

    @property
    def not_shown(self) -> int:
        """How many of the new and changed rows are not among `rows`."""
        return self.new_or_changed - len(self.content["rows"])

    @property
    def button(self) -> str:
        """What the button says with which the user confirms the import."""
        bad = self.report.bad
        label = ngettext("Import %d row", "Import %d rows", self.new_or_changed) % self.new_or_changed
        if not bad:
            return label
        return _("%(import)s and skip %(bad)d bad") % {"import": label, "bad": bad}

    @property
    def sentences(self) -> list[str]:
        """What was counted, and what viewers will see of it."""
        report = self.report
        sentences = [
            _counted(report.new, ngettext_lazy("%d row is new.", "%d rows are new.")),
            _counted(report.changed, ngettext_lazy("%d row has changed.", "%d rows have changed.")),
            _counted(
                report.unapproved,
                ngettext_lazy(
                    "%d of them is approved: viewers will drop it until it is approved again.",
                    "%d of them are approved: viewers will drop them until they are approved again.",
                ),
            ),
            _counted(report.unchanged, ngettext_lazy("%d row is here already.", "%d rows are here already.")),
            _counted(
                report.deleted,
                ngettext_lazy("%d row was deleted here and stays so.", "%d rows were deleted here and stay so."),
            ),
            _counted(report.repeated, ngettext_lazy("%d row repeats another.", "%d rows repeat others.")),
            _listed(_("Topics to be created: %s."), report.new_topics, len(report.new_topics)),
            _listed(_("Columns without a use: %s."), report.ignored_columns, len(report.ignored_columns)),
            _listed(_("Pictures and sounds are left out: %s."), list(report.media), report.media_count),
        ]
        if not self.new_or_changed:
            sentences.append(_("There is nothing to import."))
        return [sentence for sentence in sentences if sentence]


def at_stake(report: Report) -> str:
    """What a user says yes to, to be compared: if it differs when the rows are stored, the user is asked again."""
    counts = (report.new, report.changed, report.unapproved, report.deleted, report.bad, len(report.new_topics))
    return "-".join(map(str, (*counts, report.versions)))


def _fields(report: Report) -> dict[str, Any]:
    """The report's fields. Its lists are cut to what a page shows; its counts say how much there is."""
    shortened = {
        "bad_rows": [asdict(row) for row in report.bad_rows[:MOST_SHOWN]],
        "ignored_columns": report.ignored_columns[: MOST_NAMED + 1],
        "media": list(report.media)[:MOST_NAMED],
    }
    return {**vars(report), **shortened}


def _cell(difference: Difference, name: str) -> Any:
    after = difference.after[name]
    return plain(after) if difference.before is None else marked(difference.before[name], after)


def _columns_with_values(differences: Sequence[Difference], names: Sequence[str]) -> list[str]:
    """Those of the columns in which any of these rows has a value."""
    rows = [row for difference in differences for row in (difference.before, difference.after) if row]
    return [name for name in names if any(row[name] for row in rows)]


def _counted(count: int, sentence: Any) -> str:
    return str(sentence % count) if count else ""


def _listed(sentence: str, names: Sequence[str], count: int) -> str:
    """A sentence with the first of these names; empty without names."""
    if not names:
        return ""
    listed = ", ".join(f"“{name}”" for name in names[:MOST_NAMED])
    if count > MOST_NAMED:
        listed = _("%(names)s and %(count)s more") % {"names": listed, "count": f"{count - MOST_NAMED:,}"}
    return sentence % listed
