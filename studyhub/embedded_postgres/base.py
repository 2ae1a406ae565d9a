"""Django's PostgreSQL backend, whose server is started by whoever asks how to reach it."""

from typing import Any

from django.db.backends.postgresql import base as postgresql
from psycopg import OperationalError

from .address import address_of
from .client import DatabaseClient


class DatabaseWrapper(postgresql.DatabaseWrapper):
    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        """As Django's, with the address of a running server. May take seconds on the first call."""
        address = address_of(self.settings_dict)._asdict()
        return {**super().get_connection_params(), **address, "hostaddr": ""}  # or PGHOSTADDR would win

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        try:
            return super().get_new_connection(conn_params)
        except OperationalError:
            # The server may have died since the parameters were made, or be recovering from a killed backend.
            address_of(self.settings_dict, ask_server=True)
            return super().get_new_connection(conn_params)
