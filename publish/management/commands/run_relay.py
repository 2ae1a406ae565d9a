import logging
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection

from publish.management.arguments import positive, seconds
from publish.relay import outbox_is_empty, relay_batch
from publish.stopping import StopRequest

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "The relay: moves the outbox into the feed, in the order of commits, until it is stopped. Several may run: "
        "they take turns. SIGTERM or Ctrl-C finishes the batch in hand; a second one forces the exit."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="drain the outbox and exit")
        parser.add_argument(
            "--batch-size", type=positive, default=5000, metavar="N", help="outbox rows a transaction (5000)"
        )
        parser.add_argument(
            "--interval", type=seconds, default=0.05, metavar="SECONDS", help="pause between idle looks (0.05)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stop = StopRequest().install()
        started = time.monotonic()
        drained = published = 0
        if not options["once"]:
            logger.info("Relay: started.")
        while not stop:
            batch = None if not options["once"] and outbox_is_empty() else relay_batch(options["batch_size"])
            if batch is not None and batch.drained:
                drained += batch.drained
                published += batch.published
            elif options["once"]:
                break
            else:
                time.sleep(options["interval"])
        connection.close()
        elapsed = max(time.monotonic() - started, 1e-9)
        rate = f", {drained / elapsed:,.0f} rows/s" if options["once"] and drained else ""
        self.stdout.write(
            f"Relay: {drained:,} outbox rows drained, {published:,} published, {drained - published:,} unchanged{rate}."
        )
