import json
import sys
from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from kit.progress import Progress
from publish.kinds import CATALOGUE
from publish.verify import Drift, Problem, compare, one_snapshot, repair

REPAIR_ROWS = 1000
_SHOWN = 20


class Command(BaseCommand):
    help = (
        "Compares every source row with what is published, and with what is on its way in the outbox: missing, stale, "
        "should be a tombstone, without a source. Exits with 1 where something drifted. --repair enqueues the present "
        "state of what did; after the relay has drained that, nothing drifts."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--repair", action="store_true", help="enqueue what drifted")
        parser.add_argument("--kind", action="append", choices=list(CATALOGUE), help="only this kind; may be repeated")
        parser.add_argument("--json", action="store_true", help="the result as JSON, for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["repair"] and not settings.PUBLISH_ENABLED:
            raise CommandError("Publishing is switched off: set PUBLISH_ENABLED=true before a repair.")
        kinds = list(dict.fromkeys(options["kind"] or CATALOGUE))
        drift: list[Drift] = []
        compared: Counter[str] = Counter()
        pending: Counter[str] = Counter()
        with one_snapshot():
            for name in kinds:
                total = CATALOGUE[name].model._base_manager.count()
                with Progress(name, total=total, unit="rows", stream=self.stderr) as bar:
                    for page in compare(CATALOGUE[name]):
                        compared[name] += page.rows
                        pending[name] += page.pending
                        drift += page.drift
                        bar.advance(page.rows)
        enqueued = 0
        if options["repair"]:
            for start in range(0, len(drift), REPAIR_ROWS):
                enqueued += repair(drift[start : start + REPAIR_ROWS])
        if options["json"]:
            self._print_json(kinds, compared, pending, drift, enqueued)
        else:
            self._print(kinds, compared, pending, drift)
            if options["repair"]:
                self.stdout.write(f"Repair: {enqueued:,} rows enqueued. The relay publishes them.")
        if drift and not options["repair"]:
            sys.exit(1)

    def _print(self, kinds: list[str], compared: Counter[str], pending: Counter[str], drift: list[Drift]) -> None:
        for name in kinds:
            counts = Counter(entry.problem for entry in drift if entry.kind == name)
            wrong = ", ".join(f"{counts[problem]:,} {problem}" for problem in Problem if counts[problem])
            self.stdout.write(
                f"{name:<14} {compared[name]:>10,} compared, {pending[name]:,} pending, {wrong or 'no drift'}"
            )
        for entry in drift[:_SHOWN]:
            self.stdout.write(f"  {entry.kind} {entry.source_id}: {entry.problem}")
        if len(drift) > _SHOWN:
            self.stdout.write(f"  and {len(drift) - _SHOWN:,} more; --json lists them all")

    def _print_json(
        self, kinds: list[str], compared: Counter[str], pending: Counter[str], drift: list[Drift], enqueued: int
    ) -> None:
        result = {
            "kinds": {name: {"compared": compared[name], "pending": pending[name]} for name in kinds},
            "drift": [
                {"kind": entry.kind, "source_id": entry.source_id, "problem": entry.problem.value} for entry in drift
            ],
            "enqueued": enqueued,
        }
        self.stdout.write(json.dumps(result, indent=2))
