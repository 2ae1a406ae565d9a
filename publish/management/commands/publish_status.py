import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from publish.status import publish_status


class Command(BaseCommand):
    help = "Shows how publishing stands: the outbox, the feed, what is published by kind, and each subscriber's lag."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="the same as JSON, for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        status = publish_status()
        if options["json"]:
            self.stdout.write(json.dumps(status, indent=2))
            return
        outbox, feed = status["outbox"], status["feed"]
        self.stdout.write(f"publishing   {'on' if status['enabled'] else 'off (PUBLISH_ENABLED is false)'}")
        self.stdout.write(f"outbox       {outbox['depth']:,} rows, the oldest {outbox['oldest_seconds']:,.1f} s old")
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
