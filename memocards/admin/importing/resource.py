"""Between django-import-export and memocards.importing: a resource that previews and stores a file as a whole."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

from django.contrib.admin.utils import label_for_field
from django.utils.functional import Promise
from django.utils.translation import gettext as now
from django.utils.translation import gettext_lazy as _
from import_export.resources import Resource
from import_export.results import Error

from memocards import importing
from memocards.admin.importing.forms import Plan
from memocards.admin.importing.outcome import Outcome, ShownRow
from memocards.errors import DomainError
from memocards.importing.reading import Reading
from memocards.importing.refusals import UnknownTopics
from memocards.importing.reports import Difference, Report
from memocards.importing.rows import Kind
from memocards.importing.targets import TARGETS
from memocards.models import MemoCard, Question, Topic
from publish.transactions import in_transaction

MOST_ROWS: Final = 10_000
MOST_SHOWN: Final = 100


class TooManyRows(DomainError):
    """More than a page may take upon itself."""

    def __init__(self, command: str) -> None:
        super().__init__(
            now("The file has more than %(most)s rows. Import it with the command %(command)s.")
            % {"most": f"{MOST_ROWS:,}", "command": command}
        )


class PreviewOutdated(DomainError):
    """What would happen now is not what was shown."""

    def __init__(self) -> None:
        super().__init__(now("Something has changed since the preview, so nothing was imported. Here is a new one."))


class FileResource(Resource):  # type: ignore[misc]
    """All rows of a file at once. The rows never become instances: see memocards.importing.storing."""

    kind: ClassVar[Kind]
    model: ClassVar[type[MemoCard | Question]]
    command: ClassVar[str]
    # What a file consists of, for the form.
    hint: ClassVar[str | Promise]

    @classmethod
    def get_display_name(cls) -> str:
        return str(cls.model._meta.verbose_name_plural)

    def import_data(self, dataset: Path, dry_run: bool = False, *, plan: Plan, **kwargs: Any) -> Outcome:
        """What storing the file would do; without `dry_run`, do that, if it is still what the plan says.

        A refusal is a base error of the outcome.
        """
        outcome = Outcome()
        try:
            if dry_run:
                self._preview(dataset, plan, outcome)
            else:
                outcome.count(self._store(dataset, plan))
        except DomainError as refusal:
            outcome.append_base_error(Error(refusal))
        return outcome

    def _preview(self, path: Path, plan: Plan, outcome: Outcome) -> None:
        seen = importing.preview(
            self._read(path, plan), topic=_topic_of(plan), most=MOST_SHOWN, on_read=self._limit(plan)
        )
        if seen.report.new_topics and not plan.create_topics:
            raise UnknownTopics(seen.report.new_topics)
        outcome.count(seen.report)
        names = _telling(seen.differences, list(TARGETS[self.kind].columns))
        outcome.diff_headers = [str(label_for_field(name, self.model)) for name in names]
        outcome.rows = [ShownRow(difference, names, outcome.diff_headers) for difference in seen.differences]
        outcome.plan = replace(plan, at_stake=_at_stake(seen.report))

    @in_transaction
    def _store(self, path: Path, plan: Plan) -> Report:
        report = importing.store(
            self._read(path, plan),
            topic=_topic_of(plan),
            create_topics=plan.create_topics,
            # The preview listed them, and the button said so.
            skip_bad=True,
            author_id=plan.user_id,
            on_read=self._limit(plan),
        )
        if _at_stake(report) != plan.at_stake:
            raise PreviewOutdated
        return report

    def _read(self, path: Path, plan: Plan) -> Reading:
        return importing.read(
            path, plan.format or None, kind=self.kind, encoding=plan.encoding, html=plan.html, name=plan.file
        )

    def _limit(self, plan: Plan) -> Callable[[int], None]:
        """Called while rows go to the database, so nothing can be asked of it here."""
        seen = 0

        def count(rows: int) -> None:
            nonlocal seen
            seen += rows
            if seen > MOST_ROWS:
                raise TooManyRows(plan.command(self.command))

        return count


class CardResource(FileResource):
    kind, model, command = Kind.CARD, MemoCard, "import_cards"
    hint = _(
        "A table whose first line names the columns: front and back; tags, note, source, topic and id if you like. "
        "Or JSON Lines with the same names, or what Anki exports."
    )


class QuestionResource(FileResource):
    kind, model, command = Kind.QUESTION, Question, "import_questions"
    hint = _(
        "A table whose first line names the columns: stem, answer, and choices or A, B, C…; explanation, source, topic "
        "and id if you like. Or JSON Lines with the same names."
    )


def _topic_of(plan: Plan) -> str | None:
    """What the chosen topic is called now. Raises UnknownTopics where it is gone."""
    if plan.topic_id is None:
        return None
    for topic in Topic.objects.filter(pk=plan.topic_id, deleted_at__isnull=True):
        return topic.name
    raise UnknownTopics([plan.topic])


def _at_stake(report: Report) -> str:
    counts = (report.new, report.changed, report.unapproved, report.deleted, report.bad, len(report.new_topics))
    return "-".join(map(str, (*counts, report.versions)))


def _telling(differences: Sequence[Difference], names: Sequence[str]) -> list[str]:
    """The columns of which any of these rows says something."""
    rows = [row for difference in differences for row in (difference.before, difference.after) if row]
    return [name for name in names if any(row[name] for row in rows)]
