from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.templatetags.static import static
from django.urls import path
from django.utils.translation import gettext_lazy as _
from django.views.generic import RedirectView

from studyhub.api import api
from studyhub.login_throttle import LoginPage

# For learners, who may not enter the admin: a session for the API's own pages.
LOGIN_PAGE = {"site_header": "StudyHub", "site_title": "StudyHub", "title": _("Log in")}

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    # Browsers ask here before they have read a page that names another.
    path("favicon.ico", RedirectView.as_view(url=static("studyhub/icon.svg"))),
    path("admin/", admin.site.urls),
    path(
        "login/",
        LoginPage.as_view(template_name="admin/login.html", extra_context=LOGIN_PAGE, redirect_authenticated_user=True),
        name="login",
    ),
    path("logout/", LogoutView.as_view(next_page="login"), name="logout"),
    path("api/", api.urls),
]

handler400 = "studyhub.error_pages.bad_request_page"
handler404 = "studyhub.error_pages.not_found_page"
handler500 = "studyhub.error_pages.server_error_page"
