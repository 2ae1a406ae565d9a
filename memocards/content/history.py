"""Who did what to which content, and when: one entry for each row and change, written by the service that makes it and
in its transaction.

What is deleted or restored with its topic has no entry of its own: the topic's says "with all content". Machines have
no history: an entry is somebody's.

The entries are those of Django's admin, whose pages show them. An entry names its events by their keys, so that
`sentence()` says them in the language of whoever reads.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import CharField, F, Model, Q, QuerySet, Value
from django.db.models.functions import Cast, Left
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override
from psycopg import sql

from memocards.content.editors import Editor
from memocards.models import MemoCard, Question, Topic
from publish.keys import among
from publish.services import require_transaction

# As __str__ has it.
_NAMED: Final[Mapping[type[Model], Any]] = {Topic: F("name"), Question: Left("stem", 80), MemoCard: Left("front", 80)}
_COLUMNS: Final = (
    "object_id", "object_repr", "user_id", "content_type_id", "action_flag", "change_message", "action_time",
)  # fmt: skip


@dataclass(frozen=True)
class Event:
    """What happened to a row. `sentence` may have parameters, `%(name)s`; `key` is stored, and so never changes."""

    key: str
    sentence: str | Promise
    flag: int = CHANGE

    def said(self, **parameters: str) -> str:
        """The sentence in the language of whoever reads it now."""
        return str(self.sentence) % parameters


APPROVED: Final = Event("approved", _("Approved."))
UNAPPROVED: Final = Event("unapproved", _("Un-approved: it waits for review again."))
SENT_BACK: Final = Event("sent_back", _("Sent back: %(reason)s"))
UNDONE: Final = Event("undone", _("Undone at the review desk."))
MOVED: Final = Event("moved", _("Moved to “%(topic)s”."))
TAGGED: Final = Event("tagged", _("Tagged: %(tags)s."))
DELETED: Final = Event("deleted", _("Deleted."), DELETION)
DELETED_WITH_CONTENT: Final = Event("deleted_with_content", _("Deleted with all content."), DELETION)
RESTORED: Final = Event("restored", _("Restored."))
ADDED_BY_IMPORT: Final = Event("added_by_import", _("Imported from “%(file)s”."), ADDITION)
CHANGED_BY_IMPORT: Final = Event("changed_by_import", _("Imported from “%(file)s”."))
EXPLANATION_REQUESTED: Final = Event("explanation_requested", _("Explanation asked for."))

_EVENTS: Final = {
    event.key: event
    for event in (
        APPROVED, UNAPPROVED, SENT_BACK, UNDONE, MOVED, TAGGED, DELETED, DELETED_WITH_CONTENT, RESTORED,
        ADDED_BY_IMPORT, CHANGED_BY_IMPORT, EXPLANATION_REQUESTED,
    )
}  # fmt: skip


# Writing


def log_event(model: type[Model], keys: Collection[int], event: Event, *, editor: Editor, **parameters: str) -> None:
    """One entry for each of these topics, questions or cards; one statement, however many.

    Raises TransactionRequired: an entry must not outlive its change.
    """
    _write(model, keys, event.flag, [{"event": event.key, **parameters}], editor)


def log_addition(row: Model, *, editor: Editor) -> None:
    """An entry for a row that is new."""
    _write(type(row), [row.pk], ADDITION, [{"added": {}}], editor)


def log_edit(row: Model, columns: Collection[str], *, editor: Editor, unapproved: bool = False) -> None:
    """An entry that names the columns that were edited, and says if that cost the row its approval; none for none."""
    if columns:
        parts: list[dict[str, Any]] = [{"changed": {"fields": [_label(row, column) for column in columns]}}]
        _write(type(row), [row.pk], CHANGE, parts + [{"event": UNAPPROVED.key}] * unapproved, editor)


def _write(model: type[Model], keys: Collection[int], flag: int, parts: list[dict[str, Any]], editor: Editor) -> None:
    require_transaction()
    if not keys or editor.user_id is None:
        return
    content_type = ContentType.objects.get_for_model(model)
    message = json.dumps(parts, ensure_ascii=False)
    values = [editor.user_id, content_type.pk, flag, message, timezone.now()]
    rows = model._base_manager.filter(among(keys)).order_by("pk")
    entries = rows.values_list(Cast("pk", CharField()), _NAMED[model], *(Value(value) for value in values))
    select, params = entries.query.sql_with_params()
    insertion = sql.SQL("INSERT INTO {} ({}) {}").format(
        sql.Identifier(LogEntry._meta.db_table),
        sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
        sql.SQL(select),
    )
    with connection.cursor() as cursor:
        cursor.execute(insertion, params)


def _label(row: Model, column: str) -> str:
    """As a form of the admin names the field: in English, and translated when it is shown."""
    field: Any = row._meta.get_field(column)
    with override(None):
        return str(capfirst(field.verbose_name))


# Reading


def entries_of(model: type[Model], key: int) -> QuerySet[LogEntry]:
    """The history of one row."""
    content_type = ContentType.objects.get_for_model(model)
    return LogEntry.objects.filter(content_type=content_type, object_id=str(key)).select_related("user")


def sentence(entry: LogEntry) -> str:
    """What an entry says, in the language of whoever reads it; of a text that was stored as such, that text."""
    try:
        parts = json.loads(entry.change_message) if entry.change_message.startswith("[") else []
    except ValueError:
        parts = []
    if not any(isinstance(part, dict) and "event" in part for part in parts):
        return entry.get_change_message()
    return " ".join(_said(part) for part in parts)


def _said(part: Mapping[str, Any]) -> str:
    if "event" not in part:
        # Django's own: an addition, or the fields that changed.
        return LogEntry(change_message=json.dumps([part])).get_change_message()
    event = _EVENTS.get(part["event"])
    return event.said(**part) if event else str(part["event"])


def saying(text: str) -> Q:
    """The entries whose events are said with these words, in the language of whoever searches."""
    words = text.casefold()
    where = Q(pk__in=[])
    for event in _EVENTS.values():
        if words in str(event.sentence).casefold():
            where |= Q(change_message__contains=f'"event": "{event.key}"')
    return where
