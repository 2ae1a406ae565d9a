"""What a request says: who asks, for which rows, and what they read of them."""

from collections.abc import Mapping
from datetime import datetime
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


def as_read(versions: Mapping[int, str]) -> str:
    """Primary key → version, for a page to hand back."""
    return " ".join(f"{key}:{version}" for key, version in versions.items())


def versions_read(request: HttpRequest) -> dict[int, str]:
    """What as_read() wrote into the page that was posted; nothing of what else it may be."""
    pairs = (word.partition(":") for word in request.POST.get("read", "").split())
    return {int(key): version for key, _colon, version in pairs if key.isascii() and key.isdigit() and len(key) < 19}


def moment_asked(request: HttpRequest) -> datetime | None:
    """When the question was asked that is answered here; None where it says nothing that can be a moment."""
    try:
        moment = datetime.fromisoformat(request.POST.get("asked_at", ""))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
