"""Who did what to which content, and when: one entry for each row and change, in the back office and over REST alike.

What is deleted or restored with its topic has no entry of its own: the topic's says "with all content".

The entries are those of Django's admin, whose pages show them. They are written in the transaction of the change.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import CharField, F, Model, Value
from django.db.models.functions import Cast, Left
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import override
from psycopg import sql

from kit.transactions import require_transaction
from memocards.models import MemoCard, Question, Topic
from publish.keys import among

# As __str__ has it.
_NAMED: Final[Mapping[type[Model], Any]] = {Topic: F("name"), Question: Left("stem", 80), MemoCard: Left("front", 80)}
_COLUMNS: Final = (
    "object_id", "object_repr", "user_id", "content_type_id", "action_flag", "change_message", "action_time",
)  # fmt: skip


def log_rows(model: type[Model], keys: Collection[int], *, user_id: int, flag: int, message: str) -> None:
    """One entry for each of these topics, questions or cards; one statement, however many.

    `flag` is ADDITION, CHANGE or DELETION. Raises TransactionRequired: an entry must not outlive its change.
    """
    require_transaction()
    if not keys:
        return
    content_type = ContentType.objects.get_for_model(model)
    values = [user_id, content_type.pk, flag, message, timezone.now()]
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


def log_addition(row: Model, *, user_id: int) -> None:
    log_rows(type(row), [row.pk], user_id=user_id, flag=ADDITION, message=json.dumps([{"added": {}}]))


def log_change(before: Model, after: Model, names: Iterable[str], *, user_id: int) -> None:
    """An entry that says which of these columns differ; none where none does."""
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    if changed:
        message = json.dumps([{"changed": {"fields": [_label(after, name) for name in changed]}}])
        log_rows(type(after), [after.pk], user_id=user_id, flag=CHANGE, message=message)


def _label(row: Model, name: str) -> str:
    """As a form of the admin names the field: in English, and translated when it is shown."""
    field: Any = row._meta.get_field(name)
    with override(None):
        return str(capfirst(field.verbose_name))
