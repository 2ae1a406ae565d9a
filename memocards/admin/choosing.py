"""What a request says: who asks, and for which rows."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest


def user_id(request: HttpRequest) -> int:
    key = request.user.pk
    assert key is not None  # noqa: S101
    return key


def pin(queryset: QuerySet[Any]) -> list[int]:
    """The chosen rows, by primary key: after a change the filter of the list may match others, or none."""
    return list(queryset.order_by().values_list("pk", flat=True))
