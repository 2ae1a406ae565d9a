from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from studyhub.backup.ending import sentences
from studyhub.backup.ratings import MissingRatings
from studyhub.backup.restoring import Restored, restore_backup


class Command(BaseCommand):
    help = (
        "Puts a backup of `manage.py backup` in the place of the hub's database, while hub, relay and workers are "
        "stopped. All is checked first, and the database that was there stays as it was until the last step. The feed "
        "begins a new epoch: every consumer starts over."
    )
    # They would look into the database that is about to be replaced.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, metavar="DIR", help="what `manage.py backup` has written")
        parser.add_argument(
            "--replace", action="store_true", help="also where the database is not empty; it is kept under another name"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with sentences("The restore was stopped; the hub's database is as it was."):
            restored = restore_backup(options["directory"], replace=options["replace"], stream=self.stderr)
        self._say(restored)

    def _say(self, restored: Restored) -> None:
        manifest = restored.manifest
        self.stdout.write(
            f"Restored: {sum(manifest.rows.values()):,} rows of {len(manifest.rows)} tables and {restored.uploads:,} "
            f"uploaded files, as of {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC."
        )
        if restored.migrations:
            self.stdout.write(f"{restored.migrations} migrations were run: the backup is of an older StudyHub.")
        self.stdout.write(f"The feed's epoch is now {restored.epoch}. Every consumer will start over.")
        if restored.drifted:
            self.stdout.write(
                f"{restored.drifted:,} of {restored.compared:,} rows are not published as they are, and were not when "
                "the backup was written. `manage.py verify_publish --repair` mends that."
            )
        else:
            self.stdout.write(f"{restored.compared:,} rows were compared with what is published: no drift.")
        if restored.replaced:
            self._say_what_was_replaced(restored.replaced, restored.missing)
        self.stdout.write(
            "The secret key is not in a backup. Put the one that belongs to it into "
            f"{settings.DATA_DIR / 'secret-key'}, or everybody has to log in again."
        )

    def _say_what_was_replaced(self, replaced: str, missing: MissingRatings | None) -> None:
        if missing is None:
            self.stdout.write("The replaced database cannot be read, so nobody knows what the backup lacks.")
        elif missing.ratings:
            self.stdout.write(
                f"{missing.ratings:,} ratings newer than the backup were known, made from "
                f"{missing.first:%Y-%m-%d %H:%M:%S} to {missing.last:%Y-%m-%d %H:%M:%S} UTC. Viewers that still hold "
                "them will send them again."
            )
        else:
            self.stdout.write("The replaced database had no ratings that the backup does not have.")
        self.stdout.write(
            f"It is kept as the database {replaced}. To delete it: manage.py postgres dropdb '{replaced}'"
        )
