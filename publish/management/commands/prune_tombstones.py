from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from kit.arguments import not_negative
from kit.progress import Progress
from kit.stopping import StopRequest
from publish.retention import prune_tombstones


class Command(BaseCommand):
    help = (
        "Deletes tombstones that were published more than so many days ago, in short transactions. A consumer that "
        "has not read for longer is told to start over; it never misses a deletion in silence."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than", type=not_negative, required=True, metavar="DAYS")

    def handle(self, *args: Any, **options: Any) -> None:
        cutoff = timezone.now() - timedelta(days=options["older_than"])
        stop = StopRequest().install()
        deleted = 0
        floor = None
        with Progress("tombstones", total=None, unit="deleted", stream=self.stderr) as bar:
            while not stop:
                step = prune_tombstones(published_before=cutoff)
                floor = step.tombstone_floor
                if not step.deleted:
                    break
                deleted += step.deleted
                bar.advance(step.deleted)
        self.stdout.write(f"{deleted:,} tombstones deleted; the floor is at seq {floor or 0:,}.")
