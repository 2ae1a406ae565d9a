"""Who is calling: a session of Django's, or a subscriber's token."""

from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from ninja.errors import AuthenticationError
from ninja.security import HttpBearer, SessionAuth

from publish.subscribers import Reader, authenticate


class SubscriberToken(HttpBearer):
    """`Authorization: Bearer TOKEN`, as create_subscriber printed it. A wrong token is refused, not passed over."""

    openapi_name = "SubscriberToken"

    def authenticate(self, request: HttpRequest, token: str) -> Reader:
        reader = authenticate(token)
        if reader is None:
            raise AuthenticationError
        return reader


class Session(SessionAuth):
    """A logged-in session, with Django's CSRF check. Without its cookie a caller is anonymous, not forged."""

    openapi_name = "Session"

    def __call__(self, request: HttpRequest) -> Any:
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return None
        return super().__call__(request)


learner_auth = [SubscriberToken(), Session()]
staff_auth = [Session()]


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
