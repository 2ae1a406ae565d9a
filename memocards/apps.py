from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MemocardsConfig(AppConfig):
    name = "memocards"
    verbose_name = _("Study content")
