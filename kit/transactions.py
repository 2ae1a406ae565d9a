"""Transactions as this system needs them: begun once, outermost, and begun again after a deadlock."""

import functools
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection, transaction

P = ParamSpec("P")
R = TypeVar("R")

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.02


class TransactionRequired(RuntimeError):
    """An enqueue outside a transaction: the touch and its outbox row could come apart."""


def require_transaction() -> None:
    """Raise TransactionRequired outside `transaction.atomic()`."""
    if not connection.in_atomic_block:
        raise TransactionRequired(
            "enqueue_* must run in the transaction of the change that it publishes. "
            "Put the change and the call into one `with transaction.atomic():` block."
        )


def in_transaction(function: Callable[P, R]) -> Callable[P, R]:
    """Run the function in a transaction; after a deadlock or a serialization failure, run it again from its start.

    Inside a transaction it joins that one, without a savepoint: an error then undoes the whole of it, and starting
    again is the affair of whoever began it. The function must have no effects outside the database.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if connection.in_atomic_block:
            with transaction.atomic(savepoint=False):
                return function(*args, **kwargs)
        for attempt in range(1, ATTEMPTS):
            try:
                with transaction.atomic():
                    return function(*args, **kwargs)
            except OperationalError as error:
                if not _may_succeed_again(error):
                    raise
                # Jitter, so that two who met do not meet again.
                time.sleep(FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1))  # noqa: S311
        with transaction.atomic():
            return function(*args, **kwargs)

    return wrapper


def _may_succeed_again(error: OperationalError) -> bool:
    # 40001 serialization_failure, 40P01 deadlock_detected
    return getattr(error.__cause__, "sqlstate", None) in {"40001", "40P01"}
