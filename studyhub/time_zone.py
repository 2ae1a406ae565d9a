"""Pages show times in their reader's time zone, and read them out of forms in the zone in which they showed them.

The zone is the reader's own of their study settings, else their browser's, which static/studyhub/time_zone.js keeps in
a cookie, else the hub's STUDY_TIME_ZONE. The API is left alone: it says and takes times with their offset.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from memocards.models import LearnerSettings

COOKIE: Final = "time_zone"
# In every form of the admin: the zone in which its times were shown.
FIELD: Final = "time_zone_shown"


class ReaderTimeZone:
    """Middleware: activates the reader's zone for one request. It stands after that of logins."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if _is_for_programs(request):
            return self._get_response(request)
        with timezone.override(zone_of(request)):
            return self._get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """The cookie or the settings may have changed since the form was shown."""
        if request.method != "POST" or _is_for_programs(request):
            return
        if shown := zone_named(request.POST.get(FIELD, "")):
            timezone.activate(shown)


def zone_of(request: HttpRequest) -> ZoneInfo:
    """The zone of whoever reads the answer. One that is in no database of zones counts as none."""
    own = ""
    if request.user.is_authenticated:
        rows = LearnerSettings.objects.filter(learner_id=request.user.pk)
        own = rows.values_list("time_zone", flat=True).first() or ""
    zone = zone_named(own) or zone_named(request.COOKIES.get(COOKIE, ""))
    return zone or ZoneInfo(settings.STUDY_TIME_ZONE)


def zone_named(name: str) -> ZoneInfo | None:
    """A zone by its full name in the database of time zones. Whoever sends the name may send anything."""
    return ZoneInfo(name) if name in _names() else None


@cache
def _names() -> frozenset[str]:
    # Neither of these says where it is.
    return frozenset(available_timezones() - {"Factory", "localtime"})


def _is_for_programs(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")
