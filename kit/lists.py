"""Lists of the back office over tables that grow without end, and pages to look at alone."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[Any]
    BasePaginator = Paginator[Any]
else:
    BaseAdmin, BasePaginator = admin.ModelAdmin, Paginator


class EstimatingPaginator(BasePaginator):
    """Counts up to COUNTED_ROWS exactly. Beyond, a whole table is as long as PostgreSQL's statistics say.

    A filtered list beyond that shows its first COUNTED_ROWS only: filter or search further to see the rest.
    """

    COUNTED_ROWS = 10_000

    @cached_property
    def count(self) -> int:
        assert isinstance(self.object_list, QuerySet)  # noqa: S101
        counted = self.object_list.order_by()[: self.COUNTED_ROWS + 1].count()
        if counted <= self.COUNTED_ROWS or self.object_list.query.where:
            return min(counted, self.COUNTED_ROWS)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)",
                [connection.ops.quote_name(self.object_list.model._meta.db_table)],
            )
            return max(int(cursor.fetchone()[0]), counted)


class ReadOnlyAdmin(BaseAdmin):
    """Pages to look at: what is written elsewhere is written nowhere else."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
