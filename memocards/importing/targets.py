"""Where rows go: for each kind its table, what a change is, and what a change does to a row that is there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection, models
from django.db.models import Q
from django.db.models.fields import NOT_PROVIDED
from psycopg import sql

from memocards.importing.rows import CardRow, QuestionRow, Row, RowKind
from memocards.models import ExplanationStatus, MemoCard, Question
from memocards.states import INTO_THE_PILE, WITHOUT_APPROVAL, condition
from publish.services import enqueue_card_publish, enqueue_question_publish


@dataclass(frozen=True)
class Target:
    """`columns`: staged column → (its type, its value in terms of `stage` and, where the row exists, `stored`)."""

    model: type[models.Model]
    columns: Mapping[str, tuple[str, str]]
    values: Callable[[Any], tuple[Any, ...]]
    # On top of the columns, when a stored row changes; `moment` is the time of the import.
    on_change: Mapping[str, str]
    # On top of the columns, for a new row; everything else takes the model's default.
    on_insert: Mapping[str, str]
    enqueue: Callable[..., int]

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.model._meta.db_table)

    @property
    def stage_columns(self) -> list[str]:
        return ["number", "place", "topic", "topic_id", "external_id", *self.columns]

    def staged(self, number: int, topic: str, topic_id: int | None, row: Row) -> tuple[Any, ...]:
        """A row as it is copied into the stage: with the name of its topic only while that is not there."""
        return (number, row.place, None if topic_id else topic, topic_id, row.external_id, *self.values(row))

    def differs(self) -> sql.Composable:
        """Whether `stored` is not yet what `stage` says."""
        pairs = (
            sql.SQL("stored.{}::{} IS DISTINCT FROM {}").format(sql.Identifier(name), sql.SQL(kind), sql.SQL(value))
            for name, (kind, value) in self.columns.items()
        )
        return sql.SQL("({})").format(sql.SQL(" OR ").join(pairs))

    def state(self, where: Q) -> sql.Composable:
        """Whether `stored` is in a state of states.py."""
        return sql.SQL(condition(where, self.model, alias="stored"))

    def assignments(self) -> sql.Composable:
        """SET for a stored row that changes."""
        values = {**{name: value for name, (_kind, value) in self.columns.items()}, **self.on_change}
        return sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.SQL(value)) for name, value in values.items()
        )

    def insertion(self) -> tuple[sql.Composable, sql.Composable]:
        """The columns of a new row, and their values in terms of `stage`.

        By the model's fields, so that a column that is added to it later takes its default here too.
        """
        known = {"topic_id": "stage.topic_id", "external_id": "stage.external_id", **self.on_insert}
        names: list[sql.Composable] = []
        values: list[sql.Composable] = []
        for field in self.model._meta.concrete_fields:
            if field.primary_key or (field.column not in known and field.db_default is not NOT_PROVIDED):
                continue
            names.append(sql.Identifier(field.column))
            if field.column in known:
                values.append(sql.SQL(known[field.column]))
            elif getattr(field, "auto_now", False):
                values.append(sql.SQL("%(moment)s"))
            else:
                values.append(sql.Literal(field.get_db_prep_save(field.get_default(), connection)))
        return sql.SQL(", ").join(names), sql.SQL(", ").join(values)


def _card_values(row: CardRow) -> tuple[Any, ...]:
    return row.front, row.back, None if row.tags is None else list(row.tags), row.source


def _question_values(row: QuestionRow) -> tuple[Any, ...]:
    return row.stem, list(row.choices), row.answer, row.source, row.explanation


def _if_explanation_changes(value: str, otherwise: str) -> str:
    return f"CASE WHEN stage.explanation <> stored.explanation THEN {value} ELSE {otherwise} END"


# What un-approving and editing by hand do: see Editorial.update().
_BACK_INTO_THE_PILE: Final = {
    **{name: sql.Literal(value).as_string() for name, value in {**WITHOUT_APPROVAL, **INTO_THE_PILE}.items()},
    "unapproved_at": "CASE WHEN stored.needs_review THEN stored.unapproved_at ELSE %(moment)s END",
    "updated_at": "%(moment)s",
}
_NEW: Final = {"needs_review": "true", "author_id": "%(author)s"}

TARGETS: Final[Mapping[RowKind, Target]] = {
    RowKind.CARD: Target(
        model=MemoCard,
        columns={
            "front": ("text", "stage.front"),
            "back": ("text", "stage.back"),
            "tags": ("text[]", "coalesce(stage.tags, stored.tags::text[])"),
            "source": ("text", "coalesce(stage.source, stored.source)"),
        },
        values=_card_values,
        on_change=_BACK_INTO_THE_PILE,
        on_insert={
            "front": "stage.front",
            "back": "stage.back",
            "tags": "coalesce(stage.tags, '{}')",
            # A card's source is for reviewers only, who can filter by it.
            "source": "coalesce(stage.source, left(%(file)s, 500))",
            **_NEW,
        },
        enqueue=enqueue_card_publish,
    ),
    RowKind.QUESTION: Target(
        model=Question,
        columns={
            "stem": ("text", "stage.stem"),
            "choices": ("text[]", "stage.choices"),
            "answer": ("smallint", "stage.answer"),
            "source": ("text", "coalesce(stage.source, stored.source)"),
            "explanation": ("text", "coalesce(stage.explanation, stored.explanation)"),
        },
        values=_question_values,
        on_change={
            "explanation_status": _if_explanation_changes(f"'{ExplanationStatus.READY}'", "stored.explanation_status"),
            "explanation_generator": _if_explanation_changes("''", "stored.explanation_generator"),
            "explanation_error": _if_explanation_changes("''", "stored.explanation_error"),
            **_BACK_INTO_THE_PILE,
        },
        on_insert={
            "stem": "stage.stem",
            "choices": "stage.choices",
            "answer": "stage.answer",
            "source": "coalesce(stage.source, '')",
            "explanation": "coalesce(stage.explanation, '')",
            "explanation_status": (
                f"CASE WHEN stage.explanation IS NULL THEN '{ExplanationStatus.NONE}'"
                f" ELSE '{ExplanationStatus.READY}' END"
            ),
            **_NEW,
        },
        enqueue=enqueue_question_publish,
    ),
}
