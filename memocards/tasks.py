"""The jobs that procrastinate's worker knows. It imports this module by its name."""

import contextlib

from django.db import connection
from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from memocards.explaining import requesting, work


# Failed attempts are counted and spaced by the job itself. The strategy is for what it did not foresee.
@app.task(name=requesting.TASK, queue=requesting.QUEUE, retry=RetryStrategy(wait=60))
def explain_question(question_id: int) -> str:
    with contextlib.closing(connection):
        return work.explain(question_id)


@app.periodic(cron="* * * * *")
@app.task(name="memocards.retry_stalled_explanations", queue=requesting.QUEUE)
def retry_stalled_explanations(timestamp: int) -> int:
    with contextlib.closing(connection):
        return work.retry_stalled()
