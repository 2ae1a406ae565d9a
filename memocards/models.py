"""What is studied, and how far each learner is. Every rule that the database can hold is a constraint.

Rows that are published (topics, questions, cards, progress) are written by the services of this app, which
lock, write and enqueue in one transaction. Nothing is deleted by cascade: a foreign key refuses.
"""

import uuid
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.core.exceptions import ValidationError
from django.core.validators import (
    MaxLengthValidator,
    MaxValueValidator,
    MinValueValidator,
    ProhibitNullCharactersValidator,
)
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Length, Now
from django.db.models.lookups import IsNull, LessThanOrEqual
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from procrastinate.contrib.django.models import ProcrastinateJob

from kit.scheduling import SCHEDULERS
from memocards.limits import TEXT_LIMIT


def _text(verbose_name: Any, **options: Any) -> "models.TextField[str, str]":
    """A Markdown text field: at most TEXT_LIMIT characters, no NUL."""
    return models.TextField(
        verbose_name,
        max_length=TEXT_LIMIT,
        validators=[MaxLengthValidator(TEXT_LIMIT), ProhibitNullCharactersValidator()],
        **options,
    )


def _short(field: str, name: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        name=name,
        condition=LessThanOrEqual(Length(field), TEXT_LIMIT),
        violation_error_message=_("A text may have at most 20,000 characters."),
    )


def _not_blank(field: str, name: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        name=name,
        condition=Q(**{f"{field}__regex": r"\S"}),
        violation_error_message=_("This text may not be blank."),
    )


def _one_of(field: str, choices: type[models.TextChoices], name: str) -> models.CheckConstraint:
    return models.CheckConstraint(name=name, condition=Q(**{f"{field}__in": choices.values}))


def scheduler_choices() -> list[tuple[str, Any]]:
    """The schedulers that a topic may choose: name and title. A function, so that another one needs no migration."""
    return [(name, _(scheduler.title)) for name, scheduler in SCHEDULERS.items()]


class OutcomeName(models.TextChoices):
    AGAIN = "again", _("Again")
    HARD = "hard", _("Hard")
    GOOD = "good", _("Good")
    EASY = "easy", _("Easy")


class ExplanationStatus(models.TextChoices):
    NONE = "none", _("None")
    PENDING = "pending", _("Pending")
    RUNNING = "running", _("Running")
    READY = "ready", _("Ready")
    FAILED = "failed", _("Failed")


class Topic(models.Model):
    """A subject under which questions and cards are kept."""

    name = models.CharField(_("name"), max_length=200, validators=[ProhibitNullCharactersValidator()])
    description = _text(_("description"), blank=True, default="")
    position = models.PositiveIntegerField(_("position"), default=0)
    scheduler = models.CharField(
        _("scheduler"), max_length=20, choices=scheduler_choices, default=next(iter(SCHEDULERS))
    )
    exam_date = models.DateField(_("exam date"), null=True, blank=True)
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("topic")
        verbose_name_plural = _("topics")
        ordering = ["position", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(deleted_at__isnull=True),
                name="topic_name_unique_among_live",
                violation_error_message=_("There is a topic of this name already."),
            ),
            _not_blank("name", "topic_name_not_blank"),
            _short("description", "topic_description_short"),
            models.CheckConstraint(
                name="topic_scheduler_form", condition=Q(scheduler__regex=r"^[a-z][a-z0-9_]{0,19}$")
            ),
        ]

    def __str__(self) -> str:
        return self.name


class LearnerSettings(models.Model):
    """A learner's study settings. Locking this row serialises the ratings of one learner."""

    learner = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="study_settings",
        verbose_name=_("learner"),
    )
    time_zone = models.CharField(
        _("time zone"),
        max_length=64,
        blank=True,
        default="",
        help_text=_("Empty: the hub's STUDY_TIME_ZONE."),
    )
    rollover_hour = models.PositiveSmallIntegerField(
        _("day begins at hour"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(23)],
        help_text=_("Empty: the hub's DAY_ROLLOVER_HOUR."),
    )
    new_per_day = models.PositiveSmallIntegerField(_("new cards a day"), default=20)
    desired_retention = models.FloatField(
        _("desired retention"), default=0.9, validators=[MinValueValidator(0.7), MaxValueValidator(0.99)]
    )

    class Meta:
        verbose_name = _("learner settings")
        verbose_name_plural = _("learner settings")
        constraints = [
            models.CheckConstraint(name="learner_rollover_hour", condition=Q(rollover_hour__lte=23)),
            models.CheckConstraint(
                name="learner_desired_retention",
                condition=Q(desired_retention__gte=0.7, desired_retention__lte=0.99),
            ),
        ]

    def __str__(self) -> str:
        return str(self.learner)

    def clean(self) -> None:
        if self.time_zone:
            try:
                ZoneInfo(self.time_zone)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValidationError({"time_zone": _("This is not a time zone, such as Asia/Seoul.")}) from error


class ReviewedModel(models.Model):
    """What a reviewer passes: who wrote it, who approved it, or sent it back and why, and who looks at it now."""

    source = models.CharField(
        _("source"),
        max_length=500,
        blank=True,
        default="",
        db_default="",
        validators=[ProhibitNullCharactersValidator()],
        help_text=_("Where this came from: a book, a file, an exam."),
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("author"),
    )
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("reviewed by"),
    )
    reviewed_at = models.DateTimeField(_("reviewed at"), null=True, blank=True, editable=False)
    # What a learner answered offline before this moment still counts.
    unapproved_at = models.DateTimeField(_("un-approved at"), null=True, blank=True, editable=False)
    # Sent back: it waits for its author, not for a reviewer. The next edit puts it into the pile again.
    sent_back_at = models.DateTimeField(_("sent back at"), null=True, blank=True, editable=False)
    sent_back_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        db_index=False,
        verbose_name=_("sent back by"),
    )
    # Kept until the approval: whoever reviews it next sees what was wrong.
    sent_back_reason = models.CharField(
        _("reason for sending back"), max_length=500, blank=True, default="", db_default="", editable=False
    )
    # At the review desk: no other reviewer gets this row before that time. Nothing of a claim is published, so it is
    # no touch; and no index holds it, so that it costs no more than the row.
    claimed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        db_index=False,
        verbose_name=_("claimed by"),
    )
    claimed_until = models.DateTimeField(_("claimed until"), null=True, blank=True, editable=False)
    # No column: what names the content of a row that with_versions() read.
    version: str

    class Meta:
        abstract = True


class Question(ReviewedModel):
    """An exam question and, in the same row, its explanation, which is published on its own."""

    topic = models.ForeignKey(Topic, on_delete=models.PROTECT, related_name="questions", verbose_name=_("topic"))
    stem = _text(_("stem"))
    choices = ArrayField(
        models.TextField(validators=[ProhibitNullCharactersValidator()]),
        verbose_name=_("choices"),
        help_text=_("2 to 10 texts."),
    )
    answer = models.PositiveSmallIntegerField(
        _("answer"), validators=[MinValueValidator(1)], help_text=_("The number of the right choice, from 1.")
    )
    external_id = models.CharField(
        _("external id"),
        max_length=200,
        blank=True,
        default="",
        validators=[ProhibitNullCharactersValidator()],
        help_text=_("The name under which an import knows this row."),
    )
    needs_review = models.BooleanField(_("waits for review"), default=False)
    explanation = _text(_("explanation"), blank=True, default="")
    explanation_status = models.CharField(
        _("explanation status"),
        max_length=10,
        choices=ExplanationStatus.choices,
        default=ExplanationStatus.NONE,
    )
    explanation_generator = models.CharField(_("explained by"), max_length=200, blank=True, default="")
    explanation_error = models.TextField(_("explanation error"), blank=True, default="")
    explanation_attempts = models.PositiveSmallIntegerField(_("explanation attempts"), default=0)
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("question")
        verbose_name_plural = _("questions")
        ordering = ["id"]
        permissions = [("approve_question", "Can approve questions, and send them back")]
        constraints = [
            models.UniqueConstraint(
                fields=["topic", "external_id"],
                condition=~Q(external_id=""),
                name="question_external_id_unique",
                violation_error_message=_("This topic has a question of this external id already."),
            ),
            _not_blank("stem", "question_stem_not_blank"),
            _short("stem", "question_stem_short"),
            _short("explanation", "question_explanation_short"),
            models.CheckConstraint(
                name="question_choices_two_to_ten",
                condition=Q(choices__len__gte=2, choices__len__lte=10),
                violation_error_message=_("A question has 2 to 10 choices."),
            ),
            models.CheckConstraint(
                name="question_choices_not_empty",
                condition=~Q(choices__contains=[""]),
                violation_error_message=_("A choice may not be empty."),
            ),
            models.CheckConstraint(
                name="question_choices_not_null",
                condition=IsNull(
                    Func(F("choices"), Value(None), function="array_position", output_field=models.IntegerField()),
                    True,
                ),
                violation_error_message=_("A choice may not be empty."),
            ),
            models.CheckConstraint(
                name="question_choices_short",
                condition=LessThanOrEqual(
                    Length(
                        Func(
                            F("choices"),
                            Value(""),
                            function="array_to_string",
                            output_field=models.TextField(),
                        )
                    ),
                    TEXT_LIMIT,
                ),
                violation_error_message=_("All choices together may have at most 20,000 characters."),
            ),
            models.CheckConstraint(
                name="question_answer_is_a_choice",
                condition=Q(answer__gte=1, answer__lte=F("choices__len")),
                violation_error_message=_("The answer is the number of a choice, counted from 1."),
            ),
            _one_of("explanation_status", ExplanationStatus, "question_explanation_status_known"),
            models.CheckConstraint(
                name="question_ready_explanation_has_text",
                condition=~Q(explanation_status=ExplanationStatus.READY) | Q(explanation__regex=r"\S"),
                violation_error_message=_("An explanation that is ready may not be blank."),
            ),
        ]
        indexes = [
            # The review pile: questions that wait, oldest first.
            models.Index(
                fields=["id"],
                name="question_waiting",
                condition=Q(needs_review=True, deleted_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return self.stem[:80]


class MemoCard(ReviewedModel):
    """A card with a front and a back. New cards wait for review."""

    topic = models.ForeignKey(Topic, on_delete=models.PROTECT, related_name="cards", verbose_name=_("topic"))
    question = models.ForeignKey(
        Question,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="cards",
        verbose_name=_("question"),
    )
    front = _text(_("front"))
    back = _text(_("back"))
    tags = ArrayField(
        models.CharField(max_length=100, validators=[ProhibitNullCharactersValidator()]),
        verbose_name=_("tags"),
        default=list,
        blank=True,
    )
    external_id = models.CharField(
        _("external id"),
        max_length=200,
        blank=True,
        default="",
        validators=[ProhibitNullCharactersValidator()],
        help_text=_("The name under which an import knows this row."),
    )
    needs_review = models.BooleanField(_("waits for review"), default=True)
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("memo card")
        verbose_name_plural = _("memo cards")
        ordering = ["id"]
        permissions = [("approve_memocard", "Can approve memo cards, and send them back")]
        constraints = [
            models.UniqueConstraint(
                fields=["topic", "external_id"],
                condition=~Q(external_id=""),
                name="card_external_id_unique",
                violation_error_message=_("This topic has a card of this external id already."),
            ),
            _not_blank("front", "card_front_not_blank"),
            _not_blank("back", "card_back_not_blank"),
            _short("front", "card_front_short"),
            _short("back", "card_back_short"),
            models.CheckConstraint(
                name="card_tags_at_most_50",
                condition=Q(tags__len__lte=50),
                violation_error_message=_("A card has at most 50 tags."),
            ),
        ]
        indexes = [
            # The review pile: cards that wait, oldest first.
            models.Index(fields=["id"], name="card_waiting", condition=Q(needs_review=True, deleted_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.front[:80]


class CardProgress(models.Model):
    """How far one learner is with one card: always the fold of the reviews that are not undone.

    `due_at` is NULL for a sentinel: a card known on first sight, or graduated.
    """

    learner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("learner")
    )
    card = models.ForeignKey(MemoCard, on_delete=models.PROTECT, related_name="progress", verbose_name=_("card"))
    # As the card's: a payload is built from its own row, never from a join.
    topic = models.ForeignKey(Topic, on_delete=models.PROTECT, related_name="+", verbose_name=_("topic"))
    last_outcome = models.CharField(_("last outcome"), max_length=5, choices=OutcomeName.choices)
    last_reviewed_at = models.DateTimeField(_("last reviewed at"))
    due_at = models.DateTimeField(_("due at"), null=True, blank=True)
    review_stage = models.PositiveSmallIntegerField(_("stage"), default=0)
    review_count = models.PositiveIntegerField(_("reviews"), default=0)
    lapse_count = models.PositiveIntegerField(_("lapses"), default=0)
    scheduler_state = models.JSONField(_("scheduler state"), default=dict, blank=True)
    fold_key = models.CharField(_("fold key"), max_length=200, default="")
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("card progress")
        verbose_name_plural = _("card progress")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["learner", "card"], name="progress_learner_card_unique"),
            _one_of("last_outcome", OutcomeName, "progress_outcome_known"),
            models.CheckConstraint(
                name="progress_lapses_at_most_reviews", condition=Q(lapse_count__lte=F("review_count"))
            ),
        ]
        indexes = [
            # A learner's queue: what is due, soonest first; sentinels are never due.
            models.Index(fields=["learner", "due_at"], name="progress_due", condition=Q(due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.learner_id} · {self.card_id}"


class Review(models.Model):
    """One answer of a learner to a card. Append-only: an undo marks the row, nothing deletes it."""

    # From the client: the same id again is the same review.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    learner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("learner")
    )
    card = models.ForeignKey(MemoCard, on_delete=models.PROTECT, related_name="reviews", verbose_name=_("card"))
    outcome = models.CharField(_("outcome"), max_length=5, choices=OutcomeName.choices)
    reviewed_at = models.DateTimeField(_("reviewed at"), help_text=_("When the learner did it, corrected."))
    claimed_at = models.DateTimeField(_("claimed at"), null=True, blank=True, help_text=_("As the client sent it."))
    # The claimed time lay in the future, and another stands for it.
    clamped = models.BooleanField(_("clamped"), default=False, db_default=False, editable=False)
    received_at = models.DateTimeField(_("received at"), db_default=Now(), editable=False)
    duration_ms = models.PositiveIntegerField(_("duration in ms"), null=True, blank=True)
    undone_at = models.DateTimeField(_("undone at"), null=True, blank=True)
    # As answered then; a later fold never rewrites them. NULL stage: the card was, or became, unseen.
    stage_before = models.PositiveSmallIntegerField(_("stage before"), null=True, blank=True)
    due_before = models.DateTimeField(_("due before"), null=True, blank=True)
    stage_after = models.PositiveSmallIntegerField(_("stage after"))
    due_after = models.DateTimeField(_("due after"), null=True, blank=True)

    class Meta:
        verbose_name = _("review")
        verbose_name_plural = _("reviews")
        ordering = ["reviewed_at", "id"]
        constraints = [_one_of("outcome", OutcomeName, "review_outcome_known")]
        indexes = [
            # The fold of one card: its answers in the order in which they were given.
            models.Index(
                fields=["learner", "card", "reviewed_at", "id"],
                name="review_fold",
                condition=Q(undone_at__isnull=True),
            ),
            # Statistics by study day, and the last review of a learner.
            models.Index(fields=["learner", "reviewed_at"], name="review_by_learner"),
            # The dashboard: answers by the day they came in. Rows come in that order, so a few pages of index do.
            BrinIndex(fields=["received_at"], name="review_by_arrival"),
        ]

    def __str__(self) -> str:
        return f"{self.learner_id} · {self.card_id}"


class ExplanationJob(ProcrastinateJob):
    """Procrastinate's job under a name of ours, for the list in the back office. Whoever may see questions sees it."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("explanation job")
        verbose_name_plural = _("explanation jobs")

    def __str__(self) -> str:
        return gettext("Explanation of question %s") % str(self.args.get("question_id", "–"))
