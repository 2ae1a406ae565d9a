"""Guessing passwords is slow: attempts are counted in the database, before a password is looked at.

The rows are shared by all processes and outlive them, and one statement both asks and counts, so that guesses made at
the same moment count like those made one after another. A flood of other names pushes no count out: rows go by time.
"""

from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final

from django.db import connection, models, transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac

PER_ACCOUNT: Final = 5
# Many people may share an address: a school's, or that of a proxy which is not trusted.
PER_ADDRESS: Final = 100
WINDOW: Final = timedelta(minutes=5)
_PRUNED_AT_ONCE: Final = 20

# Nothing comes back where the limit is reached: the row then stays as it is.
_COUNT = """
INSERT INTO {table} AS counted (subject, attempts, expires_at) VALUES (%(subject)s, 1, %(end)s)
ON CONFLICT (subject) DO UPDATE SET
    attempts = CASE WHEN counted.expires_at <= %(now)s THEN 1 ELSE counted.attempts + 1 END,
    expires_at = CASE WHEN counted.expires_at <= %(now)s THEN excluded.expires_at ELSE counted.expires_at END
WHERE counted.attempts < %(limit)s OR counted.expires_at <= %(now)s
RETURNING attempts
"""


class PasswordAttempts(models.Model):
    """How often the password of one account, or by one address, was tried since the window of its first try began."""

    subject = models.CharField(max_length=64, primary_key=True)
    attempts = models.PositiveSmallIntegerField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        abstract = True
        # Nobody edits counts, so nobody is offered a permission to.
        default_permissions = ()

    @classmethod
    def count(cls, *, account: str, address: str) -> int:
        """Count an attempt that is about to be made. Returns 0 where it may be, else the seconds until it may.

        `account`: the name that would be tried, whether or not somebody has it. An attempt that is refused does not
        count for the account, nor lengthen its window.
        """
        # The address first: one that is stopped can neither add rows nor use up the attempts of more accounts.
        return cls._count(_subject("address", address), PER_ADDRESS) or cls._count(
            _subject("account", account), PER_ACCOUNT
        )

    @classmethod
    def forget(cls, *, account: str) -> None:
        """After a success: the account's attempts no longer count, those of the address still do."""
        cls._default_manager.filter(pk=_subject("account", account)).delete()

    @classmethod
    def _count(cls, subject: str, limit: int) -> int:
        now = timezone.now()
        moment = connection.ops.adapt_datetimefield_value
        values: dict[str, Any] = {"subject": subject, "limit": limit, "now": moment(now), "end": moment(now + WINDOW)}
        with connection.cursor() as cursor:
            cursor.execute(_COUNT.format(table=connection.ops.quote_name(cls._meta.db_table)), values)
            row = cursor.fetchone()
        if row is None:
            return cls._seconds_left(subject, now)
        if row[0] == 1:
            cls._prune(now)
        return 0

    @classmethod
    def _seconds_left(cls, subject: str, now: datetime) -> int:
        end = cls._default_manager.filter(pk=subject).values_list("expires_at", flat=True).first() or now
        return max(1, ceil((end - now).total_seconds()))

    @classmethod
    def _prune(cls, now: datetime) -> None:
        """Each new count takes some that have ended with it, so there are hardly more rows than windows are open."""
        ended = cls._default_manager.filter(expires_at__lte=now)
        with transaction.atomic():
            locked = ended.order_by("expires_at").select_for_update(skip_locked=True)
            keys = list(locked.values_list("pk", flat=True)[:_PRUNED_AT_ONCE])
            ended.filter(pk__in=keys).delete()


def _subject(sort: str, name: str) -> str:
    # Not the name itself: what somebody types there may be a password.
    return salted_hmac(f"kit.attempts.{sort}", name, algorithm="sha256").hexdigest()
