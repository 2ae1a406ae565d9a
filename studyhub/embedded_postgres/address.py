"""From Django's settings for one database to the address of its running server."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from .layout import OWNER
from .server import Address, ensure_running


def address_of(settings: dict[str, Any], *, ask_server: bool = False) -> Address:
    embedded = settings.get("EMBEDDED", {})
    if "DIRECTORY" not in embedded:
        raise ImproperlyConfigured(
            "The database engine studyhub.embedded_postgres needs EMBEDDED['DIRECTORY'] in "
            "settings.DATABASES: the directory where the data is kept."
        )
    return ensure_running(
        embedded["DIRECTORY"],
        embedded.get("PARAMETERS"),
        # Without a name, Django wants the database `postgres`, to create or drop another one.
        database=settings["NAME"] or OWNER,
        ask_server=ask_server,
    )
