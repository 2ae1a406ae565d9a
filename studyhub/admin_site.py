"""The hub's admin: Django's own, with the review desk and, on its first page, how things stand."""

from typing import Any, cast

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
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
        from memocards.admin.desk.pages import ReviewDesk

        return [
            path("review/", self.admin_view(ReviewDesk.as_view(site=self)), name="review"),
            *super().get_urls(),
        ]

    @property
    def login_form(self) -> Any:  # type: ignore[override]
        # Forms may be imported when all apps are loaded.
        from studyhub.login_throttle import StaffLoginForm

        return StaffLoginForm

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        from studyhub.login_throttle import with_refusal

        return with_refusal(super().login(request, extra_context))

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from studyhub.login_throttle import PasswordChangePage

        context = {**self.each_context(request), **(extra_context or {})}
        page = PasswordChangePage.as_view(success_url=reverse("admin:password_change_done"), extra_context=context)
        return cast(TemplateResponse, page(request))

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
        from memocards.admin.dashboard import figures_for

        return super().index(request, {"figures": figures_for(request.user), **(extra_context or {})})
