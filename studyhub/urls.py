from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from studyhub.api import api

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/", api.urls),
]

handler404 = "studyhub.problems.not_found_page"
