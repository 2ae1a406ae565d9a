"""Transactions as this system needs them: begun once, outermost, and begun again after a deadlock."""

import functools
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection, transaction

from kit.pauses import GrowingPauses

P = ParamSpec("P")
R = TypeVar("R")

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.04
LONGEST_PAUSE_SECONDS = 1.0


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
        pauses = GrowingPauses(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
        for _attempt in range(1, ATTEMPTS):
            try:
                with transaction.atomic():
                    return function(*args, **kwargs)
            except OperationalError as error:
                if not _may_succeed_again(error):
                    raise
                # Two who met do not meet again: no pause is quite as long as another.
                time.sleep(pauses.next())
        with transaction.atomic():
            return function(*args, **kwargs)

    return wrapper


def _may_succeed_again(error: OperationalError) -> bool:
    # 40001 serialization_failure, 40P01 deadlock_detected
    return getattr(error.__cause__, "sqlstate", None) in {"40001", "40P01"}
