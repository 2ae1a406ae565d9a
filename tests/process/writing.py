"""Writers under load: several threads that change everything there is, hold their transactions open for a while,
and remember what the database has confirmed.

As a program: `python -m tests.process.writing SECONDS THREADS SEED` writes that as JSON.
"""

import json
import random
import signal
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any


@dataclass
class Content:
    """Primary keys of what the writers share."""

    topics: list[int] = field(default_factory=list)
    questions: list[int] = field(default_factory=list)
    cards: list[int] = field(default_factory=list)
    learners: list[int] = field(default_factory=list)


@dataclass
class Written:
    """`confirmed` and `tried`: card → the last version of its front that COMMIT confirmed, and that was attempted."""

    confirmed: dict[int, int] = field(default_factory=dict)
    tried: dict[int, int] = field(default_factory=dict)
    writes: int = 0
    refused: int = 0
    rolled_back: int = 0
    interrupted: int = 0
    created: list[int] = field(default_factory=list)

    def lost(self, fronts: dict[int, str]) -> list[str]:
        """What was confirmed and is not in the database, given the fronts that are."""
        wrong = [f"card {key} is gone" for key in self.created if key not in fronts]
        for key, version in self.confirmed.items():
            number = int(fronts[key].partition(":")[2])
            if not version <= number <= self.tried[key]:
                wrong.append(f"card {key} is at {number}, {version} was confirmed, {self.tried[key]} tried")
        return wrong

    @classmethod
    def from_json(cls, text: str) -> "Written":
        """The reverse of what main() writes."""
        values = json.loads(text)
        for name in ("confirmed", "tried"):
            values[name] = {int(key): version for key, version in values[name].items()}
        return cls(**values)

    def __add__(self, other: "Written") -> "Written":
        return Written(
            {**self.confirmed, **other.confirmed},
            {**self.tried, **other.tried},
            self.writes + other.writes,
            self.refused + other.refused,
            self.rolled_back + other.rolled_back,
            self.interrupted + other.interrupted,
            self.created + other.created,
        )


class RolledBack(Exception):
    """Raised by a writer that changes its mind."""


def make_content() -> Content:
    """Topics, questions, approved cards and learners; enqueued, as everything that services write."""
    from django.contrib.auth.models import User

    from memocards.content import topics
    from memocards.content.cards import cards
    from memocards.content.editors import SYSTEM
    from memocards.content.questions import questions

    run = uuid.uuid4().hex[:8]
    content = Content(
        topics=[topics.create_topic(name=f"Topic {run} {number}", editor=SYSTEM).pk for number in range(3)]
    )
    for number in range(6):
        topic_id = content.topics[number % 3]
        question = questions.create(topic_id=topic_id, stem=f"{number}?", choices=["a", "b"], answer=1, editor=SYSTEM)
        content.questions.append(question.pk)
    for number in range(40):
        topic_id = content.topics[number % 3]
        card = cards.create(topic_id=topic_id, front=f"{number}:0", back="Back", needs_review=False, editor=SYSTEM)
        content.cards.append(card.pk)
    content.learners = [User.objects.create_user(f"{run} {number}").pk for number in range(3)]
    return content


class Writer:
    """One thread's worth of writing. Three of its cards are edited by nobody else."""

    def __init__(self, content: Content, *, seed: int, longest_hold: float = 0.03) -> None:
        from memocards.content.cards import cards
        from memocards.content.editors import SYSTEM

        self.content = content
        self.random = random.Random(seed)
        self.longest_hold = longest_hold
        self.written = Written()
        self.own = [
            cards.create(topic_id=content.topics[0], front="own:0", back="Back", needs_review=False, editor=SYSTEM).pk
            for _ in range(3)
        ]
        self.written.confirmed = dict.fromkeys(self.own, 0)
        self.written.tried = dict.fromkeys(self.own, 0)

    def write_until(self, stop: threading.Event) -> Written:
        """Write until told to stop; through lost connections."""
        from django.db import Error, InterfaceError, OperationalError, connection

        from memocards.errors import DomainError

        try:
            while not stop.is_set():
                try:
                    self.write()
                    self.written.writes += 1
                except DomainError:
                    self.written.refused += 1
                except RolledBack:
                    self.written.rolled_back += 1
                except (OperationalError, InterfaceError):
                    self.written.interrupted += 1
                    try:
                        connection.close()
                    except Error:
                        connection.connection = None
                    stop.wait(0.05)
        finally:
            connection.close()
        return self.written

    def write(self) -> None:
        actions = [self._edit_own] * 6 + [self._change_many] * 3 + [self._create] * 2
        actions += [self._explain, self._rate, self._rate, self._undo, self._cascade, self._change_mind]
        self.random.choice(actions)()

    def _edit_own(self) -> None:
        from kit.transactions import in_transaction
        from memocards.content.cards import cards
        from memocards.content.editors import SYSTEM

        key = self.random.choice(self.own)
        version = self.written.tried[key] = self.written.tried[key] + 1

        @in_transaction
        def edit_and_hold() -> None:
            cards.update(key=key, changes={"front": f"own:{version}"}, editor=SYSTEM)
            self._hold()

        edit_and_hold()
        self.written.confirmed[key] = version

    def _change_many(self) -> None:
        from kit.transactions import in_transaction
        from memocards.content.cards import cards
        from memocards.content.editors import SYSTEM
        from memocards.content.versions import versions_of
        from memocards.models import MemoCard

        keys = self.random.sample(self.content.cards, 5)
        change = self.random.choice(["approve", "approve", "unapprove", "delete", "restore", "restore"])

        @in_transaction
        def change_and_hold() -> None:
            if change == "approve":
                cards.approve(versions=versions_of(MemoCard, keys), editor=SYSTEM)
            else:
                getattr(cards, change)(keys=keys, editor=SYSTEM)
            self._hold()

        change_and_hold()

    def _create(self) -> None:
        from memocards.content.cards import cards
        from memocards.content.editors import SYSTEM

        card = cards.create(
            topic_id=self.random.choice(self.content.topics), front="new:0", back="B", needs_review=False, editor=SYSTEM
        )
        self.written.created.append(card.pk)

    def _explain(self) -> None:
        from memocards.content.editors import SYSTEM
        from memocards.content.questions import questions

        key = self.random.choice(self.content.questions)
        if self.random.random() < 0.3:
            questions.clear_explanation(key=key, editor=SYSTEM)
        else:
            questions.set_explanation(key=key, body=f"Because of {self.random.random()}", editor=SYSTEM)

    def _rate(self) -> None:
        from django.utils import timezone

        from kit.scheduling import Outcome
        from memocards.learning import rating

        rating.rate_card(
            learner_id=self.random.choice(self.content.learners),
            card_id=self.random.choice(self.content.cards),
            review_id=uuid.UUID(int=self.random.getrandbits(128)),
            outcome=self.random.choice(list(Outcome)),
            reviewed_at=timezone.now() - timedelta(hours=self.random.randrange(2000)),
        )

    def _undo(self) -> None:
        from memocards.learning import rating

        rating.undo_review(
            learner_id=self.random.choice(self.content.learners), card_id=self.random.choice(self.content.cards)
        )

    def _cascade(self) -> None:
        """A topic of the writer's own: made, filled, deleted with its content, perhaps restored."""
        from memocards.content import topics
        from memocards.content.cards import cards
        from memocards.content.editors import SYSTEM

        topic = topics.create_topic(name=f"Short-lived {uuid.uuid4().hex}", editor=SYSTEM)
        for number in range(3):
            cards.create(topic_id=topic.pk, front=f"short:{number}", back="B", needs_review=False, editor=SYSTEM)
        topics.delete_topic(topic_id=topic.pk, cascade=True, editor=SYSTEM)
        if self.random.random() < 0.5:
            topics.restore_topic(topic_id=topic.pk, editor=SYSTEM)

    def _change_mind(self) -> None:
        from django.db import transaction

        from memocards.content.cards import cards
        from memocards.content.editors import SYSTEM

        with transaction.atomic():
            cards.update(key=self.random.choice(self.own), changes={"front": "own:999999999"}, editor=SYSTEM)
            raise RolledBack

    def _hold(self) -> None:
        """Keep the transaction open: rows with higher outbox ids commit meanwhile."""
        time.sleep(self.random.uniform(0, self.longest_hold))


class Writing:
    """Writers in threads of this process. Use it as a context; `written` is there after it."""

    def __init__(self, *, threads: int, seed: int) -> None:
        self.content = make_content()
        self.written = Written()
        self._writers = [Writer(self.content, seed=seed * 1000 + number) for number in range(threads)]
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=threads)

    def __enter__(self) -> "Writing":
        self._futures = [self._pool.submit(writer.write_until, self._stop) for writer in self._writers]
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for future in self._futures:
            self.written += future.result()


def state() -> dict[str, Any]:
    """What a consumer of all learners should hold, and where each key stands in the feed, by the database."""
    from memocards.models import MemoCard
    from publish.models import FeedState, PublishedItem, PublishOutbox
    from tests.oracles.expected import drift, expected

    return {
        "rows": [[*key, held.payload, held.learner_id] for key, held in expected().items()],
        "seqs": [[*row] for row in PublishedItem.objects.values_list("kind", "source_id", "seq")],
        "fronts": [[*row] for row in MemoCard.objects.values_list("pk", "front")],
        "drift": len(drift()),
        "outbox": PublishOutbox.objects.count(),
        "head": FeedState.objects.get().last_seq,
    }


def _until_told(seconds: float) -> None:
    """Until the time is up, or SIGTERM."""
    lines: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: lines.append(number))
    end = time.monotonic() + seconds
    while time.monotonic() < end and not lines:
        time.sleep(0.05)


def main(arguments: list[str]) -> None:
    import django

    django.setup()
    if arguments == ["state"]:
        sys.stdout.write(json.dumps(state()))
        return
    with Writing(threads=int(arguments[1]), seed=int(arguments[2])) as writing:
        sys.stderr.write("Writing.\n")
        _until_told(float(arguments[0]))
    sys.stdout.write("\n" + json.dumps(vars(writing.written)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
