from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from studyhub.backup.ending import sentences
from studyhub.backup.writing import write_backup


class Command(BaseCommand):
    help = (
        "Writes a backup of the hub, which may be running: the database as of one moment, uploaded files, and a "
        "manifest with versions, row counts and hashes. `manage.py restore` reads it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, metavar="DIR", help="empty, or not there yet")

    def handle(self, *args: Any, **options: Any) -> None:
        with sentences("The backup was stopped, and nothing is left of it."):
            manifest = write_backup(options["directory"], stream=self.stderr)
        feed = f"The feed stood at {manifest.feed.last_seq:,}. " if manifest.feed else ""
        self.stdout.write(
            f"{options['directory']}: {sum(manifest.rows.values()):,} rows of {len(manifest.rows)} tables, "
            f"{len(manifest.uploads):,} uploaded files, {manifest.size:,} bytes. {feed}"
        )
        if manifest.pg_dump_major > manifest.server_major:
            self.stdout.write(
                f"It was written by pg_dump {manifest.pg_dump} from a PostgreSQL {manifest.postgresql}, and may fit "
                f"PostgreSQL {manifest.pg_dump_major} only. With pg_dump {manifest.server_major} on PATH, `manage.py "
                "backup` writes one that fits both."
            )
        self.stdout.write(
            f"The secret key is not in it: it is in {settings.DATA_DIR / 'secret-key'}, or in the variable SECRET_KEY. "
            "Keep a copy of it somewhere else than the backup; without it everybody has to log in again."
        )
