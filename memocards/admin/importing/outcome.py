"""What an import would do, or did, as the page shows it."""

from collections.abc import Sequence
from typing import Any, Final

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, ngettext_lazy
from import_export.results import Result, RowResult

from memocards.admin.importing.differences import marked, plain
from memocards.admin.importing.forms import Plan
from memocards.importing.reports import Difference, Report

MOST_NAMED: Final = 10


class Outcome(Result):  # type: ignore[misc]
    """What was counted, by memocards.importing; `plan` is the one to say yes to. Both None where it was refused."""

    report: Report | None = None
    plan: Plan | None = None

    @property
    def stored(self) -> int:
        """How many rows are new or changed."""
        return self.report.new + self.report.changed if self.report else 0

    @property
    def more(self) -> int:
        """How many of them are not shown."""
        return self.stored - len(self.rows)

    @property
    def yes(self) -> str:
        """What the button says."""
        assert self.report is not None  # noqa: S101
        bad = self.report.bad
        asked = ngettext("Import %d row", "Import %d rows", self.stored) % self.stored
        if not bad:
            return asked
        return _("%(import)s and skip %(bad)d bad") % {"import": asked, "bad": bad}

    @property
    def sentences(self) -> list[str]:
        """What was counted, and what viewers will see of it."""
        report = self.report
        assert report is not None  # noqa: S101
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

    def count(self, report: Report) -> None:
        self.report = report
        self.total_rows = report.read
        self.totals[RowResult.IMPORT_TYPE_NEW] = report.new
        self.totals[RowResult.IMPORT_TYPE_UPDATE] = report.changed
        self.totals[RowResult.IMPORT_TYPE_SKIP] = report.unchanged + report.deleted + report.repeated
        self.totals[RowResult.IMPORT_TYPE_INVALID] = report.bad


class ShownRow(RowResult):  # type: ignore[misc]
    """One row of a preview. `object_repr` is its place in the file."""

    def __init__(self, difference: Difference, names: Sequence[str], headers: Sequence[str]) -> None:
        super().__init__()
        self._headers = headers
        self.object_repr, self.object_id = difference.place, difference.external_id
        before, after = difference.before, difference.after
        self.import_type = self.IMPORT_TYPE_NEW if before is None else self.IMPORT_TYPE_UPDATE
        self.diff = [plain(after[name]) if before is None else marked(before[name], after[name]) for name in names]

    @property
    def cells(self) -> list[tuple[str, SafeString]]:
        return list(zip(self._headers, self.diff, strict=True))


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
