"""The hub's admin: Django's own, with the review desk and, on its first page, how things stand."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path
from django.utils.translation import gettext_lazy as _


class StudyHubAdminSite(admin.AdminSite):
    site_header = "StudyHub"
    site_title = "StudyHub"
    index_title = _("Back office")
    index_template = "memocards/dashboard/index.html"

    def get_urls(self) -> list[URLPattern | URLResolver]:
        # Not before all apps are loaded.
        from memocards.admin.desk import ReviewDesk

        return [
            path("review/", self.admin_view(ReviewDesk.as_view(site=self)), name="review"),
            *super().get_urls(),
        ]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from memocards.dashboard import figures_for

        return super().index(request, {"figures": figures_for(request.user), **(extra_context or {})})
