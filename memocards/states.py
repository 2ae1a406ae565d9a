"""The states of content, each defined once: as a condition for a query, as a question to a row that was read, and as
what a change of state writes.

A row is deleted, or it is live; a live question or card is approved, waits in the pile for a reviewer, or was sent back
and waits for its author.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

from django.db import connection
from django.db.models import Case, DateTimeField, F, Model, Q, Value, When
from django.db.models.sql.compiler import SQLCompiler

from memocards.models import MemoCard, Question, Topic

Item: TypeAlias = Question | MemoCard

LIVE: Final = Q(deleted_at__isnull=True)
DELETED: Final = Q(deleted_at__isnull=False)
UNAPPROVED: Final = Q(needs_review=True)
APPROVED: Final = Q(needs_review=False)
# What learners see.
SEEN: Final = LIVE & APPROVED
# In the pile: a reviewer is next.
WAITING: Final = LIVE & UNAPPROVED & Q(sent_back_at__isnull=True)
# The author is next.
SENT_BACK: Final = LIVE & UNAPPROVED & Q(sent_back_at__isnull=False)


class State(StrEnum):
    """Where a row stands. A topic is live or deleted, and nothing else."""

    LIVE = "live"
    DELETED = "deleted"
    APPROVED = "approved"
    WAITING = "waiting"
    SENT_BACK = "sent_back"


def state_of(row: Topic | Item) -> State:
    """The state of a row that was read."""
    if row.deleted_at is not None:
        return State.DELETED
    if isinstance(row, Topic):
        return State.LIVE
    if not row.needs_review:
        return State.APPROVED
    return State.WAITING if row.sent_back_at is None else State.SENT_BACK


# What a change of state writes. The reason of a sending back is kept until the approval: whoever reviews the row next
# sees what was wrong.
INTO_THE_PILE: Final[Mapping[str, Any]] = {"sent_back_at": None, "sent_back_by_id": None}
NEVER_SENT_BACK: Final[Mapping[str, Any]] = {**INTO_THE_PILE, "sent_back_reason": ""}
NOBODYS: Final[Mapping[str, Any]] = {"claimed_by_id": None, "claimed_until": None}
WITHOUT_APPROVAL: Final[Mapping[str, Any]] = {"needs_review": True, "reviewed_by_id": None, "reviewed_at": None}


def approving(reviewer_id: int | None, moment: datetime) -> dict[str, Any]:
    """What an approval writes."""
    return {
        "needs_review": False,
        "reviewed_by_id": reviewer_id,
        "reviewed_at": moment,
        "unapproved_at": None,
        **NEVER_SENT_BACK,
        **NOBODYS,
    }


def unapproving(moment: datetime) -> dict[str, Any]:
    """What an un-approval writes: `moment` where learners see the row; else the time stays at which they ceased to."""
    seen = When(APPROVED, then=Value(moment, output_field=DateTimeField()))
    return {**WITHOUT_APPROVAL, "unapproved_at": Case(seen, default=F("unapproved_at"))}


def sending_back(reason: str, reviewer_id: int | None, moment: datetime) -> dict[str, Any]:
    """What sending a row back to its author writes."""
    return {
        **unapproving(moment),
        "sent_back_at": moment,
        "sent_back_by_id": reviewer_id,
        "sent_back_reason": reason,
        **NOBODYS,
    }


def condition(where: Q, model: type[Model], *, alias: str) -> str:
    """One of the conditions above in SQL, for a table that a statement names `alias`."""
    query = model._base_manager.filter(where).order_by().query
    query.change_aliases({model._meta.db_table: alias})
    compiler: SQLCompiler = query.get_compiler(connection=connection)
    text, params = query.where.as_sql(compiler, connection)
    if params:
        raise ValueError("The condition of a state reads columns alone.")
    return text
