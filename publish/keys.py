"""Rows by their keys, however many: the keys go to PostgreSQL as one array, not as a parameter each."""

from collections.abc import Collection
from typing import Any

from django.db.models import BigIntegerField, BooleanField, F, Func, Q


class _Among(Func):
    template = "%(expressions)s = ANY (%%s::bigint[])"
    output_field = BooleanField()

    def __init__(self, column: Any, keys: list[int]) -> None:
        self.keys = keys
        super().__init__(column)

    def as_sql(self, *args: Any, **kwargs: Any) -> tuple[str, Any]:
        sql, params = super().as_sql(*args, **kwargs)
        return sql, (*params, self.keys)


def among(keys: Collection[int], column: str = "pk") -> Q:
    """The rows of which this column is one of these. With `__in`, thirty thousand keys take a second to write down,
    and that while rows are locked."""
    possible = [key for key in keys if abs(key) <= BigIntegerField.MAX_BIGINT]
    # Of no keys Django knows without asking that there are no such rows.
    return Q(_Among(F(column), possible)) if possible else Q(pk__in=[])
