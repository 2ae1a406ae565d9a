from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class StudyHubConfig(AppConfig):
    name = "studyhub"
    verbose_name = "StudyHub"


class StudyHubAdminConfig(AdminConfig):
    """Makes `admin.site` the hub's own."""

    default_site = "studyhub.admin_site.StudyHubAdminSite"
