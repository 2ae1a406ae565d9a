"""The catalogue of what is published: one entry per kind, registered as admin classes are.

An app declares its kinds in its `published.py`, which is imported when Django starts. A payload is declared once, field
by field, as Django expressions over the source row's own columns; so is liveness. Both compile into the one statement
by which services.py and backfill.py fill the outbox.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func, Q, Value
from django.db.models.expressions import Combinable
from django.db.models.sql.compiler import SQLCompiler

from kit.problems import ProblemError
from publish.models import KIND_FORM, RawJSONField


class UnknownKind(ProblemError, ValueError):
    """A kind was named that is not in the catalogue."""

    status, slug = 422, "unknown-kind"

    def __init__(self, name: str) -> None:
        super().__init__(f"Unknown kind {name!r}. The kinds are: {', '.join(CATALOGUE)}.")

    def particulars(self) -> dict[str, Any]:
        return {"errors": {"kinds": [str(self)]}}


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
class PublishedKind:
    """How one source model appears in the feed.

    `name`: 1 to 32 small letters and underscores. `fields`: payload key → column or expression. `live`: true while
    viewers should see the row; like the fields it reads the row's own columns only. `owner`: the column that holds the
    learner whose eyes alone may see it; None for what everyone sees. Raise `schema_version` with every change to
    `fields`, and backfill.
    """

    name: str
    model: type[models.Model]
    fields: Mapping[str, Combinable | str]
    live: Q
    owner: str | None = None
    schema_version: int = 1

    @property
    def table(self) -> str:
        return self.model._meta.db_table


# In the order of registration, in which commands go through them.
CATALOGUE: Final[dict[str, PublishedKind]] = {}


def register(*kinds: PublishedKind) -> None:
    """Publish these kinds from now on. Call it in an app's `published.py`.

    Raises ImproperlyConfigured for a name that is taken or that the outbox would not take.
    """
    for kind in kinds:
        if not re.fullmatch(KIND_FORM, kind.name):
            raise ImproperlyConfigured(f"{kind.name!r} names no kind: 1 to 32 small letters and underscores do.")
        if kind.name in CATALOGUE:
            raise ImproperlyConfigured(f"Two kinds are called {kind.name!r}.")
        CATALOGUE[kind.name] = kind


def get_kind(name: str) -> PublishedKind:
    """The catalogue's entry of that name. Raises UnknownKind."""
    try:
        return CATALOGUE[name]
    except (KeyError, TypeError):
        raise UnknownKind(name) from None
