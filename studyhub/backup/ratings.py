"""Which ratings a replaced database knew and the restored one does not."""

from contextlib import closing
from datetime import datetime
from typing import NamedTuple

from studyhub.backup.databases import wrapper_for

_MISSING = """
SELECT count(*), min(reviewed_at), max(reviewed_at) FROM memocards_review AS review
WHERE NOT EXISTS (SELECT FROM restored WHERE restored.id = review.id)
"""


class MissingRatings(NamedTuple):
    """How many, and when the learners made the first and the last of them."""

    ratings: int
    first: datetime | None
    last: datetime | None


def missing_ratings(*, replaced: str, restored: str) -> MissingRatings:
    """Compare two databases of the hub's server by the reviews' ids, inside PostgreSQL. A foreign one has none."""
    with (
        closing(wrapper_for(replaced)) as old,
        closing(wrapper_for(restored)) as new,
        old.cursor() as cursor,
        new.cursor() as source,
    ):
        cursor.execute("SELECT to_regclass('memocards_review') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return MissingRatings(0, None, None)
        cursor.execute("CREATE TEMPORARY TABLE restored (id uuid PRIMARY KEY)")
        with (
            source.copy("COPY (SELECT id FROM memocards_review) TO STDOUT (FORMAT BINARY)") as rows,
            cursor.copy("COPY restored FROM STDIN (FORMAT BINARY)") as target,
        ):
            for block in rows:
                target.write(block)
        cursor.execute(_MISSING)
        return MissingRatings(*cursor.fetchone())
