"""`python -m viewer sync`: a thin loop around `sync_once` and `send_waiting`."""

import sys
import time
from dataclasses import dataclass
from typing import NoReturn

from django.db import DatabaseError, connection
from tqdm import tqdm

from kit.pauses import GrowingPauses
from kit.stopping import Stopped, StopRequest
from viewer.adopting import adopt
from viewer.feed_client import FeedClient
from viewer.hub_responses import HubAway, LearnerErased, TokenRefused
from viewer.models import Card, CardProgress, Explanation, Question, Rating, Topic, UnknownItem
from viewer.owner import OtherOwner, confirmed_owner, current_owner, is_anothers
from viewer.ratings import send_accepted_again, send_waiting
from viewer.results import of_owner
from viewer.state import current_state, record_failure
from viewer.storage import Trouble, trouble_of
from viewer.sync import Step, apply_kept_items, sync_once

LONG_POLL_SECONDS = 25
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass
class Progress:
    """What the loop tells: a bar on a terminal while it catches up, plain lines elsewhere."""

    bar: "tqdm[NoReturn] | None" = None
    failure: type[Exception] | None = None
    upserted: int = 0
    deleted: int = 0
    told_at: float = 0.0

    def say(self, sentence: str) -> None:
        self._close_bar()
        sys.stdout.write(sentence + "\n")
        sys.stdout.flush()

    def away(self, error: HubAway | TokenRefused | DatabaseError, sentence: str, *, final: bool = False) -> None:
        """Once for each kind of failure, however often it is tried again."""
        if final or self.failure is not type(error):
            is_for_good = final or isinstance(error, LearnerErased)
            self.say(sentence if is_for_good else f"{sentence} Trying again until it works.")
        self.failure = type(error)

    def back(self) -> None:
        if self.failure is not None:
            self.say("The hub answers again.")
        self.failure = None

    def step(self, step: Step) -> None:
        if step.confirmed:
            return
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


def follow(*, once: bool, adopts: bool = False, yes: bool = False) -> int:
    """Follow the feed until told to stop, or with `once` until its head. Returns the exit code.

    `adopts`: first give the database to the present token; `yes`: without asking.
    """
    stop = StopRequest().install()
    progress = Progress()
    try:
        with FeedClient(while_waiting=stop.while_waiting) as client:
            if adopts and not _adopt(client, stop, progress, yes=yes):
                return 1
            return _follow(client, stop, progress, once=once)
    except OtherOwner as error:
        # Nothing of this is noted in the database: its owner's viewer may run at the same time.
        progress.say(str(error))
        return 1
    except Stopped:
        state = current_state()
        progress.say(f"Stopped at {state.seq} of {state.head}.")
        return 130 if once else 0
    finally:
        progress.close()


def _adopt(client: FeedClient, stop: StopRequest, progress: Progress, *, yes: bool) -> bool:
    """Give the database to the present token; False, and a sentence, where that was not done."""

    def is_meant(question: str) -> bool:
        if yes:
            return True
        if not sys.stdin.isatty():
            progress.say(f"{question} There is nobody to ask. Add --yes if it is meant.")
            return False
        progress.say(f"{question} [y/N]")
        with stop.while_waiting():
            return sys.stdin.readline().strip().lower() in {"y", "yes"}

    try:
        adopted = adopt(client, is_meant=is_meant, say=progress.say)
    except (HubAway, TokenRefused) as error:
        progress.say(f"{error} Nothing was changed.")
        return False
    if not adopted:
        progress.say("Nothing was changed.")
    return adopted


def _apply_kept_items(progress: Progress) -> None:
    if confirmed_owner() and (applied := apply_kept_items()):
        progress.say(f"{applied} rows that an earlier version had kept are applied.")


def _follow(client: FeedClient, stop: StopRequest, progress: Progress, *, once: bool) -> int:
    restarts = 0
    pauses = GrowingPauses(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
    caught_up = False
    send = True
    _apply_kept_items(progress)
    while not stop.requested:
        try:
            if send:
                _send_ratings(client, progress)
            step = sync_once(client, wait=LONG_POLL_SECONDS if caught_up and not once else 0)
        except (HubAway, TokenRefused, DatabaseError) as error:
            trouble = _trouble(error)
            progress.away(error, trouble.sentence, final=once or trouble.is_damage)
            if once or trouble.is_damage:
                return 1
            caught_up = False
            _pause(stop, max(pauses.next(), getattr(error, "retry_after", None) or 0))
            continue
        progress.back()
        progress.step(step)
        if step.confirmed:
            _apply_kept_items(progress)
        caught_up = not step.has_more and not step.started_over
        send = caught_up or step.confirmed or step.started_over
        restarts = 0 if caught_up else restarts + step.started_over
        if restarts > 1:
            # A hub that refuses every cursor it just gave out is not asked as fast as it can answer.
            _pause(stop, pauses.next())
        else:
            pauses.reset()
        if once and caught_up:
            progress.say(_summary())
            return 0
    raise Stopped


def _send_ratings(client: FeedClient, progress: Progress) -> None:
    """Ratings that cannot be sent go on waiting; the feed is followed all the same."""
    for send, what in ((send_accepted_again, "sent again"), (send_waiting, "sent")):
        try:
            sent = send(client)
        except (HubAway, TokenRefused):
            return
        if sent.accepted:
            progress.say(f"{sent.accepted} ratings {what}.")
        if sent.refused:
            progress.say(f"{sent.refused} ratings refused by the hub; the home page shows why.")


def _trouble(error: HubAway | TokenRefused | DatabaseError) -> Trouble:
    """What failed; a failure of the hub is noted for the pages. Raises what is a fault of this program."""
    if not isinstance(error, DatabaseError):
        if not is_anothers(current_owner()):
            # What another token runs into is nothing to the owner.
            record_failure(error)
        return Trouble(str(error))
    trouble = trouble_of(error)
    if trouble is None:
        raise error
    # Of our own database: it cannot take a note about itself. A new connection may find it back.
    connection.close()
    return trouble


def _pause(stop: StopRequest, seconds: float) -> None:
    with stop.while_waiting():
        time.sleep(seconds)


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
    owner = current_owner()
    waiting = Rating.objects.filter(of_owner(owner), state=Rating.State.WAITING).count() if owner else 0
    kept = UnknownItem.objects.count()
    more = f" {kept} rows are kept for a newer version." if kept else ""
    return f"At the head, {state.head}: {held}; {waiting} ratings waiting.{more}"
