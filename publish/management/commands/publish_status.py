import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from publish.status import publish_status, troubles


class Command(BaseCommand):
    help = (
        "Shows how publishing stands: the outbox, the relay, the feed, what is published by kind, and each "
        "subscriber's lag."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="the same as JSON, for programs")
        parser.add_argument(
            "--check",
            action="store_true",
            help="exit with 1, and a sentence for each trouble, where no relay publishes, or rows wait for over a "
            "minute or were set aside",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        status = publish_status()
        sentences = troubles(status)
        if options["json"]:
            self.stdout.write(json.dumps({**status, "troubles": sentences}, indent=2))
        else:
            # With --check they are the error that it ends with.
            self._write(status, [] if options["check"] else sentences)
        if options["check"] and sentences:
            raise CommandError(" ".join(sentences), returncode=1)

    def _write(self, status: dict[str, Any], sentences: Sequence[str]) -> None:
        outbox, feed = status["outbox"], status["feed"]
        self.stdout.write(f"publishing   {'on' if status['enabled'] else 'off (PUBLISH_ENABLED is false)'}")
        self.stdout.write(f"outbox       {outbox['depth']:,} rows, the oldest {outbox['oldest_seconds']:,.1f} s old")
        relay = status["relay"]
        if relay and relay["worked_at"]:
            worker, seconds = relay["worker"], relay["silent_seconds"]
            self.stdout.write(f"relay        {worker}, last at work {seconds:,.1f} s ago")
        for sentence in sentences:
            self.stdout.write(self.style.ERROR(sentence))
        if feed is None:
            self.stdout.write("feed         not begun: start the relay with manage.py run_relay")
            return
        self.stdout.write(f"feed         head {feed['head']:,}, tombstone floor {feed['tombstone_floor']:,}")
        self.stdout.write(f"             epoch {feed['epoch']}")
        for kind, counted in status["kinds"].items():
            self.stdout.write(f"  {kind:<14} {counted['items']:>10,} published  {counted['tombstones']:>8,} tombstones")
        for row in status["set_aside"]:
            self.stdout.write(f"set aside    {row['kind']} {row['source_id']}: {row['error']}")
        for subscriber in status["subscribers"]:
            seen = subscriber["last_seen_at"] or "never"
            state = "revoked" if subscriber["revoked"] else f"{subscriber['lag']:,} behind"
            if subscriber["must_start_over"]:
                state += ", below the tombstone floor: it will have to start over"
            self.stdout.write(f"subscriber   {subscriber['name']}: {state}, last seen {seen}")
