"""`python -m memocards.explaining`: procrastinate's worker for explanations, until it is stopped.

Several may run, and one that was killed is no loss: its job is done again. SIGTERM or Ctrl-C finishes the jobs in
hand; a second one forces the exit.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time

import django
from django.conf import settings

from kit.pauses import GrowingPauses
from kit.standard_output import end_with_reader

logger = logging.getLogger("memocards.explaining")

CONCURRENCY = 4
LOOK_SECONDS = 0.2
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
# A worker that held out so long had found the database again.
STEADY_SECONDS = 60.0


def main() -> int:
    """Returns the exit code: 0 after a stop that was asked for, 1 where no endpoint is set."""
    from django.db import InterfaceError, OperationalError
    from procrastinate.exceptions import ConnectorException

    from kit.stopping import StopRequest
    from memocards.explaining.requesting import LLM_HINT, endpoint_is_set

    if not endpoint_is_set():
        print(LLM_HINT, file=sys.stderr)  # noqa: T201
        return 1
    # It says every second what is said below once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    stop = StopRequest().install()
    logger.info("Explanations: started, asking %s at %s.", settings.LLM_MODEL, settings.LLM_BASE_URL)
    pauses = GrowingPauses(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
    while not stop:
        begun = time.monotonic()
        try:
            _work(stop)
        except (ConnectorException, OperationalError, InterfaceError) as error:
            logger.warning(
                "Explanations: the database is away, trying again until it is back. %s", error.__cause__ or error
            )
        if not stop:
            # Also where the worker has ended by itself: it does so when a heartbeat fails.
            if time.monotonic() - begun > STEADY_SECONDS:
                pauses.reset()
            time.sleep(pauses.next())
    logger.info("Explanations: stopped.")
    return 0


def _work(stop: object) -> None:
    """One worker, from its first connection to its last; returns when asked to stop, or when it gave up."""
    from procrastinate.contrib.django import app, connector_params
    from procrastinate.psycopg_connector import PsycopgConnector

    # Asked anew each time: it starts the embedded database.
    connector = PsycopgConnector(kwargs=connector_params(), min_size=1, max_size=CONCURRENCY, timeout=10)

    async def run_worker() -> None:
        from memocards.explaining.requesting import QUEUE

        async with app.open_async():
            await app.run_worker_async(
                queues=[QUEUE],
                name="explanations",
                concurrency=CONCURRENCY,
                # Half a second is nothing to an answer, and a worker that listens ends when that connection is lost.
                listen_notify=False,
                fetch_job_polling_interval=0.5,
                delete_jobs="always",
                install_signal_handlers=False,
            )

    async def run_until_stopped() -> None:
        worker = asyncio.create_task(run_worker())
        while not stop and not worker.done():
            await asyncio.wait({worker}, timeout=LOOK_SECONDS)
        # procrastinate takes this as: finish what is in hand.
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker

    with app.replace_connector(connector):
        asyncio.run(run_until_stopped())


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studyhub.settings")
    with end_with_reader():
        django.setup()
        sys.exit(main())
