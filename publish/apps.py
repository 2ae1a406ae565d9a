from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class PublishConfig(AppConfig):
    name = "publish"
    verbose_name = _("Publishing")

    def ready(self) -> None:
        """Every installed app registers its kinds."""
        autodiscover_modules("published")
