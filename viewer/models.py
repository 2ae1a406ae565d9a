"""What the viewer holds: the hub's rows as they were published, and the ratings made here.

References between published rows are plain integers. The feed may bring a child before its parent, or a child
whose parent is not published at all; both are normal, and readers join such rows away.
"""

from django.db import models
from django.db.models import F, Q

from kit.attempts import PasswordAttempts


class Projection(models.Model):
    """One published row, keyed by the hub's id."""

    id = models.BigIntegerField(primary_key=True)
    seq = models.BigIntegerField()
    # The scan of the feed that brought the row. Starting over begins a new one, and what it did not bring by
    # the time it reaches the head is no longer published.
    generation = models.BigIntegerField()
    hash = models.TextField()
    schema_version = models.BigIntegerField()

    class Meta:
        abstract = True


class Topic(Projection):
    name = models.TextField()
    description = models.TextField()
    position = models.BigIntegerField()

    def __str__(self) -> str:
        return self.name


class Question(Projection):
    topic_id = models.BigIntegerField()
    stem = models.TextField()
    choices: "models.JSONField[list[str], list[str]]" = models.JSONField()
    answer = models.BigIntegerField(help_text="Which choice is right, counted from 1")
    source = models.TextField()

    class Meta:
        indexes = [
            # The questions of one topic, page by page, and their number.
            models.Index(fields=["topic_id", "id"], name="question_by_topic"),
        ]

    def __str__(self) -> str:
        return f"question {self.pk}"


class Explanation(Projection):
    """Its id is the question's: the hub publishes it as a second projection of the same row."""

    question_id = models.BigIntegerField()
    body = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["question_id"], name="explanation_by_question")]

    def __str__(self) -> str:
        return f"explanation of question {self.question_id}"


class Card(Projection):
    topic_id = models.BigIntegerField()
    question_id = models.BigIntegerField(null=True)
    front = models.TextField()
    back = models.TextField()
    tags: "models.JSONField[list[str], list[str]]" = models.JSONField()

    class Meta:
        indexes = [
            # The cards of one topic, page by page; the counts by topic on the home page.
            models.Index(fields=["topic_id", "id"], name="card_by_topic"),
            # The cards of one question.
            models.Index(fields=["question_id"], name="card_by_question", condition=Q(question_id__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"card {self.pk}"


class CardProgress(Projection):
    card_id = models.BigIntegerField()
    topic_id = models.BigIntegerField()
    learner_id = models.BigIntegerField(null=True)
    last_outcome = models.TextField()
    last_reviewed_at = models.DateTimeField(null=True)
    # Empty is the sentinel: known on first sight, or graduated. Neither due nor unseen.
    due_at = models.DateTimeField(null=True)
    review_stage = models.BigIntegerField(null=True)

    class Meta:
        indexes = [
            # "Which cards have no progress" asks once per card; so does a card's own page.
            models.Index(fields=["card_id"], name="progress_by_card"),
            # "What is due by now"; sentinels are never asked for.
            models.Index(fields=["due_at", "card_id"], name="progress_due", condition=Q(due_at__isnull=False)),
            # The part of it that comes first.
            models.Index(
                fields=["due_at", "card_id"],
                name="progress_lapsed",
                condition=Q(due_at__isnull=False, last_outcome="again"),
            ),
        ]

    def __str__(self) -> str:
        return f"progress on card {self.card_id}"


class UnknownItem(models.Model):
    """An item this version cannot apply: kept as it came, so that a newer version can, and reported."""

    kind = models.TextField()
    source_id = models.BigIntegerField()
    seq = models.BigIntegerField()
    generation = models.BigIntegerField()
    hash = models.TextField()
    schema_version = models.BigIntegerField()
    learner_id = models.BigIntegerField(null=True)
    # Text, because a payload may hold what a JSON column refuses, and that must not stop the feed.
    payload = models.TextField()
    reason = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "source_id"], name="one_unknown_item_per_key")]

    def __str__(self) -> str:
        return f"{self.kind} {self.source_id}: {self.reason}"


class Owner(models.Model):
    """Whose rows these are: one subscriber of one hub. One row, from the moment on when the hub has said so."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    # Empty in a database that a viewer without owners has filled, until the hub says whose its source is.
    hub = models.UUIDField(null=True)
    subscriber_id = models.BigIntegerField(null=True)
    learner_id = models.BigIntegerField(null=True)
    hub_url = models.TextField(default="", help_text="Where the hub was when it said so last")
    # Fingerprints of the pairs of HUB_URL and HUB_TOKEN that the hub has confirmed to be this owner's.
    sources: "models.JSONField[list[str], list[str]]" = models.JSONField(default=list)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_owner")]

    def __str__(self) -> str:
        return f"subscriber {self.subscriber_id} of the hub {self.hub}"


class SyncState(models.Model):
    """How far the feed was followed. One row; the cursor moves in the transaction that applies its page."""

    class Failure(models.TextChoices):
        NONE = ""
        AWAY = "away"
        TOKEN = "token"  # noqa: S105 - the name of a failure
        ERASED = "erased"

    id = models.SmallIntegerField(primary_key=True, default=1)
    cursor = models.TextField(default="")
    generation = models.BigIntegerField(default=1)
    # True from a start at the empty cursor until the head is reached: rows of earlier generations still show.
    scanning = models.BooleanField(default=True)
    seq = models.BigIntegerField(default=0, help_text="The highest feed position applied in this scan")
    head = models.BigIntegerField(default=0, help_text="Where the feed ended when it was last read")
    at_head = models.BooleanField(default=False)
    learner_id = models.BigIntegerField(null=True)
    several_learners = models.BooleanField(default=False)
    synced_at = models.DateTimeField(null=True)
    # By this machine's clock, as of the last page. Well before `synced_at`, no relay runs at the hub.
    published_at = models.DateTimeField(null=True, help_text="When the hub last published, or had nothing to publish")
    failure = models.TextField(choices=Failure.choices, default=Failure.NONE)
    failure_sentence = models.TextField(default="")
    # The hub asked for a pause, or did not answer in time: a rating made before then does not try it at once.
    rest_until = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_sync_state")]

    def __str__(self) -> str:
        return f"at {self.seq} of {self.head}"

    @property
    def behind(self) -> int:
        return 0 if self.at_head else max(self.head - self.seq, 0)


class UnlockAttempts(PasswordAttempts):
    """Attempts to unlock this viewer."""


class Lock(models.Model):
    """One row: what every unlocked session knows. Locking changes it, so all of them are locked at once."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    secret = models.TextField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_lock")]

    def __str__(self) -> str:
        return "the lock"


class Outcome(models.TextChoices):
    AGAIN = "again", "Again"
    HARD = "hard", "Hard"
    GOOD = "good", "Good"
    EASY = "easy", "Easy"


class Rating(models.Model):
    """A rating made here. Its id is the hub's review_id, so sending it twice counts once."""

    class State(models.TextChoices):
        WAITING = "waiting"
        ACCEPTED = "accepted"
        REFUSED = "refused"

    id = models.UUIDField(primary_key=True)
    # Whose answer it is: it is sent as nobody else's.
    hub = models.UUIDField(null=True)
    learner_id = models.BigIntegerField(null=True)
    card_id = models.BigIntegerField()
    outcome = models.TextField(choices=Outcome.choices)
    reviewed_at = models.DateTimeField()
    duration_ms = models.BigIntegerField(null=True)
    state = models.TextField(choices=State.choices, default=State.WAITING)
    problem = models.TextField(default="", help_text="The hub's sentence when it refused")
    accepted_at = models.DateTimeField(null=True)
    # The hub had it, but tells another history since, as after a restore from a backup: it is offered once more.
    offer_again = models.BooleanField(default=False)
    # How often the hub failed over this very rating. It goes to the end of the line, so that one rating the
    # hub cannot digest does not keep all later ones waiting.
    hub_failures = models.BigIntegerField(default=0)
    # The card stays out of the queues until its result came through the feed, so that a second tap finds
    # nothing to rate.
    holds_card = models.BooleanField(default=True)
    after_seq = models.BigIntegerField(default=0, help_text="The seq of the progress held when it was made")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["card_id"], condition=Q(holds_card=True), name="one_rating_holds_a_card"),
            models.CheckConstraint(condition=Q(outcome__in=Outcome.values), name="rating_outcome_is_known"),
        ]
        indexes = [
            # What to send next.
            models.Index(
                F("hub_failures"),
                F("reviewed_at"),
                F("id"),
                name="rating_waiting",
                condition=Q(state="waiting"),
            ),
            # What the hub refused, for the home page.
            models.Index(fields=["reviewed_at"], name="rating_refused", condition=Q(state="refused")),
            # What to offer again; and what is too old to be kept for that.
            models.Index(fields=["reviewed_at", "id"], name="rating_offered_again", condition=Q(offer_again=True)),
            models.Index(fields=["accepted_at"], name="rating_accepted", condition=Q(state="accepted")),
        ]

    def __str__(self) -> str:
        return f"{self.outcome} for card {self.card_id}, {self.state}"
