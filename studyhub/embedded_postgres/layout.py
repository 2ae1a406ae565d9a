"""The names of the files in an embedded server's directory, known to the app and to its keeper."""

from pathlib import Path
from typing import NamedTuple

OWNER = "studyhub"  # superuser of every cluster, and its first database unless the settings name another
PORT = 5432  # no TCP port: only part of the socket's file name
SOCKET_NAME = f".s.PGSQL.{PORT}"


class Layout(NamedTuple):
    directory: Path

    @property
    def data(self) -> Path:
        """The cluster. It appears by a rename, so what exists is complete."""
        return self.directory / "data"

    @property
    def users_lock(self) -> Path:
        """Held shared by each process that uses the server, exclusively by a keeper that is about to end."""
        return self.directory / "users.lock"

    @property
    def keeper_lock(self) -> Path:
        """Held exclusively by the keeper for its whole life; contains its pid."""
        return self.directory / "keeper.lock"

    @property
    def log(self) -> Path:
        """What the keeper, initdb and the server write."""
        return self.directory / "server.log"

    @property
    def old_log(self) -> Path:
        return self.directory / "server.log.1"
