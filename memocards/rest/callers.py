"""Who calls, and how often: learners by a session or a token, the staff by a session, by permission."""

from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from ninja.security import SessionAuth

from publish.authentication import SubscriberToken
from publish.subscribers import Reader
from publish.throttling import CallerThrottle


class Session(SessionAuth):
    """A logged-in session, with Django's CSRF check. Without its cookie a caller is anonymous, not forged."""

    openapi_name = "Session"

    def __call__(self, request: HttpRequest) -> Any:
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return None
        return super().__call__(request)


learner_auth = [SubscriberToken(), Session()]
staff_auth = [Session()]
rating_throttle = CallerThrottle("rating", "RATINGS_PER_MINUTE")
batch_throttle = CallerThrottle("batch", "RATING_BATCHES_PER_MINUTE")


def learner_of(request: HttpRequest) -> int:
    """The primary key of the learner who calls. Raises PermissionDenied for a token bound to no learner."""
    caller: Any = request.auth  # type: ignore[attr-defined]
    if isinstance(caller, Reader):
        if caller.learner_id is None:
            raise PermissionDenied("This token is not bound to a learner, so it cannot rate or see progress.")
        return caller.learner_id
    return int(caller.pk)


def require_permission(request: HttpRequest, permission: str) -> int:
    """The primary key of the staff member who calls. Raises PermissionDenied."""
    user = request.user
    if not (user.is_active and user.is_staff and user.has_perm(permission)):
        raise PermissionDenied(f"This needs a staff login with the permission {permission}.")
    assert user.pk is not None  # noqa: S101
    return int(user.pk)
