import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from kit.arguments import not_negative, positive
from kit.progress import Progress
from kit.stopping import StopRequest
from publish import backfill
from publish.kinds import CATALOGUE

_SECONDS_BETWEEN_LOOKS = 0.2


class Command(BaseCommand):
    help = (
        "Enqueues existing rows, page by page, each page committed. Rows that are published as they are cost the feed "
        "nothing: the relay drops them. Ctrl-C or SIGTERM finishes the page and says how to go on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--kind", action="append", choices=list(CATALOGUE), help="only this kind; may be repeated (default: all)"
        )
        parser.add_argument(
            "--after-id", type=not_negative, metavar="N", help="start above this source id; needs exactly one --kind"
        )
        parser.add_argument("--page-size", type=positive, default=1000, metavar="N", help="rows a transaction (1000)")
        parser.add_argument("--max-rows", type=positive, metavar="N", help="stop after about so many rows")
        parser.add_argument(
            "--max-pending", type=positive, metavar="N", help="wait while more than so many rows are in the outbox"
        )
        parser.add_argument("--dry-run", action="store_true", help="count what would be enqueued, and enqueue nothing")
        parser.add_argument("--resume", action="store_true", help="go on where the last backfill stopped")

    def handle(self, *args: Any, **options: Any) -> None:
        starts = self._starts(options)
        left: int | None = options["max_rows"]
        if options["dry_run"]:
            for kind, after_id in starts.items():
                rows = backfill.remaining(kind, after_id=after_id)
                rows, left = (rows, None) if left is None else (min(rows, left), left - min(rows, left))
                self.stdout.write(f"{kind}: {rows:,} rows would be enqueued.")
            return
        if not settings.PUBLISH_ENABLED:
            raise CommandError("Publishing is switched off: set PUBLISH_ENABLED=true before a backfill.")
        if not options["resume"]:
            for kind, after_id in starts.items():
                backfill.begin([kind], after_id=after_id)
        stop = StopRequest().install()
        for kind, after_id in starts.items():
            enqueued, finished = self._backfill(kind, after_id, left, options, stop)
            left = None if left is None else left - enqueued
            if not finished:
                self._say_how_to_go_on(starts, options)
                return

    def _starts(self, options: dict[str, Any]) -> dict[str, int]:
        """Kind → the id above which to begin."""
        kinds = options["kind"] or list(CATALOGUE)
        if options["resume"]:
            if options["after_id"] is not None:
                raise CommandError("--resume knows where to go on; leave --after-id out.")
            positions = backfill.unfinished(kinds)
            if not positions:
                raise CommandError("There is no unfinished backfill to resume. Run it without --resume.")
            return {kind: positions[kind] for kind in kinds if kind in positions}
        if options["after_id"] is not None and len(kinds) != 1:
            raise CommandError("--after-id needs exactly one --kind: each kind counts its own ids.")
        return dict.fromkeys(kinds, options["after_id"] or 0)

    def _backfill(
        self, kind: str, after_id: int, most: int | None, options: dict[str, Any], stop: StopRequest
    ) -> tuple[int, bool]:
        """Enqueue one kind. Returns the number of rows, and whether the end was reached."""
        total = backfill.remaining(kind, after_id=after_id)
        enqueued = 0
        with Progress(kind, total=total if most is None else min(total, most), unit="rows", stream=self.stderr) as bar:
            while not stop and (most is None or enqueued < most):
                if options["max_pending"] is not None and backfill.is_deeper_than(options["max_pending"]):
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
                    continue
                size = options["page_size"] if most is None else min(options["page_size"], most - enqueued)
                page = backfill.backfill_next(kind, limit=size)
                if not page.enqueued:
                    self.stdout.write(f"{kind}: {enqueued:,} rows enqueued, {bar.rate:,.0f} a second.")
                    return enqueued, True
                enqueued += page.enqueued
                bar.advance(page.enqueued)
        return enqueued, False

    def _say_how_to_go_on(self, starts: dict[str, int], options: dict[str, Any]) -> None:
        positions = backfill.unfinished(starts)
        kind = next(kind for kind in starts if kind in positions)
        kinds = "".join(f" --kind {kind}" for kind in options["kind"] or ())
        self.stdout.write(
            f"Stopped at {kind} {positions[kind]}. Go on with: manage.py backfill_publish --resume{kinds}"
        )
