"""One turn of the line: a file is read and compared, or its rows are stored. line.ensure_worker() starts this."""

import logging
import os
import signal
from types import FrameType
from typing import Any, Final

from django.db import OperationalError
from django.utils import translation
from django.utils.translation import gettext as _

from kit.transactions import in_transaction
from memocards.admin.importing.forms import Plan
from memocards.admin.importing.line import next_in_line
from memocards.admin.importing.summary import MOST_SHOWN, Summary, at_stake
from memocards.admin.importing.uploads import Status, Upload
from memocards.content.editors import Editor
from memocards.errors import DomainError
from memocards.importing.limits import MEBIBYTE, LimitReached, Limits
from memocards.importing.reading_apart import read_apart
from memocards.importing.refusals import UnknownTopics
from memocards.importing.reports import Report
from memocards.importing.rows import RowKind
from memocards.importing.spool import Spool
from memocards.importing.storing import preview, store
from memocards.models import Topic

logger = logging.getLogger("memocards.importing")

MOST_ROWS: Final = 10_000
LIMITS: Final = Limits(
    processor_seconds=60,
    seconds=300,
    memory=512 * MEBIBYTE,
    disk=1024 * MEBIBYTE,
    text=64 * MEBIBYTE,
    rows=MOST_ROWS,
)
_MOST_ATTEMPTS: Final = 5
_LOOK_SECONDS: Final = 1.0
_NICENESS: Final = 5


class PreviewOutdated(DomainError):
    """Storing the rows now would do something else than the preview said."""

    def __init__(self) -> None:
        super().__init__(_("Something has changed since the preview, so nothing was imported. Here is a new one."))


def main(hub: int) -> int:
    """Work the line off, until it is empty or the hub is gone. Returns the exit code.

    `hub`: the process that started this one.
    """

    def look(_number: int, _frame: FrameType | None) -> None:
        if os.getppid() != hub:
            raise SystemExit(0)

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _LOOK_SECONDS, _LOOK_SECONDS)
    os.nice(_NICENESS)
    work_off()
    return 0


def work_off() -> None:
    """Take one import after the other. Without the database they wait, until somebody opens an import's page again."""
    try:
        while _one_turn():
            pass
    except OperationalError as error:
        logger.warning("Imports: the database is away, so they wait. %s", error)


def _one_turn() -> bool:
    with next_in_line() as upload:
        if upload is None:
            return False
        with translation.override(upload.plan.language):
            _work_on(upload)
        return True


def _work_on(upload: Upload) -> None:
    state = upload.state
    if state.attempts == _MOST_ATTEMPTS:
        _refuse(upload, _("The import broke off several times, so it was given up."))
        return
    upload.change(attempts=state.attempts + 1)
    try:
        if state.status is Status.WAITING:
            _compare(upload, upload.rows or _read(upload))
        else:
            _store(upload)
    except LimitReached as refusal:
        advice = _("Import it with the command %(command)s.") % {"command": upload.plan.command}
        _refuse(upload, f"{refusal} {advice}")
    except DomainError as refusal:
        _refuse(upload, str(refusal))
    except OperationalError:
        raise
    except Exception:
        logger.exception("Imports: “%s” failed.", upload.plan.file)
        _refuse(upload, _("The import failed through a fault of StudyHub’s. Its log says more."))


def _read(upload: Upload) -> Spool:
    plan = upload.plan
    spool = read_apart(
        upload.file,
        upload.draft_of_rows,
        limits=LIMITS,
        kind=RowKind(plan.kind),
        name=plan.file,
        format=plan.format or None,
        encoding=plan.encoding,
        html=plan.html,
        answers_from=plan.answers_from,
        on_read=upload.note_rows_read,
    )
    return upload.keep_rows(spool)


def _compare(upload: Upload, rows: Spool, *sentences: str) -> None:
    """Compare the rows with what is stored, and keep the summary for the user to look at."""
    plan = upload.plan
    comparison = preview(rows, topic=_topic_of(plan), most=MOST_SHOWN)
    if comparison.report.new_topics and not plan.create_topics:
        raise UnknownTopics(comparison.report.new_topics)
    summary = Summary.of(comparison, RowKind(plan.kind))
    if not summary.new_or_changed:
        # Nothing would be stored, so nobody is asked, and the rows are not needed any more.
        upload.drop_content()
    upload.keep_summary(summary)
    upload.change(status=Status.PREVIEWED, sentences=list(sentences), attempts=0)


def _store(upload: Upload) -> None:
    rows, summary = upload.rows, upload.summary
    if rows is None or summary is None:
        raise PreviewOutdated
    try:
        report = _stored(rows, upload.plan, summary.at_stake)
    except PreviewOutdated as outdated:
        _compare(upload, rows, str(outdated))
        return
    upload.drop_content()
    upload.keep_summary(Summary.done(report, RowKind(upload.plan.kind)))
    upload.change(status=Status.STORED)


@in_transaction
def _stored(rows: Spool, plan: Plan, confirmed: str) -> Report:
    report = store(
        rows,
        topic=_topic_of(plan),
        create_topics=plan.create_topics,
        # The preview listed the bad rows, and the button said that they are skipped.
        skip_bad=True,
        editor=Editor(plan.user_id),
    )
    if at_stake(report) != confirmed:
        raise PreviewOutdated
    return report


def _topic_of(plan: Plan) -> str | None:
    """What the chosen topic is called now. Raises UnknownTopics where it is gone."""
    if plan.topic_id is None:
        return None
    for topic in Topic.objects.filter(pk=plan.topic_id, deleted_at__isnull=True):
        return topic.name
    raise UnknownTopics([plan.topic])


def _refuse(upload: Upload, *sentences: Any) -> None:
    upload.drop_content()
    upload.change(status=Status.REFUSED, sentences=list(map(str, sentences)))
