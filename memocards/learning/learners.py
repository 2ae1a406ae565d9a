"""A learner's study settings: reading them, locking them, changing them, and the study days that follow."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from kit.scheduling import StudyClock
from kit.transactions import in_transaction
from memocards.errors import Invalid
from memocards.models import LearnerSettings


def read_settings(learner_id: int) -> LearnerSettings:
    """The learner's settings, not locked. For one who has none yet, the defaults, which are not stored."""
    return LearnerSettings.objects.filter(learner_id=learner_id).first() or LearnerSettings(learner_id=learner_id)


def lock_learner(learner_id: int) -> LearnerSettings:
    """The learner's settings, locked until the transaction ends; made on first use."""
    locked = LearnerSettings.objects.select_for_update(no_key=True).order_by("pk")
    learner = locked.filter(learner_id=learner_id).first()
    if learner is None:
        LearnerSettings.objects.bulk_create([LearnerSettings(learner_id=learner_id)], ignore_conflicts=True)
        learner = locked.get(learner_id=learner_id)
    return learner


def study_clock(learner: LearnerSettings) -> StudyClock:
    """The learner's study days; the hub's settings stand in for what the learner has not set."""
    hour = learner.rollover_hour
    return StudyClock(
        time_zone=learner.time_zone or settings.STUDY_TIME_ZONE,
        rollover_hour=settings.DAY_ROLLOVER_HOUR if hour is None else hour,
    )


@in_transaction
def change_settings(*, learner_id: int, changes: Mapping[str, Any]) -> LearnerSettings:
    """Change some settings, between two ratings of the learner and not during one. Raises Invalid.

    What was answered before keeps its due time until it is answered again, or rescheduled.
    """
    learner = lock_learner(learner_id)
    for name, value in changes.items():
        setattr(learner, name, value)
    # clean_fields() passes over null in a field that may be blank.
    missing = [name for name, value in changes.items() if value is None and name != "rollover_hour"]
    if missing:
        raise Invalid({name: [_("This may not be null. Leave it out to keep it as it is.")] for name in missing})
    try:
        learner.clean_fields()
        learner.clean()
    except ValidationError as error:
        raise Invalid(error.message_dict) from error
    if changes:
        learner.save(update_fields=list(changes))
    return learner
