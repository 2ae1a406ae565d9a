"""The outbox, the published items, the state of the feed and its subscribers.

`publish` knows the domain only by the kinds that are registered: a learner is a number here, a payload is text that
PostgreSQL built.
"""

from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Cast, Now
from django.db.models.lookups import Exact, LessThanOrEqual, Regex
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

# What a kind may be called: see kinds.py, which knows those that there are.
KIND_FORM = r"^[a-z][a-z_]{0,31}$"
# The longest card that may be written, in control characters, which JSON writes with six bytes each, fits in.
PAYLOAD_LIMIT_BYTES = 320 * 1024
# A NUL or half of a surrogate pair passes as an escape in `json`, and no consumer could decode it. An even number of
# backslashes before the u is text about an escape, and welcome. A bare line break would break NDJSON.
UNDECODABLE = r"[\n\r]|(^|[^\\])(\\\\)*\\u(0000|[dD][89a-fA-F])"


class RawJSONField(models.JSONField):
    """JSON in a `json` column: written once, handed on as it stands, never queried.

    `json` keeps PostgreSQL's own text, so the hash of that text stays true; `jsonb` would reorder the keys. The
    migrations see a plain JSONField and change the column's type in SQL, so that they import nothing of this app.
    """

    def db_type(self, connection: Any) -> str:
        return "json"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        # psycopg has decoded a json column already; only text goes through Django's decoder.
        return super().from_db_value(value, expression, connection) if isinstance(value, str) else value

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


def _payload_text() -> Cast:
    return Cast("payload", models.TextField())


class Snapshot(models.Model):
    """What one key's payload was when it was written: the columns that the relay carries from outbox to item."""

    kind = models.CharField(_("kind"), max_length=32)
    source_id = models.BigIntegerField(_("source id"))
    learner_id = models.BigIntegerField(_("learner id"), null=True, blank=True)
    payload = RawJSONField(_("payload"))
    payload_hash = models.BinaryField(_("payload hash"), max_length=32)
    schema_version = models.PositiveSmallIntegerField(_("schema version"))
    deleted = models.BooleanField(_("tombstone"))

    class Meta:
        abstract = True


class PublishOutbox(Snapshot):
    """One row per touch, written in the transaction of the touch; the relay deletes what it has drained.

    The id comes from the column's own default: it is drawn after the source row was locked, so that for one key the
    order of ids is the order of commits.
    """

    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    class Meta:
        db_table = "publish_outbox"
        verbose_name = _("outbox row")
        verbose_name_plural = _("outbox")
        ordering = ["id"]
        # What keeps poison out, raw SQL included: a consumer that got it could never go on.
        constraints = [
            models.CheckConstraint(name="outbox_kind_form", condition=Q(kind__regex=KIND_FORM)),
            models.CheckConstraint(
                name="outbox_payload_is_object",
                condition=Exact(
                    Func(F("payload"), function="json_typeof", output_field=models.TextField()),
                    Value("object"),
                ),
            ),
            models.CheckConstraint(
                name="outbox_payload_size",
                condition=LessThanOrEqual(
                    Func(_payload_text(), function="octet_length", output_field=models.IntegerField()),
                    PAYLOAD_LIMIT_BYTES,
                ),
            ),
            models.CheckConstraint(
                name="outbox_payload_decodable",
                condition=~Q(Regex(_payload_text(), Value(UNDECODABLE))),
            ),
            models.CheckConstraint(
                name="outbox_hash_is_sha256",
                condition=Exact(
                    Func(F("payload_hash"), function="octet_length", output_field=models.IntegerField()),
                    Value(32),
                ),
            ),
            models.CheckConstraint(name="outbox_schema_version", condition=Q(schema_version__gte=1)),
        ]

    def __str__(self) -> str:
        return gettext("%(kind)s %(id)s (outbox %(row)s)") % {"kind": self.kind, "id": self.source_id, "row": self.pk}


class PublishedItem(Snapshot):
    """What the feed shows for one key: its latest state, or its tombstone, at its place in the feed."""

    seq = models.BigIntegerField(_("seq"), unique=True)
    outbox_id = models.BigIntegerField(_("outbox id"))
    published_at = models.DateTimeField(_("published at"), db_default=Now(), editable=False)

    class Meta:
        db_table = "publish_item"
        verbose_name = _("published item")
        verbose_name_plural = _("published items")
        ordering = ["seq"]
        constraints = [
            models.UniqueConstraint(fields=["kind", "source_id"], name="item_key_unique"),
            models.CheckConstraint(name="item_seq_positive", condition=Q(seq__gte=1)),
        ]
        indexes = [
            # A feed page is two scans, merged by seq: what everyone sees, and what one learner sees. PostgreSQL
            # does not order an index on (learner_id, seq) by seq for IS NULL, hence two partial ones.
            models.Index(fields=["seq"], name="item_shared", condition=Q(learner_id__isnull=True)),
            models.Index(fields=["learner_id", "seq"], name="item_of_learner", condition=Q(learner_id__isnull=False)),
            # Pruning walks the tombstones from the oldest on.
            models.Index(fields=["seq"], name="item_tombstones", condition=Q(deleted=True)),
        ]

    def __str__(self) -> str:
        return gettext("%(kind)s %(id)s (seq %(seq)s)") % {"kind": self.kind, "id": self.source_id, "seq": self.seq}


class FeedState(models.Model):
    """One row: which feed this is, how far it has come, and up to where tombstones were pruned.

    Its lock, held to commit, is what makes relays take turns and the sequence free of gaps for readers.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    # Which hub this is. A restored copy keeps it, and a new epoch does not change it.
    hub = models.UUIDField(_("hub"), db_default=RandomUUID(), editable=False)
    epoch = models.UUIDField(_("epoch"))
    last_seq = models.BigIntegerField(_("last seq"), default=0)
    tombstone_floor = models.BigIntegerField(_("tombstone floor"), default=0)
    system_identifier = models.BigIntegerField(_("identifier of the database cluster"))

    class Meta:
        db_table = "publish_feed_state"
        verbose_name = _("feed state")
        verbose_name_plural = _("feed state")
        constraints = [
            models.CheckConstraint(name="feed_state_is_one_row", condition=Q(id=1)),
            models.CheckConstraint(
                name="feed_state_floor_below_head",
                condition=Q(tombstone_floor__gte=0, tombstone_floor__lte=F("last_seq")),
            ),
        ]

    def __str__(self) -> str:
        return gettext("%(what)s at %(place)s") % {"what": self.epoch, "place": self.last_seq}


class RelayHeartbeat(models.Model):
    """One row, apart from the feed's, whose lock relays hold while they work: when one of them last could publish."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    worked_at = models.DateTimeField(_("last worked at"), null=True)
    worker = models.CharField(_("worker"), max_length=255)
    # Who keeps a running relay from publishing, as far as PostgreSQL tells; empty: nobody.
    hindrance = models.TextField(_("hindrance"))

    class Meta:
        db_table = "publish_relay_heartbeat"
        verbose_name = _("relay's heartbeat")
        verbose_name_plural = _("relay's heartbeat")
        constraints = [models.CheckConstraint(name="relay_heartbeat_is_one_row", condition=Q(id=1))]

    def __str__(self) -> str:
        return self.worker


class BackfillPosition(models.Model):
    """How far the last backfill of a kind has come, written with each page: what `--resume` goes on from."""

    kind = models.CharField(_("kind"), max_length=32, primary_key=True)
    last_id = models.BigIntegerField(_("last id"), default=0)
    finished = models.BooleanField(_("finished"), default=False)

    class Meta:
        db_table = "publish_backfill_position"
        verbose_name = _("backfill position")
        verbose_name_plural = _("backfill positions")

    def __str__(self) -> str:
        return gettext("%(what)s at %(place)s") % {"what": self.kind, "place": self.last_id}


class SetAside(models.Model):
    """A key whose outbox row the relay could not publish: the row was taken out so that it stops nobody else.

    What helps is to enqueue the source's present state again, never the old payload, which is not kept.
    """

    kind = models.CharField(_("kind"), max_length=32)
    source_id = models.BigIntegerField(_("source id"))
    learner_id = models.BigIntegerField(_("learner id"), null=True, blank=True)
    outbox_id = models.BigIntegerField(_("outbox id"))
    error = models.TextField(_("error"))
    set_aside_at = models.DateTimeField(_("set aside at"), db_default=Now(), editable=False)

    class Meta:
        db_table = "publish_set_aside"
        verbose_name = _("row set aside")
        verbose_name_plural = _("rows set aside")
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["kind", "source_id"], name="set_aside_key_unique")]

    def __str__(self) -> str:
        return f"{self.kind} {self.source_id}"


class Subscriber(models.Model):
    """A registered consumer of the feed. Its token is shown once; what is kept is its hash."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    token_prefix = models.CharField(_("token begins with"), max_length=16, unique=True, editable=False)
    token_hash = models.BinaryField(_("token hash"), max_length=32, editable=False)
    learner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("learner"),
        help_text=_("The token sees this learner's progress and may rate for them."),
    )
    all_learners = models.BooleanField(_("sees all learners"), default=False)
    kinds = ArrayField(
        models.CharField(max_length=32),
        verbose_name=_("kinds"),
        default=list,
        blank=True,
        help_text=_("Empty: all."),
    )
    # Where the consumer said it stands, and the head when its scan began; written now and then, not per request.
    last_seq = models.BigIntegerField(_("last seq"), default=0, editable=False)
    scan_head = models.BigIntegerField(_("head at scan start"), default=0, editable=False)
    last_seen_at = models.DateTimeField(_("last seen at"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True, editable=False)
    # No foreign key: the token goes on telling its viewer of the erasure when the account is deleted, too.
    erased_learner_id = models.BigIntegerField(_("erased learner"), null=True, blank=True, editable=False)

    class Meta:
        db_table = "publish_subscriber"
        verbose_name = _("subscriber")
        verbose_name_plural = _("subscribers")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="subscriber_one_learner_or_all",
                condition=Q(learner__isnull=True) | Q(all_learners=False),
                violation_error_message=_("A subscriber is bound to one learner, or sees all; not both."),
            ),
            models.CheckConstraint(name="subscriber_name_not_blank", condition=Q(name__regex=r"\S")),
            models.CheckConstraint(
                name="subscriber_of_erased_learner_revoked",
                condition=Q(erased_learner_id__isnull=True) | Q(learner__isnull=True, revoked_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name
