from django.apps import AppConfig


class MemocardsConfig(AppConfig):
    name = "memocards"
    verbose_name = "Study content"
