"""The catalogue of what is published: one entry per kind.

A payload is declared once, field by field, as Django expressions over the source row's own columns; so is liveness.
Both compile into the one statement by which services.py and backfill.py fill the outbox. The source models are named
by lazy labels, so that this app imports nothing of the domain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.apps import apps
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Func, Q, Value
from django.db.models.expressions import Combinable
from django.db.models.sql.compiler import SQLCompiler

from publish.models import RawJSONField


class UnknownKind(ValueError):
    """A kind was named that is not in the catalogue."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Unknown kind {name!r}. The kinds are: {', '.join(KINDS)}.")


class JsonBuildObject(Func):
    """`json_build_object('key', value, …)`: keeps the declared order of the keys. (Django's JSONObject is jsonb.)"""

    function = "json_build_object"
    output_field = RawJSONField()

    def __init__(self, fields: Mapping[str, Combinable | str]) -> None:
        parts: list[Any] = []
        for key, value in fields.items():
            parts += [Value(key), value]
        super().__init__(*parts)

    def as_sql(  # type: ignore[override]
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, list[Any]]:
        pairs: list[str] = []
        params: list[Any] = []
        expressions = self.get_source_expressions()
        for key, value in zip(expressions[::2], expressions[1::2], strict=True):
            # A cast, since with server-side parameters PostgreSQL cannot tell the type of a bare key.
            pairs.append("%s::text")
            params.append(key.value)
            sql, value_params = compiler.compile(value)
            pairs.append(sql)
            params += value_params
        return f"json_build_object({', '.join(pairs)})", params


class UtcText(Func):
    """A moment as `YYYY-MM-DDTHH:MM:SS.ffffffZ`, whatever the session's time zone. NULL stays NULL."""

    template = """to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    output_field = models.TextField()


@dataclass(frozen=True)
class Kind:
    """How one source model appears in the feed.

    `fields`: payload key → column or expression. `live`: true while viewers should see the row. `owner`: the column
    that holds the learner whose eyes alone may see it; None for what everyone sees. Raise `schema_version` with every
    change to `fields`, and backfill.
    """

    name: str
    model_label: str
    fields: Mapping[str, Combinable | str]
    live: Q
    owner: str | None = None
    schema_version: int = 1

    @cached_property
    def model(self) -> type[models.Model]:
        return apps.get_model(self.model_label)

    @property
    def table(self) -> str:
        return self.model._meta.db_table


_CATALOGUE = (
    Kind(
        name="topic",
        model_label="memocards.Topic",
        fields={"name": "name", "description": "description", "position": "position"},
        live=Q(deleted_at__isnull=True),
    ),
    Kind(
        name="question",
        model_label="memocards.Question",
        fields={
            "topic_id": "topic_id",
            "stem": "stem",
            "choices": "choices",
            "answer": "answer",
            "source": "source",
        },
        live=Q(deleted_at__isnull=True, needs_review=False),
    ),
    Kind(
        name="explanation",
        model_label="memocards.Question",
        fields={"question_id": "id", "body": "explanation"},
        live=Q(deleted_at__isnull=True, needs_review=False, explanation_status="ready"),
    ),
    Kind(
        name="card",
        model_label="memocards.MemoCard",
        fields={
            "topic_id": "topic_id",
            "question_id": "question_id",
            "front": "front",
            "back": "back",
            "tags": "tags",
        },
        live=Q(deleted_at__isnull=True, needs_review=False),
    ),
    Kind(
        name="card_progress",
        model_label="memocards.CardProgress",
        fields={
            "card_id": "card_id",
            "topic_id": "topic_id",
            "last_outcome": "last_outcome",
            "last_reviewed_at": UtcText(F("last_reviewed_at")),
            "due_at": UtcText(F("due_at")),
            "review_stage": "review_stage",
        },
        live=Q(pk__isnull=False),
        owner="learner_id",
    ),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _CATALOGUE}


def get_kind(name: str) -> Kind:
    """The catalogue's entry of that name. Raises UnknownKind."""
    try:
        return KINDS[name]
    except (KeyError, TypeError):
        raise UnknownKind(name) from None
