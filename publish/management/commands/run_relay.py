import logging
import random
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import InterfaceError, OperationalError, connection

from publish.management.arguments import positive, seconds
from publish.relay import Batch, Relay
from publish.stopping import StopRequest

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

# A relay that hangs while it holds the feed's lock would stop all others; PostgreSQL ends it instead. And one that
# was killed in the middle of a long statement is noticed within a second.
_SESSION = "SET idle_in_transaction_session_timeout = '30s'; SET client_connection_check_interval = '1s'"


class Command(BaseCommand):
    help = (
        "The relay: moves the outbox into the feed, in the order of commits, until it is stopped. Several may run: "
        "they take turns, and one goes on where another was killed. SIGTERM or Ctrl-C finishes the batch in hand; a "
        "second one forces the exit."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="drain the outbox and exit")
        parser.add_argument(
            "--batch-size", type=positive, default=5000, metavar="N", help="at most so many rows a transaction (5000)"
        )
        parser.add_argument(
            "--interval", type=seconds, default=0.05, metavar="SECONDS", help="pause between idle looks (0.05)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stop = StopRequest().install()
        started = time.monotonic()
        drained, published = self._drain_once(options, stop) if options["once"] else self._follow(options, stop)
        connection.close()
        rate = f", {drained / (time.monotonic() - started):,.0f} rows/s" if options["once"] and drained else ""
        self.stdout.write(
            f"Relay: {drained:,} outbox rows drained, {published:,} published, {drained - published:,} unchanged{rate}."
        )

    def _drain_once(self, options: dict[str, Any], stop: StopRequest) -> tuple[int, int]:
        relay = Relay(options["batch_size"])
        drained = published = 0
        while not stop and (batch := relay.step()).drained:
            drained, published = drained + batch.drained, published + batch.published
        return drained, published

    def _follow(self, options: dict[str, Any], stop: StopRequest) -> tuple[int, int]:
        """Relay until stopped; through lost connections, with growing pauses, said once."""
        logger.info("Relay: started.")
        drained = published = 0
        relay = Relay(options["batch_size"])
        looked = away = False
        pause = FIRST_PAUSE_SECONDS
        while not stop:
            try:
                if connection.connection is None:
                    with connection.cursor() as cursor:
                        cursor.execute(_SESSION)
                # The first step also sees to the feed's epoch, so it is taken even with nothing to do.
                batch: Batch | None = None if looked and relay.is_idle() else relay.step()
            except (OperationalError, InterfaceError) as error:
                connection.close()
                relay, looked = Relay(options["batch_size"]), False
                if not away:
                    logger.warning("Relay: the database is away, trying again until it is back. %s", error)
                away = True
                time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                continue
            if away:
                logger.info("Relay: the database is back.")
                away, pause = False, FIRST_PAUSE_SECONDS
            looked = True
            if batch is None or not batch.drained:
                time.sleep(options["interval"])
            else:
                drained, published = drained + batch.drained, published + batch.published
        return drained, published
