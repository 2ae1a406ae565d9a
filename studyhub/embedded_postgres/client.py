"""`manage.py dbshell` with the psql of the wheel."""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import client as postgresql

from . import wheel
from .address import address_of


def _psql() -> str:
    try:
        return str(wheel.program("psql"))
    except ImproperlyConfigured:  # importing a backend must not fail; the first connection says what to do
        return "psql"


class DatabaseClient(postgresql.DatabaseClient):
    executable_name = _psql()

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str]]:
        address = address_of(settings_dict)
        reachable = {**settings_dict, "HOST": address.host, "PORT": address.port, "USER": address.user}
        arguments, environment = super().settings_to_cmd_args_env(reachable, parameters)
        return arguments, {**(environment or {}), "PGHOSTADDR": ""}
