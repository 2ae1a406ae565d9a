"""Subscribers: who may read the feed, and how much of it."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from publish.kinds import get_kind
from publish.models import Subscriber

_PREFIX_LENGTH = 12


class Unauthenticated(Exception):
    """No token, or one that opens nothing."""


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
    token = f"sh_{secrets.token_urlsafe(32)}"
    subscriber.token_prefix = token[:_PREFIX_LENGTH]
    subscriber.token_hash = _hash(token)
    subscriber.full_clean()
    subscriber.save(force_insert=True)
    return subscriber, token


def revoke(subscribers: QuerySet[Subscriber]) -> int:
    """Let these tokens open nothing from now on, waits in progress included. Returns how many changed."""
    return subscribers.filter(revoked_at__isnull=True).update(revoked_at=timezone.now())


def authenticate(token: str) -> Reader | None:
    """Who holds this token; None for a wrong or revoked one, or one whose learner may no longer log in."""
    sql, params = lookup(token)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return reader_from(token, cursor.fetchone())


def lookup(token: str) -> tuple[str, tuple[Any, ...]]:
    """The statement that finds the row reader_from() wants: the feed's own connections are not Django's."""
    return (
        Subscriber.objects.filter(token_prefix=token[:_PREFIX_LENGTH].replace("\0", ""), revoked_at__isnull=True)
        .filter(Q(learner__isnull=True) | Q(learner__is_active=True))
        .order_by()
        .values_list("token_hash", "pk", "learner_id", "all_learners", "kinds")
        .query.sql_with_params()
    )


def reader_from(token: str, row: Sequence[Any] | None) -> Reader | None:
    """The reader in the row that lookup() found, if the token is really that subscriber's."""
    if row is None or not hmac.compare_digest(bytes(row[0]), _hash(token)):
        return None
    return Reader(subscriber_id=row[1], learner_id=row[2], all_learners=row[3], kinds=tuple(row[4]))


def _hash(token: str) -> bytes:
    # The token is 256 random bits: a plain hash cannot be reversed by guessing.
    return hashlib.sha256(token.encode(errors="replace")).digest()
