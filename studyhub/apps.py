from django.apps import AppConfig


class StudyHubConfig(AppConfig):
    name = "studyhub"
    verbose_name = "StudyHub"
