"""Explanations written by a language model: asked for in the transaction of the change, written by a worker.

- requesting.py: who asks. It sets a question to `pending` and defers a job, in the caller's transaction.
- work.py: what a job does. It claims the question, asks, and stores what came, in transactions of its own.
- asking.py: one request to an OpenAI-compatible endpoint. It knows nothing of the database.
- __main__.py: the worker, `python -m memocards.explaining`.

A job says only "look at this question"; the row says what there is to do. So a job too many does no harm, and a
question whose job was lost is asked for again like any other.

Nothing is imported here: the worker begins with this package, before Django is set up.
"""
