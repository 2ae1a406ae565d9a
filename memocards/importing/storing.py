"""store() and preview(): a file against what is there, set by set, in one transaction.

Lock order: the import's own lock for each topic, then topics, then rows by primary key. Rows are never deleted or
approved here, and progress is not touched.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from django.db import connection
from django.utils import timezone
from psycopg import sql

from kit.transactions import in_transaction
from memocards.content import history
from memocards.content.editors import Editor
from memocards.content.topics import create_topic, require_open_topics
from memocards.importing.refusals import BadRows, UnknownTopics
from memocards.importing.reports import Difference, Preview, Report
from memocards.importing.spool import Rows
from memocards.importing.staging import Stage
from memocards.importing.targets import TARGETS, Target
from memocards.models import Topic
from memocards.states import APPROVED, LIVE

_AT_ONCE: Final = 50_000


@in_transaction
def store(
    rows: Rows,
    *,
    topic: str | None = None,
    create_topics: bool = False,
    skip_bad: bool = False,
    editor: Editor,
    on_read: Callable[[int], None] = lambda count: None,
) -> Report:
    """Store a file's rows: all that are good, or with a single bad one and without `skip_bad` none.

    `topic` is the name of the topic for all rows; without it, each row's own. `on_read` is called now and then with the
    number of rows read since. `editor`: whose rows the new ones are, and in whose name the history of each row gains a
    line. Raises UnreadableFile, BadRows, UnknownTopics, TopicMissing, Conflict.
    """
    report, stage = _staged(rows, topic, may_create=create_topics, on_read=on_read)
    if report.bad and not skip_bad:
        raise BadRows(report.file, report.bad_rows, report.bad)
    created = {name: create_topic(name=name, editor=editor, imported_from=report.file).pk for name in report.new_topics}
    stage.assign_topics(created)
    _lock_topics(stage)
    report.new = _insert(stage, {"moment": timezone.now(), "author": editor.user_id, "file": report.file})
    _change(stage, report)
    _count(stage, report)
    report.unchanged -= report.new + report.changed
    _follow_up(stage.target, report.file, editor)
    stage.drop()
    return report


@in_transaction
def preview(
    rows: Rows,
    *,
    topic: str | None = None,
    most: int = 100,
    on_read: Callable[[int], None] = lambda count: None,
) -> Preview:
    """What store() would do, bad rows skipped and missing topics created, with the first `most` differences.

    Changes nothing. Raises UnreadableFile, TopicMissing.
    """
    report, stage = _staged(rows, topic, may_create=True, on_read=on_read)
    target = stage.target
    _count(stage, report)
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "SELECT count(*), count(*) FILTER (WHERE {approved}), {versions}"
                " FROM import_stage AS stage JOIN {table} AS stored ON {stored}"
                " WHERE {live} AND {differs}"
            ).format(
                approved=target.state(APPROVED),
                live=target.state(LIVE),
                versions=_versions("stored"),
                table=target.table,
                stored=stage.stored,
                differs=target.differs(),
            )
        )
        report.changed, report.unapproved, report.versions = cursor.fetchone()
        cursor.execute(
            sql.SQL(
                "SELECT count(*) FROM import_stage AS stage LEFT JOIN {table} AS stored ON {stored}"
                " WHERE stored.id IS NULL"
            ).format(table=target.table, stored=stage.stored)
        )
        (report.new,) = cursor.fetchone()
    report.unchanged -= report.new + report.changed
    differences = _differences(stage, most)
    stage.drop()
    return Preview(report, differences)


def _staged(rows: Rows, topic: str | None, *, may_create: bool, on_read: Callable[[int], None]) -> tuple[Report, Stage]:
    if topic is not None and not may_create:
        require_topic(topic)
    report = Report(rows.name)
    stage = Stage(TARGETS[rows.kind], report, topic=topic)
    stage.fill(rows, on_read)
    report.new_topics = stage.unknown_topics()
    if report.new_topics and not may_create:
        raise UnknownTopics(report.new_topics)
    stage.find_exported_names(rows.format)
    stage.settle_repetitions()
    return report, stage


def require_topic(name: str) -> None:
    """For whoever does not want to read a long file in vain. Raises UnknownTopics."""
    if not Topic.objects.filter(LIVE, name=name).exists():
        raise UnknownTopics([name])


def _lock_topics(stage: Stage) -> None:
    """One import at a time for each topic, so that two never wait for each other's new rows. No topic goes away."""
    keys = stage.topic_ids()
    with connection.cursor() as cursor:
        for key in keys:
            name = f"studyhub import {stage.target.model._meta.model_name} {key}"
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
    require_open_topics(keys)


def _insert(stage: Stage, parameters: Mapping[str, Any]) -> int:
    """Add the rows that are not there, in the file's order, and note their keys. Returns how many."""
    target = stage.target
    names, values = target.insertion()
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "WITH inserted AS ("
                "INSERT INTO {table} ({names}) SELECT {values} FROM import_stage AS stage"
                " LEFT JOIN {table} AS stored ON {stored} WHERE stored.id IS NULL ORDER BY stage.number"
                # Somebody may add the same row at this moment: then it is there, and compared like any other.
                " ON CONFLICT (topic_id, external_id) WHERE NOT (external_id = '') DO NOTHING RETURNING id)"
                " INSERT INTO import_touched (id) SELECT id FROM inserted"
            ).format(table=target.table, names=names, values=values, stored=stage.stored),
            parameters,
        )
        return int(cursor.rowcount)


def _change(stage: Stage, report: Report) -> None:
    """Lock the rows that differ, note their keys, and bring them to what the file says, and back to review."""
    target = stage.target
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "INSERT INTO import_touched (id, was_approved, updated_at)"
                " SELECT id, is_approved, updated_at FROM ("
                "SELECT stored.id, {approved} AS is_approved, stored.updated_at"
                " FROM {table} AS stored JOIN import_stage AS stage ON {stored}"
                " WHERE {live} AND {differs} ORDER BY stored.id FOR NO KEY UPDATE OF stored"
                ") AS locked"
            ).format(
                approved=target.state(APPROVED),
                live=target.state(LIVE),
                table=target.table,
                stored=stage.stored,
                differs=target.differs(),
            )
        )
        report.changed = int(cursor.rowcount)
        cursor.execute(
            sql.SQL(
                "SELECT count(*) FILTER (WHERE was_approved), {versions} FROM import_touched"
                " WHERE was_approved IS NOT NULL"
            ).format(versions=_versions("import_touched"))
        )
        report.unapproved, report.versions = cursor.fetchone()
        cursor.execute(
            sql.SQL(
                "UPDATE {table} AS stored SET {assignments} FROM import_stage AS stage, import_touched AS touched"
                " WHERE {stored} AND stored.id = touched.id AND touched.was_approved IS NOT NULL"
            ).format(table=target.table, assignments=target.assignments(), stored=stage.stored),
            {"moment": timezone.now()},
        )


def _versions(table: str) -> sql.Composable:
    """A digest of which rows of a table there are, and when each was last written."""
    row = sql.Identifier(table)
    return sql.SQL("md5(coalesce(string_agg({0}.id || ' ' || {0}.updated_at::text, ',' ORDER BY {0}.id), ''))").format(
        row
    )


def _count(stage: Stage, report: Report) -> None:
    """How many rows are staged, into `unchanged`, without those whose stored row was deleted, into `deleted`."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "SELECT count(*), count(stored.deleted_at) FROM import_stage AS stage"
                " LEFT JOIN {table} AS stored ON {stored}"
            ).format(table=stage.target.table, stored=stage.stored)
        )
        staged, report.deleted = cursor.fetchone()
        report.unchanged = staged - report.deleted


def _follow_up(target: Target, file: str, editor: Editor) -> None:
    """Publish what was touched and note it in the history, a page of keys at a time."""
    last = 0
    page: list[tuple[int, bool]] = []
    with connection.cursor() as cursor:
        while not last or len(page) == _AT_ONCE:
            cursor.execute(
                "SELECT id, was_approved IS NULL FROM import_touched WHERE id > %s ORDER BY id LIMIT %s",
                [last, _AT_ONCE],
            )
            page = cursor.fetchall()
            if not page:
                return
            last = page[-1][0]
            target.enqueue(*(key for key, _new in page))
            for event, is_new in ((history.ADDED_BY_IMPORT, True), (history.CHANGED_BY_IMPORT, False)):
                keys = [key for key, new in page if new is is_new]
                history.log_event(target.model, keys, event, editor=editor, file=file)


def _differences(stage: Stage, most: int) -> list[Difference]:
    target = stage.target
    names = list(target.columns)
    before: Iterable[sql.Composable] = (sql.SQL("stored.{}").format(sql.Identifier(name)) for name in names)
    after = (sql.SQL(value) for _kind, value in target.columns.values())
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "SELECT stage.place, stage.external_id, stored.id IS NOT NULL, {before}, {after}"
                " FROM import_stage AS stage LEFT JOIN {table} AS stored ON {stored}"
                " WHERE stored.id IS NULL OR ({live} AND {differs})"
                " ORDER BY stage.number LIMIT %(most)s"
            ).format(
                live=target.state(LIVE),
                before=sql.SQL(", ").join(before),
                after=sql.SQL(", ").join(after),
                table=target.table,
                stored=stage.stored,
                differs=target.differs(),
            ),
            {"most": most},
        )
        return [
            Difference(
                place,
                external_id,
                dict(zip(names, values[: len(names)], strict=True)) if exists else None,
                dict(zip(names, values[len(names) :], strict=True)),
            )
            for place, external_id, exists, *values in cursor.fetchall()
        ]
