"""The stage: a temporary table into which a file is copied, to be compared with what is stored by PostgreSQL.

Nothing is locked while a file is read, however long that takes, and no row of it stays in Python's memory.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

from django.db import connection
from django.utils.translation import gettext as _
from psycopg import sql

from memocards.exchange.names import NAME_PATTERN, NAME_SQL, name_of
from memocards.importing.checking import DERIVED_PREFIX
from memocards.importing.formats.format import Format
from memocards.importing.refusals import TopicMissing
from memocards.importing.reports import Report
from memocards.importing.rows import BadRow, Row, Skipped
from memocards.importing.spool import Rows
from memocards.importing.targets import Target
from memocards.models import MemoCard, Topic

_STEP: Final = 1_000
# Up to so many rows PostgreSQL may look up one by one, which is quick even if it misjudges the tables.
_MOST_BY_LOOP: Final = 100
_GUIDS_AT_ONCE: Final = 5_000
_SAME_ID: Final = (
    "stored.topic_id = stage.topic_id AND stored.external_id = stage.external_id AND stored.external_id <> ''"
)
# Where the file comes from an export of this hub, rows without an id are known by the names that it made for them,
# unless another row of the topic was imported under that name.
_SAME_NAME: Final = (
    f"stored.topic_id = stage.topic_id AND stage.external_id ="
    f" CASE WHEN stored.external_id = '' THEN {NAME_SQL} ELSE stored.external_id END"
    " AND (stored.external_id <> '' OR NOT EXISTS (SELECT FROM {table} AS named WHERE named.topic_id = stage.topic_id"
    " AND named.external_id = stage.external_id AND named.external_id <> ''))"
)


class Stage:
    """A file's rows in the database, until `drop()` or the end of the transaction.

    `topic`: the name of where all rows go; None: where each says.
    """

    def __init__(self, target: Target, report: Report, *, topic: str | None) -> None:
        self.target, self.report, self._topic = target, report, topic
        self._staged = 0
        self._has_exported_names = False

    def fill(self, rows: Rows, on_read: Callable[[int], None]) -> None:
        """Copy the file into the stage. Bad rows go into the report. Raises UnreadableFile, TopicMissing."""
        self._create()
        topics = self._live_topics()
        columns = sql.SQL(", ").join(map(sql.Identifier, self.target.stage_columns))
        with connection.cursor() as cursor:
            with cursor.copy(sql.SQL("COPY import_stage ({}) FROM STDIN").format(columns)) as copy:
                for number, row in enumerate(self._good(rows, on_read), start=1):
                    self._staged = number
                    topic = self._topic or row.topic
                    if topic is None:
                        raise TopicMissing(self.report.file, row.place)
                    copy.write_row(self.target.staged(number, topic, topics.get(topic), row))
            # PostgreSQL never analyses a temporary table by itself, and takes one that is not analysed for tiny.
            cursor.execute("ANALYZE import_stage")
            # Right after a large import, the statistics of the table of cards are outdated too. The planner then takes
            # it for empty and looks through the whole topic for each row: a hundred thousand took over ten minutes. A
            # hash join reads the table once, whatever the planner believes.
            method = "off" if self._staged > _MOST_BY_LOOP else "on"
            cursor.execute(f"SET LOCAL enable_nestloop = {method}")

    def unknown_topics(self) -> list[str]:
        """The names of topics that are not there."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT topic FROM import_stage WHERE topic_id IS NULL ORDER BY topic")
            return [name for (name,) in cursor.fetchall()]

    def assign_topics(self, ids: Mapping[str, int]) -> None:
        """The keys of topics that were not there before."""
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE import_stage SET topic_id = created.id, topic = NULL FROM unnest(%s::text[], %s::bigint[])"
                " AS created (name, id) WHERE import_stage.topic_id IS NULL AND import_stage.topic = created.name",
                [list(ids), list(ids.values())],
            )

    def topic_ids(self) -> list[int]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT topic_id FROM import_stage WHERE topic_id IS NOT NULL ORDER BY 1")
            return [key for (key,) in cursor.fetchall()]

    @property
    def stored(self) -> sql.Composable:
        """The condition under which `stored` is the row that `stage` speaks of."""
        return sql.SQL(_SAME_NAME if self._has_exported_names else _SAME_ID).format(table=self.target.table)

    def find_exported_names(self, format: Format) -> None:
        """Find out whether rows come under names that an export of this hub may have made."""
        if format.has_guids:
            self._name_by_guids()
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM import_stage WHERE external_id ~ %s)", [NAME_PATTERN])
            (self._has_exported_names,) = cursor.fetchone()

    def _name_by_guids(self) -> None:
        """Where Anki knows a card by a guid that its export made, put the card's name in its place."""
        # genanki takes a moment to load, which only a file of Anki's should pay.
        from memocards.exchange.guids import own_guid

        cards = MemoCard.objects.filter(topic__in=self.topic_ids()).only("pk", "topic_id", "external_id", "created_at")
        ordered = cards.order_by("pk").iterator(_GUIDS_AT_ONCE)
        with connection.cursor() as cursor:
            while page := list(islice(ordered, _GUIDS_AT_ONCE)):
                cursor.execute(
                    "UPDATE import_stage SET external_id = card.name"
                    " FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS card (topic_id, guid, name)"
                    " WHERE import_stage.topic_id = card.topic_id AND import_stage.external_id = card.guid",
                    [
                        [card.topic_id for card in page],
                        [own_guid(card) for card in page],
                        [name_of(card) for card in page],
                    ],
                )

    def settle_repetitions(self) -> None:
        """Of several rows for one place, keep the first. The others are repeated where they say the same, else bad."""
        same = sql.SQL(" AND ").join(
            sql.SQL("later.{0} IS NOT DISTINCT FROM earlier.{0}").format(sql.Identifier(name))
            for name in self.target.columns
        )
        with connection.cursor() as cursor:
            cursor.execute(
                sql.SQL(
                    "DELETE FROM import_stage AS later USING import_stage AS earlier, ("
                    " SELECT min(number) AS number, topic, topic_id, external_id FROM import_stage"
                    " GROUP BY topic, topic_id, external_id HAVING count(*) > 1) AS first"
                    " WHERE earlier.number = first.number AND later.number > first.number"
                    " AND later.topic IS NOT DISTINCT FROM first.topic"
                    " AND later.topic_id IS NOT DISTINCT FROM first.topic_id AND later.external_id = first.external_id"
                    " RETURNING later.number, later.place, earlier.place, later.external_id, {same}"
                ).format(same=same)
            )
            for number, place, earlier, external_id, says_the_same in sorted(cursor.fetchall()):
                if says_the_same:
                    self.report.repeated += 1
                elif external_id.startswith(DERIVED_PREFIX):
                    reason = _("The row begins as %s does, but goes on differently. Give both an id of their own.")
                    self.report.add_bad(BadRow(number, place, reason % earlier))
                else:
                    reason = _("The row has the same id %(id)r as %(earlier)s, but says something else.")
                    self.report.add_bad(BadRow(number, place, reason % {"id": external_id, "earlier": earlier}))

    def drop(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE import_stage, import_touched")
            cursor.execute("SET LOCAL enable_nestloop = DEFAULT")

    def _create(self) -> None:
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
            for name, (kind, _value) in self.target.columns.items()
        )
        with connection.cursor() as cursor:
            cursor.execute(
                sql.SQL(
                    "CREATE TEMPORARY TABLE import_stage (number bigint PRIMARY KEY, place text, topic text,"
                    " topic_id bigint, external_id text, {}) ON COMMIT DROP"
                ).format(columns)
            )
            # The keys of the rows that are written, and what these were before: NULL for new rows. They are kept in the
            # database, because there may be many.
            cursor.execute(
                "CREATE TEMPORARY TABLE import_touched"
                " (id bigint PRIMARY KEY, was_approved boolean, updated_at timestamptz) ON COMMIT DROP"
            )

    def _live_topics(self) -> dict[str, int]:
        return dict(Topic.objects.filter(deleted_at__isnull=True).order_by().values_list("name", "pk"))

    def _good(self, rows: Rows, on_read: Callable[[int], None]) -> Iterator[Row]:
        since = 0
        for item in rows:
            if isinstance(item, Skipped):
                self.report.add_skipped(item)
                continue
            self.report.read += 1
            since += 1
            if since == _STEP:
                on_read(since)
                since = 0
            if isinstance(item, BadRow):
                self.report.add_bad(item)
            else:
                yield item
        on_read(since)
