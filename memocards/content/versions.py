"""What a reviewer read: a version names the content of a row, as learners would see it, so that an approval can say for
which content it is.

A version is a hash of the columns that a reviewer vouches for and, behind a dash, four digits for each of them, by
which can be said what changed. PostgreSQL computes it, from the row alone: what it says of a row that is locked holds
until the transaction ends.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from django.db.models import F, Func, Q, QuerySet, TextField, Value
from django.db.models.functions import Concat

from memocards.errors import ChangedRow, ChangedSince
from memocards.models import MemoCard, Question
from memocards.published import CARD, EXPLANATION, QUESTION
from memocards.states import Item
from publish.keys import among

# The columns that a reviewer vouches for. By the catalogue: what is published one day is reviewed from then on.
VOUCHED_FOR: Final[Mapping[type[Item], frozenset[Any]]] = {
    Question: frozenset({*QUESTION.fields.values(), *EXPLANATION.fields.values()} - {"id"}),
    MemoCard: frozenset(CARD.fields.values()),
}
# Half of SHA-256: nobody finds two texts of one hash.
_DIGITS: Final = 32
_DIGITS_OF_A_COLUMN: Final = 4


class _Hash(Func):
    """The first digits of the SHA-256 of some columns."""

    template = "left(encode(sha256(convert_to(json_build_array(%(expressions)s)::text, 'UTF8')), 'hex'), %(digits)s)"
    output_field = TextField()


def with_versions(rows: QuerySet[Any]) -> QuerySet[Any]:
    """These questions or cards with `version`: that of the content which this very statement reads."""
    columns = _columns(rows.model)
    hashes = (_Hash(F(column), digits=_DIGITS_OF_A_COLUMN) for column in columns)
    annotated: QuerySet[Any] = rows.annotate(
        version=Concat(_Hash(*map(F, columns), digits=_DIGITS), Value("-"), *hashes, output_field=TextField())
    )
    return annotated


def versions_of(model: type[Item], keys: Collection[int]) -> dict[int, str]:
    """Primary key → version, of those of these rows that exist; one statement."""
    rows = with_versions(model._base_manager.filter(among(keys))).order_by()
    return dict(rows.values_list("pk", "version"))


def lock_as_read(model: type[Item], versions: Mapping[int, str], where: Q) -> list[int]:
    """Lock those of these rows that match, in order of primary key, and return their keys; one statement.

    `versions`: primary key → the version that was read. Raises ChangedSince where a row that matches is another by now.
    """
    rows = with_versions(model._base_manager.filter(where, among(versions)))
    locked = dict(rows.order_by("pk").select_for_update(no_key=True).values_list("pk", "version"))
    if locked != {key: versions[key] for key in locked}:
        raise ChangedSince(changed_rows(model, {key: versions[key] for key in locked}))
    return list(locked)


def changed_rows(model: type[Item], versions: Mapping[int, str]) -> list[ChangedRow]:
    """Of these rows, which were read so, those that are others by now; in order of primary key."""
    present = versions_of(model, versions)
    changed = [key for key, version in present.items() if version != versions[key]]
    rows = model._base_manager.filter(pk__in=changed).order_by("pk")
    return [ChangedRow(row.pk, str(row), _changed_columns(model, versions[row.pk], present[row.pk])) for row in rows]


def _changed_columns(model: type[Item], read: str, present: str) -> dict[str, str]:
    """Column → its name on a page, of those that differ; none where what was read is no version."""
    if len(read) != len(present):
        return {}
    changed = {}
    for place, column in enumerate(_columns(model)):
        start = _DIGITS + 1 + place * _DIGITS_OF_A_COLUMN
        digits = slice(start, start + _DIGITS_OF_A_COLUMN)
        if read[digits] != present[digits]:
            field: Any = model._meta.get_field(column)
            changed[column] = str(field.verbose_name)
    return changed


def _columns(model: type[Item]) -> list[str]:
    return sorted(VOUCHED_FOR[model])
