"""The hub's admin: Django's own, with the review desk and, on its first page, how things stand."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy as _

from publish.heartbeat import silence


class StudyHubAdminSite(admin.AdminSite):
    site_header = "StudyHub"
    site_title = "StudyHub"
    index_title = _("Back office")
    index_template = "memocards/dashboard/index.html"
    # The hub has no other pages for people: "View site" would lead back here.
    site_url = None

    def get_urls(self) -> list[URLPattern | URLResolver]:
        # Not before all apps are loaded.
        from memocards.admin.desk import ReviewDesk

        return [
            path("review/", self.admin_view(ReviewDesk.as_view(site=self)), name="review"),
            *super().get_urls(),
        ]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        context["time_zone"] = str(timezone.get_current_timezone())
        if request.resolver_match and str(request.resolver_match.url_name).endswith("_changelist"):
            # The columns of a list need the room that the sidebar would take.
            context["is_nav_sidebar_enabled"] = False
        if self.has_permission(request):
            # Asked by the pages that show it, and not by the fragments of one.
            context["publishing_silence"] = SimpleLazyObject(silence)
        return context

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from memocards.dashboard import figures_for

        return super().index(request, {"figures": figures_for(request.user), **(extra_context or {})})
