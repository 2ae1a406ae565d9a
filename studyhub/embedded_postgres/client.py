"""`manage.py dbshell` with the psql of the wheel."""

import os
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import client as postgresql

from . import wheel
from .address import address_of
from .server import outlive_exec


def _psql() -> str:
    try:
        return str(wheel.program("psql"))
    except ImproperlyConfigured:  # importing a backend must not fail; the first connection says what to do
        return "psql"


def become(command: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process by a program, which is then the user of the server that this process was.

    `environment` goes over that of this process. Signals and the exit code are the program's own.
    """
    outlive_exec()
    sys.stdout.flush()
    sys.stderr.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a program would inherit that
        signal.signal(number, signal.SIG_DFL)
    os.execvpe(command[0], command, {**os.environ, **environment})  # noqa: S606 (no shell is wanted)


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

    def runshell(self, parameters: Iterable[str]) -> NoReturn:
        """Django's would wait beside psql: killed alone, it would leave a psql without a server."""
        become(*self.settings_to_cmd_args_env(self.connection.settings_dict, parameters))
