"""Subscribers: who may read the feed, and how much of it."""

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from kit.problems import LOG_IN, ProblemError
from publish.kinds import get_kind
from publish.models import FeedState, Subscriber

_PREFIX_LENGTH = 12
# A learner who may no longer log in reads nothing either.
_ACTIVE = Q(learner__isnull=True) | Q(learner__is_active=True)
_READER_COLUMNS = ("pk", "learner_id", "all_learners", "kinds")


class Unauthenticated(ProblemError):
    """No token, or one that opens nothing."""

    status, slug = 401, "unauthorized"

    def __init__(self) -> None:
        super().__init__(LOG_IN)


class LearnerErased(ProblemError):
    """The token was of a learner who has been erased: its holder is to forget that learner, and gets nothing else.

    It names hub, subscriber and learner, so that a viewer can tell that it is meant.
    """

    status, slug = 403, "learner-erased"
    # A viewer believes it only as the answer to its own request.
    repeats = {"after": "", "request_id": None}

    def __init__(self, *, hub: uuid.UUID, subscriber_id: int, learner_id: int) -> None:
        self.hub, self.subscriber_id, self.learner_id = hub, subscriber_id, learner_id
        super().__init__("What this token's learner had answered was erased here. Delete it where you are, too.")

    def particulars(self) -> dict[str, Any]:
        return {"hub": str(self.hub), "subscriber": self.subscriber_id, "learner_id": self.learner_id}


@dataclass(frozen=True)
class Reader:
    """What one subscriber sees: shared rows, and the rows of `learner_id` or of all learners; `kinds` empty = all."""

    subscriber_id: int
    learner_id: int | None
    all_learners: bool
    kinds: tuple[str, ...]


def create_subscriber(
    *, name: str, learner_id: int | None = None, all_learners: bool = False, kinds: Sequence[str] = ()
) -> tuple[Subscriber, str]:
    """Register a consumer. Returns it and its token, which is kept nowhere. Raises UnknownKind, ValidationError."""
    subscriber = Subscriber(
        name=name,
        learner_id=learner_id,
        all_learners=all_learners,
        kinds=[get_kind(kind).name for kind in dict.fromkeys(kinds)],
    )
    token = _give_token(subscriber)
    subscriber.full_clean()
    subscriber.save(force_insert=True)
    return subscriber, token


def renew_token(subscriber: Subscriber, *, learner_id: int | None) -> str:
    """Give a subscriber whose token was revoked or lost another one. Returns it; to its viewer it is the same one.

    `learner_id`: whom the subscriber was bound to, erased since or not: its view must not change.
    """
    token = _give_token(subscriber)
    subscriber.learner_id = learner_id
    subscriber.revoked_at = subscriber.erased_learner_id = None
    subscriber.save(update_fields=["token_prefix", "token_hash", "learner", "revoked_at", "erased_learner_id"])
    return token


def revoke(subscribers: QuerySet[Subscriber]) -> int:
    """Let these tokens open nothing from now on, waits in progress included. Returns how many changed."""
    return subscribers.filter(revoked_at__isnull=True).update(revoked_at=timezone.now())


def revoke_tokens_of_erased(learner_id: int) -> int:
    """Let the learner's tokens, old ones too, open nothing, and tell viewers that the learner was erased.

    Returns how many were valid.
    """
    subscribers = Subscriber.objects.filter(learner_id=learner_id)
    valid = subscribers.filter(revoked_at__isnull=True).count()
    subscribers.update(revoked_at=Coalesce("revoked_at", Now()), erased_learner_id=learner_id, learner=None)
    return valid


def authenticate(token: str) -> Reader | None:
    """Who holds this token; None for a wrong or revoked one, or one whose learner may no longer log in.

    Raises LearnerErased.
    """
    sql, params = lookup(token)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return reader_from(token, cursor.fetchone())


def lookup(token: str) -> tuple[str, tuple[Any, ...]]:
    """The statement that finds the row reader_from() wants: the feed's own connections are not Django's."""
    prefix = token[:_PREFIX_LENGTH].replace("\0", "")
    return (
        Subscriber.objects.filter(token_prefix=prefix)
        .filter(Q(revoked_at__isnull=True) | Q(erased_learner_id__isnull=False))
        .filter(_ACTIVE)
        .order_by()
        .annotate(hub=Subquery(FeedState.objects.values("hub")[:1]))
        .values_list("token_hash", "erased_learner_id", "hub", *_READER_COLUMNS)
        .query.sql_with_params()
    )


def reader_from(token: str, row: Sequence[Any] | None) -> Reader | None:
    """The reader in the row that lookup() found, if the token is really that subscriber's. Raises LearnerErased."""
    if row is None or not hmac.compare_digest(bytes(row[0]), _hash(token)):
        return None
    _hash_of_token, erased_learner_id, hub, *reader = row
    if erased_learner_id is not None:
        raise LearnerErased(hub=hub, subscriber_id=reader[0], learner_id=erased_learner_id)
    return _reader(reader)


def lookup_readers(subscriber_ids: Collection[int]) -> tuple[str, tuple[Any, ...]]:
    """The statement that finds the rows readers_from() wants, for tokens that were right when their wait began."""
    return (
        Subscriber.objects.filter(_ACTIVE, pk__in=sorted(subscriber_ids), revoked_at__isnull=True)
        .order_by()
        .values_list(*_READER_COLUMNS)
        .query.sql_with_params()
    )


def readers_from(rows: Sequence[Sequence[Any]]) -> dict[int, Reader]:
    """Subscriber → what it may see, from the rows that lookup_readers() found."""
    return {row[0]: _reader(row) for row in rows}


def _reader(row: Sequence[Any]) -> Reader:
    return Reader(subscriber_id=row[0], learner_id=row[1], all_learners=row[2], kinds=tuple(row[3]))


def _give_token(subscriber: Subscriber) -> str:
    token = f"sh_{secrets.token_urlsafe(32)}"
    subscriber.token_prefix = token[:_PREFIX_LENGTH]
    subscriber.token_hash = _hash(token)
    return token


def _hash(token: str) -> bytes:
    # The token is 256 random bits: a plain hash cannot be reversed by guessing.
    return hashlib.sha256(token.encode(errors="replace")).digest()
