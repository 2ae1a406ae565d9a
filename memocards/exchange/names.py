"""The names that exports give to rows, so that an import finds them again."""

from datetime import UTC, datetime, timedelta
from typing import Final

from memocards.models import MemoCard, Question

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What name_of() makes for a row without an external id: as a pattern, and in SQL, of a row called `stored`.
NAME_PATTERN: Final = r"^studyhub-\d+-\d+$"
NAME_SQL: Final = "'studyhub-' || stored.id || '-' || (extract(epoch FROM stored.created_at) * 1000000)::bigint"


def name_of(row: MemoCard | Question) -> str:
    """The row's external id; without one, made from its primary key and the microsecond of its creation.

    By that microsecond, the row of the same key in another hub has another name, and in a restored copy the same.
    """
    return row.external_id or f"studyhub-{row.pk}-{(row.created_at - _EPOCH) // timedelta(microseconds=1)}"
