"""Three oracles over random histories: a follower kept up to date ≡ one that starts from nothing ≡ the source tables.

And verify_publish finds no drift, at any moment, unless somebody wrote past the services.
"""

import contextlib
import copy
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from kit.scheduling import Outcome
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.questions import questions
from memocards.content.versions import versions_of
from memocards.errors import DomainError
from memocards.learning import rating
from memocards.models import CardProgress, MemoCard, Question, Review, Topic
from publish.backfill import backfill_page
from publish.kinds import CATALOGUE
from publish.models import PublishedItem
from publish.relay import Batch, Relay, relay_batch
from publish.retention import new_feed_epoch, prune_tombstones
from publish.services import enqueue_tombstone_publish
from publish.subscribers import Reader
from publish.verify import repair
from tests.factories import UserFactory
from tests.oracles.expected import drift, expected, pending, seen_by
from tests.oracles.following import Follower, Page, from_database
from tests.process.processes import say

# Enough to come again, so that A → B → A happens; and what escaping could break.
TEXTS = ("A", "B", "한국어 🂡", "é", "é", '"quoted" \\u0000 \\', "two\nlines\t", "</script>", "a\u2028b")

any_row = st.integers(0, 11)
some_rows = st.lists(any_row, min_size=1, max_size=5)
texts = st.sampled_from(TEXTS)
limits = st.integers(1, 9)
followers = st.integers(0, 5)

_EMPTY = """
SET session_replication_role = replica;
DELETE FROM publish_outbox; DELETE FROM publish_item; DELETE FROM memocards_review; DELETE FROM memocards_cardprogress;
DELETE FROM memocards_memocard; DELETE FROM memocards_question; DELETE FROM memocards_topic;
DELETE FROM memocards_learnersettings; DELETE FROM auth_user;
UPDATE publish_feed_state SET last_seq = 0, tombstone_floor = 0;
RESET session_replication_role;
"""

counted: Counter[str] = Counter()


class Undone(Exception):
    """Raised to roll a transaction back."""


class History(RuleBasedStateMachine):
    """Whatever authors, learners, operators and consumers may do, in any order."""

    def __init__(self) -> None:
        super().__init__()
        with connection.cursor() as cursor:
            cursor.execute(_EMPTY)
        self.topics: list[int] = []
        self.questions: list[int] = []
        self.cards: list[int] = []
        self.reviews: list[dict[str, Any]] = []
        self.learners = [UserFactory.create().pk for _ in range(3)]
        self.relay = Relay(4)
        # Somebody wrote past the services, and verify_publish has not repaired it yet.
        self.strayed = False
        anna, ben, _ = self.learners
        self.readers = [
            Reader(1, learner_id=None, all_learners=False, kinds=()),
            Reader(2, learner_id=anna, all_learners=False, kinds=()),
            Reader(3, learner_id=ben, all_learners=False, kinds=()),
            Reader(4, learner_id=None, all_learners=True, kinds=()),
            Reader(5, learner_id=anna, all_learners=False, kinds=("card", "card_progress")),
            Reader(6, learner_id=None, all_learners=False, kinds=("explanation",)),
        ]
        self.followers = [Follower(from_database(reader)) for reader in self.readers]
        self.backups = copy.copy(self.followers)
        self.last_pages: dict[int, Page] = {}
        # Another connection, whose transaction stays open while everything else goes on.
        self.elsewhere = ThreadPoolExecutor(max_workers=1)
        self.late: transaction.Atomic | None = None
        self.late_number = 0
        self.late_rows: tuple[int, int] = (0, 0)
        self.written = 0
        counted["histories"] += 1
        for number in range(3):
            self.create_topic(number, "fsrs" if number == 1 else "ladder")
            self.create_question(number, "A", waits=False)
            self.create_card(number, number, "A", waits=False)
            self.create_card(number, None, "B", waits=False)
            self.rate(number, number, Outcome.GOOD, 48)
        self.follow_to_the_head()

    def teardown(self) -> None:
        try:
            if self.late is not None:
                self.end_late_transaction(commit=True)
            self.agree()
        finally:
            self.elsewhere.submit(_close_connection).result()
            self.elsewhere.shutdown()

    # Authors

    @rule(name=st.integers(0, 3), scheduler=st.sampled_from(["ladder", "fsrs"]))
    def create_topic(self, name: int, scheduler: str) -> None:
        self._create(
            self.topics, lambda: topics.create_topic(name=f"Topic {name}", scheduler=scheduler, editor=SYSTEM).pk
        )

    @rule(topic=any_row, text=texts)
    def edit_topic(self, topic: int, text: str) -> None:
        self._may_refuse(
            lambda: topics.update_topic(topic_id=_one(self.topics, topic), changes={"description": text}, editor=SYSTEM)
        )

    @rule(topic=any_row, cascade=st.booleans())
    def delete_topic(self, topic: int, cascade: bool) -> None:
        self._may_refuse(lambda: topics.delete_topic(topic_id=_one(self.topics, topic), cascade=cascade, editor=SYSTEM))

    @rule(topic=any_row)
    def restore_topic(self, topic: int) -> None:
        self._may_refuse(lambda: topics.restore_topic(topic_id=_one(self.topics, topic), editor=SYSTEM))

    @rule(topic=any_row, text=texts, waits=st.booleans())
    def create_question(self, topic: int, text: str, waits: bool) -> None:
        self._create(
            self.questions,
            lambda: (
                questions.create(
                    topic_id=_one(self.topics, topic),
                    stem=text,
                    choices=[text, "No"],
                    answer=1,
                    needs_review=waits,
                    editor=SYSTEM,
                ).pk
            ),
        )

    @rule(question=any_row, topic=any_row, text=texts)
    def edit_question(self, question: int, topic: int, text: str) -> None:
        changes = {"topic_id": _one(self.topics, topic), "stem": text}
        self._may_refuse(lambda: questions.update(key=_one(self.questions, question), changes=changes, editor=SYSTEM))

    @rule(question=any_row, text=st.none() | texts)
    def explain(self, question: int, text: str | None) -> None:
        key = _one(self.questions, question)
        self._may_refuse(
            lambda: (
                questions.clear_explanation(key=key, editor=SYSTEM)
                if text is None
                else questions.set_explanation(key=key, body=text, editor=SYSTEM)
            )
        )

    @rule(rows=some_rows, change=st.sampled_from(["approve", "unapprove", "delete", "restore"]))
    def change_questions(self, rows: list[int], change: str) -> None:
        keys = _some(self.questions, rows)
        if change == "approve":
            versions = versions_of(Question, keys)
            self._may_refuse(lambda: questions.approve(versions=versions, editor=SYSTEM))
        else:
            self._may_refuse(lambda: getattr(questions, change)(keys=keys, editor=SYSTEM))

    @rule(topic=any_row, question=st.none() | any_row, text=texts, waits=st.booleans())
    def create_card(self, topic: int, question: int | None, text: str, waits: bool) -> None:
        self._create(
            self.cards,
            lambda: (
                cards.create(
                    topic_id=_one(self.topics, topic),
                    question_id=None if question is None or not self.questions else _one(self.questions, question),
                    front=text,
                    back="Back",
                    tags=[text],
                    needs_review=waits,
                    editor=SYSTEM,
                ).pk
            ),
        )

    @rule(card=any_row, text=texts)
    def edit_card(self, card: int, text: str) -> None:
        self._may_refuse(lambda: cards.update(key=_one(self.cards, card), changes={"front": text}, editor=SYSTEM))

    @rule(card=any_row, topic=any_row)
    def move_card(self, card: int, topic: int) -> None:
        """Its progress rows move along."""
        changes = {"topic_id": _one(self.topics, topic)}
        self._may_refuse(lambda: cards.update(key=_one(self.cards, card), changes=changes, editor=SYSTEM))

    @rule(rows=some_rows, change=st.sampled_from(["approve", "unapprove", "delete", "restore"]))
    def change_cards(self, rows: list[int], change: str) -> None:
        keys = _some(self.cards, rows)
        if change == "approve":
            versions = versions_of(MemoCard, keys)
            self._may_refuse(lambda: cards.approve(versions=versions, editor=SYSTEM))
        else:
            self._may_refuse(lambda: getattr(cards, change)(keys=keys, editor=SYSTEM))

    # Learners

    @rule(
        learner=st.integers(0, 2),
        card=any_row,
        outcome=st.sampled_from(Outcome),
        hours_ago=st.integers(0, 3000) | st.integers(-48, 48),
    )
    def rate(self, learner: int, card: int, outcome: Outcome, hours_ago: int) -> None:
        review: dict[str, Any] = {
            "learner_id": self.learners[learner],
            "card_id": _one(self.cards, card),
            "review_id": uuid.uuid4(),
            "outcome": outcome,
            "reviewed_at": timezone.now() - timedelta(hours=hours_ago),
        }
        self.reviews.append(review)
        self._may_refuse(lambda: rating.rate_card(**review))

    @precondition(lambda self: self.reviews)
    @rule(review=any_row)
    def send_a_rating_again(self, review: int) -> None:
        self._may_refuse(lambda: rating.rate_card(**self.reviews[review % len(self.reviews)]))

    @precondition(lambda self: self.reviews)
    @rule(review=any_row, last=st.booleans())
    def undo(self, review: int, last: bool) -> None:
        chosen = self.reviews[review % len(self.reviews)]
        self._may_refuse(
            lambda: rating.undo_review(
                learner_id=chosen["learner_id"],
                card_id=chosen["card_id"],
                review_id=None if last else chosen["review_id"],
            )
        )

    # What is undone leaves nothing

    @rule(card=any_row, text=texts)
    def roll_back(self, card: int, text: str) -> None:
        try:
            with transaction.atomic():
                self.edit_card(card, text)
                self.change_cards([card, card + 1], "delete")
                raise Undone
        except Undone:
            counted["rolled back"] += 1

    @rule(card=any_row, text=texts, other=texts)
    def roll_back_to_a_savepoint(self, card: int, text: str, other: str) -> None:
        with transaction.atomic():
            self.edit_card(card, text)
            try:
                with transaction.atomic():
                    self.edit_card(card, other)
                    self.rate(0, card, Outcome.GOOD, 1)
                    raise Undone
            except Undone:
                counted["rolled back to a savepoint"] += 1
            self.edit_topic(card, text)

    @precondition(lambda self: self.late is None)
    @rule(text=texts)
    def begin_late_transaction(self, text: str) -> None:
        """Rows under lower outbox ids than those of the transactions that commit meanwhile."""
        self.late_number += 1
        name = f"Late {self.late_number}"

        def begin() -> tuple[transaction.Atomic, tuple[int, int]]:
            atomic = transaction.atomic()
            atomic.__enter__()
            topic = topics.create_topic(name=name, editor=SYSTEM)
            return atomic, (
                topic.pk,
                cards.create(topic_id=topic.pk, front=text, back="B", needs_review=False, editor=SYSTEM).pk,
            )

        self.late, self.late_rows = self.elsewhere.submit(begin).result()

    @precondition(lambda self: self.late is not None)
    @rule(commit=st.booleans())
    def end_late_transaction(self, commit: bool) -> None:
        late, self.late = self.late, None
        assert late is not None
        error = (None, None, None) if commit else (Undone, Undone(), None)
        self.elsewhere.submit(late.__exit__, *error).result()
        if commit:
            self.topics.append(self.late_rows[0])
            self.cards.append(self.late_rows[1])
        counted["committed late" if commit else "rolled back late"] += 1

    # Operators

    @rule(rows=some_rows)
    def delete_for_good(self, rows: list[int]) -> None:
        """Hard deletes, announced by tombstones."""
        keys = _some(self.cards, rows)
        with transaction.atomic():
            progress = list(CardProgress.objects.filter(card_id__in=keys).values_list("pk", flat=True))
            enqueue_tombstone_publish("card", keys)
            enqueue_tombstone_publish("card_progress", progress)
            _delete_cards(keys)

    @rule(rows=some_rows)
    def vanish(self, rows: list[int]) -> None:
        """Hard deletes by raw SQL, of which the outbox hears nothing."""
        _delete_cards(_some(self.cards, rows))
        self.strayed = True

    @rule(question=any_row, card=any_row, text=texts, column=st.sampled_from(["front", "needs_review", "deleted_at"]))
    def write_past_the_services(self, question: int, card: int, text: str, column: str) -> None:
        value: dict[str, Any] = {"front": text, "needs_review": text == "A", "deleted_at": None}
        MemoCard.objects.filter(pk=_one(self.cards, card)).update(**{column: value[column]})
        Question.objects.filter(pk=_one(self.questions, question)).update(stem=text)
        topic = _one(self.topics, question)
        Topic.objects.filter(pk=topic).update(name=f"{topic} {text}")
        self.strayed = True

    @rule(page_rows=limits)
    def repair(self, page_rows: int) -> None:
        differences = drift(page_rows=page_rows)
        assert self.strayed or not differences, differences
        repair(differences)
        counted["repaired"] += len(differences)
        self.strayed = False
        assert drift(page_rows=page_rows) == []

    @rule(kind=st.sampled_from(list(CATALOGUE)), after=st.none() | any_row, limit=limits)
    def backfill(self, kind: str, after: int | None, limit: int) -> None:
        lists = {"topic": self.topics, "question": self.questions, "explanation": self.questions, "card": self.cards}
        backfill_page(kind, after_id=0 if after is None else _one(lists.get(kind, []), after), limit=limit)

    @rule(limit=limits)
    def relay_one_batch(self, limit: int) -> None:
        self._count(relay_batch(limit))

    @rule(steps=st.integers(1, 5))
    def relay_some_steps(self, steps: int) -> None:
        """The relay that keeps its place, as the command runs it."""
        for _ in range(steps):
            self._count(self.relay.step())

    @rule()
    def start_another_relay(self) -> None:
        self.relay = Relay(3)

    @rule(limit=limits)
    def prune(self, limit: int) -> None:
        counted["pruned"] += prune_tombstones(published_before=timezone.now() + timedelta(hours=1), limit=limit).deleted

    @rule(rows=some_rows, others=some_rows)
    def delete_and_forget(self, rows: list[int], others: list[int]) -> None:
        """Deleted, published, and pruned before anybody has read it; and then the feed goes on."""
        self.change_cards(rows, "delete")
        self._drain()
        self.prune(1000)
        self.change_cards(others, "restore")
        self._drain()

    @rule()
    def begin_another_epoch(self) -> None:
        new_feed_epoch()

    # Consumers

    @rule(which=followers, limit=limits)
    def follow(self, which: int, limit: int) -> None:
        follower = self.followers[which]
        follower.limit = limit
        if page := follower.read():
            self.last_pages[which] = page

    @rule()
    def follow_to_the_head(self) -> None:
        self._drain()
        for follower in self.followers:
            follower.limit = 1000
            follower.catch_up()

    @rule(which=followers, limit=limits, kept=st.booleans())
    def crash_before_the_cursor_moves(self, which: int, limit: int, kept: bool) -> None:
        """The page was fetched, its rows perhaps stored, its cursor not: the next look brings it again."""
        follower = self.followers[which]
        follower.limit = limit
        page = follower.look()
        if page and kept:
            follower.apply(page)
        counted["consumer crashes"] += 1

    @rule(which=followers)
    def get_the_same_page_twice(self, which: int) -> None:
        follower = self.followers[which]
        if page := follower.look():
            follower.apply(page)
            follower.apply(page)
            follower.move(page)

    @rule(which=followers)
    def back_up_a_consumer(self, which: int) -> None:
        self.backups[which] = copy.deepcopy(self.followers[which])

    @rule(which=followers, with_rows=st.booleans())
    def go_back_to_an_old_cursor(self, which: int, with_rows: bool) -> None:
        """A consumer restored from its backup; or one that lost its cursor's last moves, but no rows."""
        old = self.backups[which]
        if with_rows:
            self.followers[which] = copy.deepcopy(old)
        elif self.followers[which].restarts == old.restarts:
            # Rows and cursor are of one scan: what went before a start over belongs to another history.
            self.followers[which].cursor, self.followers[which].position = old.cursor, old.position
        counted["old cursors"] += 1

    # The oracles

    @rule(page_rows=limits)
    def verify(self, page_rows: int) -> None:
        """Without a drained outbox, too."""
        if not self.strayed:
            assert drift(page_rows=page_rows) == []

    @precondition(lambda self: self.written >= 20)
    @rule()
    def agree(self) -> None:
        self.written = 0
        if self.strayed:
            self.repair(7)
        self._drain()
        assert drift() == []
        assert self.late is not None or pending() == 0
        everything = expected()
        for reader, follower in zip(self.readers, self.followers, strict=True):
            truth = seen_by(reader, everything)
            fresh = Follower(from_database(reader), limit=5)
            fresh.catch_up()
            assert fresh.rows == truth, f"{reader}: from the beginning"
            follower.limit = 1000
            follower.catch_up()
            assert follower.rows == truth, f"{reader}: kept up to date"
            counted["rows compared"] += len(truth)
        counted["agreements"] += 1
        self._backfill_changes_nothing()

    def _backfill_changes_nothing(self) -> None:
        head = PublishedItem.objects.order_by("-seq").values_list("seq", flat=True).first()
        for kind in CATALOGUE:
            backfill_page(kind, limit=1000)
        assert self._drain() == 0
        assert PublishedItem.objects.order_by("-seq").values_list("seq", flat=True).first() == head

    def _drain(self) -> int:
        published = 0
        while (batch := self.relay.step()).drained:
            published += batch.published
            self._count(batch)
        return published

    def _count(self, batch: Batch) -> None:
        counted["outbox rows drained"] += batch.drained
        counted["events published"] += batch.published

    def _create(self, known: list[int], create: Callable[[], int]) -> None:
        self._may_refuse(lambda: known.append(create()))

    def _may_refuse(self, action: Callable[[], object]) -> None:
        """A refusal is a sentence, and changes nothing; anything else is a bug."""
        # Inside a transaction a service joins it, and its refusal would undo the whole.
        savepoint = transaction.atomic() if connection.in_atomic_block else contextlib.nullcontext()
        try:
            with savepoint:
                action()
        except DomainError:
            counted["refused"] += 1
        else:
            counted["written"] += 1
            self.written += 1


def _close_connection() -> None:
    """That of the thread which runs this."""
    connection.close()


def _one(known: list[int], number: int) -> int:
    """A known primary key; 0, which none has, where there is none."""
    return known[number % len(known)] if known else 0


def _some(known: list[int], numbers: list[int]) -> list[int]:
    return sorted({_one(known, number) for number in numbers} - {0})


def _delete_cards(keys: list[int]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        for model in (Review, CardProgress):
            cursor.execute(f"DELETE FROM {model._meta.db_table} WHERE card_id = ANY(%s)", [keys])
        cursor.execute("DELETE FROM memocards_memocard WHERE id = ANY(%s)", [keys])


def run(**options: Any) -> None:
    counted.clear()
    run_state_machine_as_test(
        History,
        settings=settings(
            deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck), **options
        ),
    )
    say(", ".join(f"{number:,} {what}" for what, number in sorted(counted.items())))


@pytest.mark.django_db(transaction=True)
def test_the_three_oracles_agree_after_any_history() -> None:
    run(derandomize=True, phases=[Phase.generate], max_examples=40, stateful_step_count=50)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_three_oracles_agree_after_many_long_histories() -> None:
    run(max_examples=300, stateful_step_count=150)
