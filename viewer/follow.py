"""`python -m viewer sync`: a thin loop around `sync_once` and `send_waiting`."""

import random
import sys
import time
from dataclasses import dataclass
from typing import NoReturn

from django.db import DatabaseError, connection
from tqdm import tqdm

from viewer.feed_client import FeedClient, HubAway, TokenRefused
from viewer.models import Card, CardProgress, Explanation, Question, Rating, Topic, UnknownItem
from viewer.ratings import send_waiting
from viewer.stopping import Stop, Stopped
from viewer.storage import Trouble, trouble_of
from viewer.sync import Step, apply_kept_items, current_state, record_failure, sync_once

LONG_POLL_SECONDS = 25
LONGEST_PAUSE = 60.0


@dataclass
class Progress:
    """What the loop tells: a bar on a terminal while it catches up, plain lines elsewhere."""

    bar: "tqdm[NoReturn] | None" = None
    is_away: bool = False
    upserted: int = 0
    deleted: int = 0
    told_at: float = 0.0

    def say(self, sentence: str) -> None:
        self._close_bar()
        sys.stdout.write(sentence + "\n")
        sys.stdout.flush()

    def away(self, sentence: str, *, final: bool = False) -> None:
        """Once, however often it is tried again."""
        if final:
            self.say(sentence)
        elif not self.is_away:
            self.say(f"{sentence} Trying again until it works.")
        self.is_away = True

    def back(self) -> None:
        if self.is_away:
            self.say("The hub answers again.")
        self.is_away = False

    def step(self, step: Step) -> None:
        if step.started_over:
            self.say("The feed begins anew: reading it from its start. What is here stays readable meanwhile.")
            return
        self.upserted += step.upserted
        self.deleted += step.deleted + step.swept
        if step.kept:
            self.say(f"{step.kept} rows are newer than this version understands. They are kept.")
        if step.has_more and sys.stderr.isatty():
            self._move_bar(step)
        elif not step.has_more or time.monotonic() - self.told_at > 5:
            self._tell(step)

    def close(self) -> None:
        self._close_bar()

    def _move_bar(self, step: Step) -> None:
        bar = self.bar
        if bar is None:
            bar = self.bar = tqdm(total=step.head, initial=step.seq, unit=" changes", desc="Reading the feed")
        bar.total = step.head
        bar.update(step.seq - bar.n)

    def _close_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _tell(self, step: Step) -> None:
        if not self.upserted and not self.deleted:
            return
        self.say(f"{self.upserted} rows written, {self.deleted} deleted; at {step.seq} of {step.head}.")
        self.upserted = self.deleted = 0
        self.told_at = time.monotonic()


def follow(*, once: bool) -> int:
    """Follow the feed until told to stop, or with `once` until its head. Returns the exit code."""
    stop = Stop()
    stop.install()
    progress = Progress()
    if applied := apply_kept_items():
        progress.say(f"{applied} rows that an earlier version had kept are applied.")
    try:
        with FeedClient(while_waiting=stop.while_waiting) as client:
            return _follow(client, stop, progress, once=once)
    except Stopped:
        state = current_state()
        progress.say(f"Stopped at {state.seq} of {state.head}.")
        return 130 if once else 0
    finally:
        progress.close()


def _follow(client: FeedClient, stop: Stop, progress: Progress, *, once: bool) -> int:
    failures = restarts = 0
    caught_up = False
    send = True
    while not stop.requested:
        try:
            if send:
                _send_ratings(client, progress)
            step = sync_once(client, wait=LONG_POLL_SECONDS if caught_up and not once else 0)
        except (HubAway, TokenRefused, DatabaseError) as error:
            trouble = _trouble(error)
            progress.away(trouble.sentence, final=once or trouble.is_damage)
            if once or trouble.is_damage:
                return 1
            failures += 1
            caught_up = False
            _pause(stop, failures, error.retry_after if isinstance(error, HubAway) else None)
            continue
        progress.back()
        progress.step(step)
        failures = 0
        caught_up = send = not step.has_more and not step.started_over
        restarts = 0 if caught_up else restarts + step.started_over
        if restarts > 1:
            # A hub that refuses every cursor it just gave out is not asked as fast as it can answer.
            _pause(stop, restarts, None)
        if once and caught_up:
            progress.say(_summary())
            return 0
    raise Stopped


def _send_ratings(client: FeedClient, progress: Progress) -> None:
    """Ratings that cannot be sent go on waiting; the feed is followed all the same."""
    try:
        sent = send_waiting(client)
    except (HubAway, TokenRefused):
        return
    if sent.accepted:
        progress.say(f"{sent.accepted} ratings sent.")
    if sent.refused:
        progress.say(f"{sent.refused} ratings refused by the hub; the home page shows why.")


def _trouble(error: HubAway | TokenRefused | DatabaseError) -> Trouble:
    """What failed; a failure of the hub is noted for the pages. Raises what is a fault of this program."""
    if not isinstance(error, DatabaseError):
        record_failure(error)
        return Trouble(str(error))
    trouble = trouble_of(error)
    if trouble is None:
        raise error
    # Of our own database: it cannot take a note about itself. A new connection may find it back.
    connection.close()
    return trouble


def _pause(stop: Stop, failures: int, retry_after: float | None) -> None:
    """Longer after each failure, and never in step with other viewers that lost the hub as well."""
    seconds = min(LONGEST_PAUSE, 2.0 ** min(failures, 10) / 2) * random.uniform(0.5, 1.0)  # noqa: S311
    with stop.while_waiting():
        time.sleep(max(seconds, retry_after or 0.0))


def _summary() -> str:
    state = current_state()
    rows = [
        (Topic.objects.count(), "topics"),
        (Question.objects.count(), "questions"),
        (Explanation.objects.count(), "explanations"),
        (Card.objects.count(), "cards"),
        (CardProgress.objects.count(), "with progress"),
    ]
    held = ", ".join(f"{number} {name}" for number, name in rows)
    waiting = Rating.objects.filter(state=Rating.State.WAITING).count()
    kept = UnknownItem.objects.count()
    more = f" {kept} rows are kept for a newer version." if kept else ""
    return f"At the head, {state.head}: {held}; {waiting} ratings waiting.{more}"
