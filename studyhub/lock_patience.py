"""One locked row must not stop the hub: of the requests that write, only a few may wait for long at the same time."""

import threading
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from studyhub.database_sessions import brief_lock_waits

# In one process, which has a few threads: of those that are left, none is held for longer than a moment.
PATIENT_REQUESTS: Final = 2
_READS: Final = {"GET", "HEAD", "OPTIONS"}


def few_wait_for_locks(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: while PATIENT_REQUESTS others are under way, a request that writes gives up a lock almost at once,
    with 503. They are done in some milliseconds, unless they wait for a lock themselves."""
    patient = threading.BoundedSemaphore(PATIENT_REQUESTS)

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method in _READS:
            return get_response(request)
        if not patient.acquire(blocking=False):
            with brief_lock_waits():
                return get_response(request)
        try:
            return get_response(request)
        finally:
            patient.release()

    return answer
