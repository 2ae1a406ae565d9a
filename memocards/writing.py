"""How services write rows: locked in order of primary key, validated by the model, refused in sentences."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError, models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from memocards.errors import Conflict, Invalid, NotFound
from publish.keys import among

M = TypeVar("M", bound=models.Model)


def lock_row(model: type[M], key: int) -> M:
    """One row, locked until the transaction ends. Raises NotFound."""
    for row in model._base_manager.filter(pk=key).order_by("pk").select_for_update(no_key=True):
        return row
    raise NotFound(str(model._meta.verbose_name), key)


def lock_keys(model: type[models.Model], where: Q) -> list[int]:
    """Primary keys of the rows that match, in order, locked until the transaction ends."""
    matching = model._base_manager.filter(where).order_by("pk")
    return list(matching.select_for_update(no_key=True).values_list("pk", flat=True))


def share_rows(model: type[M], keys: Collection[int]) -> list[M]:
    """These rows, by primary key: nobody changes them until the transaction ends, but others may share them."""
    if not keys:
        return []
    sql, params = model._base_manager.filter(among(keys)).order_by("pk").query.sql_with_params()
    return list(model._base_manager.raw(f"{sql} FOR SHARE", params))


def update_rows(model: type[models.Model], keys: Collection[int], changes: Mapping[str, Any]) -> None:
    """Update these rows, which the caller has locked."""
    model._base_manager.filter(among(keys)).update(**changes, updated_at=timezone.now())


def save_valid(row: models.Model, changes: Mapping[str, Any]) -> None:
    """Set the changes, validate the row's fields and write it. Raises Invalid, naming each field.

    Constraints are left to the database, which alone can judge them under concurrency.
    """
    for name, value in changes.items():
        setattr(row, name, value)
    try:
        _refuse_nulls(row, changes)
        row.clean_fields()
        row.clean()
    except ValidationError as error:
        raise Invalid({_column(row, name): sentences for name, sentences in error.message_dict.items()}) from error
    try:
        if row._state.adding:
            row.save(force_insert=True)
        elif changes:
            row.save(update_fields=[*changes, "updated_at"])
    except IntegrityError as error:
        raise refusal(type(row), error) from error


def refusal(model: type[models.Model], error: IntegrityError) -> Exception:
    """What to raise for a broken constraint: its own sentence, where the model declares it; else the error itself."""
    diagnosis = getattr(error.__cause__, "diag", None)
    for constraint in model._meta.constraints:
        if diagnosis is not None and constraint.name == diagnosis.constraint_name:
            sentence = str(constraint.get_violation_error_message())
            if isinstance(constraint, models.UniqueConstraint):
                return Conflict(sentence)
            return Invalid({NON_FIELD_ERRORS: [sentence]})
    return error


def _refuse_nulls(row: models.Model, names: Collection[str]) -> None:
    """clean_fields() passes over null in a field that may be blank, and the column would refuse it without a name."""
    required = {name for field in row._meta.fields if not field.null for name in (field.name, field.attname)}
    missing = [name for name in names if name in required and getattr(row, name) is None]
    if missing:
        raise ValidationError({name: _("This field cannot be null.") for name in missing})


def _column(row: models.Model, name: str) -> str:
    """A relation by its column, such as `topic_id`: that is what callers write."""
    return name if name == NON_FIELD_ERRORS else str(getattr(row._meta.get_field(name), "attname", name))
