import logging
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, connection

from kit.arguments import positive, seconds
from kit.pauses import GrowingPauses
from kit.stopping import StopRequest
from publish.heartbeat import Heart
from publish.relay import Batch, FeedLocked, Relay

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

# A relay that hangs while it holds the feed's lock would stop all others; PostgreSQL ends it instead. One that was
# killed in the middle of a long statement is noticed within a second. And one that waits for the lock says so.
_SESSION = """
SET idle_in_transaction_session_timeout = '4s';
SET client_connection_check_interval = '1s';
SET lock_timeout = '3s'
"""


def _limit_session() -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SESSION)


class Command(BaseCommand):
    help = (
        "The relay: moves the outbox into the feed, in the order of commits, until it is stopped. Several may run: "
        "they take turns, and one goes on where another was killed. SIGTERM or Ctrl-C finishes the batch in hand; a "
        "second one forces the exit."
    )

    # They are of the pages and the API, which the relay would have to load for them.
    requires_system_checks = []

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
        relay, heart = Relay(options["batch_size"]), Heart()
        drained = published = 0
        _limit_session()
        try:
            while not stop and (batch := relay.step()).drained:
                drained, published = drained + batch.drained, published + batch.published
                heart.beat()
        except FeedLocked:
            raise CommandError(
                f"The feed is locked by the database session {heart.hindered()}. End it first."
            ) from None
        heart.beat()
        return drained, published

    def _follow(self, options: dict[str, Any], stop: StopRequest) -> tuple[int, int]:
        """Relay until stopped; through lost connections and a locked feed, with pauses, each said once."""
        logger.info("Relay: started.")
        drained = published = 0
        relay, heart = Relay(options["batch_size"]), Heart()
        looked = away = locked = False
        pauses = GrowingPauses(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
        while not stop:
            try:
                if connection.connection is None:
                    _limit_session()
                try:
                    # The first step also sees to the feed's epoch, so it is taken even with nothing to do.
                    batch: Batch | None = None if looked and relay.is_idle() else relay.step()
                except FeedLocked:
                    hindrance = heart.hindered()
                    if not locked:
                        logger.warning("Relay: nothing is published: database session %s locks the feed.", hindrance)
                    locked = True
                    continue
                heart.beat()
            except (OperationalError, InterfaceError) as error:
                connection.close()
                relay, looked = Relay(options["batch_size"]), False
                if not away:
                    logger.warning("Relay: the database is away, trying again until it is back. %s", error)
                away = True
                time.sleep(pauses.next())
                continue
            if away or locked:
                logger.info("Relay: %s", "the database is back." if away else "the feed is free again.")
                away = locked = False
                pauses.reset()
            looked = True
            if batch is None or not batch.drained:
                time.sleep(options["interval"])
            else:
                drained, published = drained + batch.drained, published + batch.published
        return drained, published
