"""Erasing a learner: nothing of the learner's is left, anywhere, and nothing of anybody else's is gone."""

import os
import pty
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import transaction

from kit.scheduling import Outcome
from memocards.learning import rating
from memocards.learning.erasing import Erased, count_of, erase_learner
from memocards.models import CardProgress, LearnerSettings, Review
from publish.models import PublishedItem, PublishOutbox, Subscriber
from publish.relay import Batch
from publish.subscribers import LearnerErased, authenticate
from tests.factories import (
    CardProgressFactory,
    LearnerSettingsFactory,
    MemoCardFactory,
    ReviewFactory,
    SubscriberFactory,
    UserFactory,
)
from tests.memocards.waiting import wait_until_somebody_waits

pytestmark = pytest.mark.django_db

LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)


def rate(learner: User, cards: int = 2) -> None:
    for _ in range(cards):
        rating.rate_card(
            learner_id=learner.pk,
            card_id=MemoCardFactory.create().pk,
            review_id=ReviewFactory.build().pk,
            outcome=Outcome.GOOD,
        )


def feed() -> dict[tuple[int | None, int], Any]:
    """(learner, source id) → payload, or None for a tombstone."""
    rows = PublishedItem.objects.filter(kind="card_progress").order_by("seq")
    return {(row.learner_id, row.source_id): None if row.deleted else row.payload for row in rows}


def rows_of(learner: User) -> list[Any]:
    return [
        *CardProgress.objects.filter(learner=learner).order_by("pk").values_list(),
        *Review.objects.filter(learner=learner).order_by("pk").values_list(),
    ]


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("erase_learner", *arguments, stdout=output, stderr=output)
    return output.getvalue()


def test_a_viewer_is_told_to_forget_all_of_the_learner_and_nothing_else(
    learner: User, drain: Callable[[], Batch]
) -> None:
    other = UserFactory.create()
    rate(learner)
    rate(other)
    drain()
    before = feed()
    rate(learner, 1)  # not relayed yet
    others = rows_of(other)
    assert erase_learner(learner_id=learner.pk) == Erased(reviews=3, progress=3, subscribers=0, tombstones=3)
    drain()
    assert feed() == {key: None if key[0] == learner.pk else payload for key, payload in before.items()}
    assert not PublishOutbox.objects.exists()
    assert not CardProgress.objects.filter(learner=learner).exists()
    assert not Review.objects.filter(learner=learner).exists()
    assert rows_of(other) == others


def test_what_is_published_without_its_source_is_forgotten_too(learner: User, drain: Callable[[], Batch]) -> None:
    rate(learner)
    drain()
    CardProgress.objects.all().delete()
    assert erase_learner(learner_id=learner.pk).tombstones == 2
    drain()
    assert set(feed().values()) == {None}


def test_it_is_erased_once(learner: User, drain: Callable[[], Batch]) -> None:
    rate(learner)
    drain()
    erase_learner(learner_id=learner.pk)
    drain()
    assert erase_learner(learner_id=learner.pk) == Erased(0, 0, 0, 0)
    assert drain().published == 0


def test_the_learners_tokens_open_nothing_any_more(learner: User) -> None:
    SubscriberFactory.create(token="sh_mine", learner=learner)
    SubscriberFactory.create(token="sh_others", learner=UserFactory.create())
    SubscriberFactory.create(token="sh_everyones")
    revoked = SubscriberFactory.create(learner=learner, revoked_at=LONG_AGO)
    assert erase_learner(learner_id=learner.pk).subscribers == 1
    with pytest.raises(LearnerErased):
        authenticate("sh_mine")
    assert authenticate("sh_others") is not None
    assert authenticate("sh_everyones") is not None
    old = Subscriber.objects.get(pk=revoked.pk)
    assert (old.revoked_at, old.erased_learner_id) == (LONG_AGO, learner.pk), "its viewer may hold rows still"


def test_the_account_stays_and_can_be_deleted(learner: User) -> None:
    rate(learner)
    LearnerSettings.objects.update(new_per_day=3)
    erase_learner(learner_id=learner.pk)
    assert LearnerSettings.objects.get().new_per_day == 3
    learner.delete()
    assert not LearnerSettings.objects.exists()


def test_all_of_it_or_nothing(learner: User) -> None:
    SubscriberFactory.create(token="sh_mine", learner=learner)
    rate(learner)
    pending = PublishOutbox.objects.count()

    with transaction.atomic():
        erase_learner(learner_id=learner.pk)
        transaction.set_rollback(True)
    assert count_of(learner.pk) == Erased(reviews=2, progress=2, subscribers=1)
    assert PublishOutbox.objects.count() == pending


def test_the_number_of_statements_does_not_depend_on_the_number_of_rows(
    learner: User, django_assert_num_queries: Callable[[int], Any]
) -> None:
    LearnerSettingsFactory.create(learner=learner)
    for _ in range(30):
        row = CardProgressFactory.create(learner=learner)
        ReviewFactory.create(learner=learner, card=row.card)
    # learner, progress, published; lock and tombstones; three writes
    with django_assert_num_queries(9):
        assert erase_learner(learner_id=learner.pk).tombstones == 30


@pytest.mark.django_db(transaction=True)
def test_a_rating_on_its_way_is_erased_too(in_thread: Callable[..., Future[Any]], drain: Callable[[], Batch]) -> None:
    learner = UserFactory.create()
    LearnerSettingsFactory.create(learner=learner)
    with transaction.atomic():
        rate(learner)
        erased = in_thread(erase_learner, learner_id=learner.pk)
        wait_until_somebody_waits()
    assert erased.result() == Erased(reviews=2, progress=2, subscribers=0, tombstones=2)
    drain()
    # The viewer never heard of them, so there is nothing to take back.
    assert feed() == {}


# The command


def test_the_command_says_what_it_did(learner: User) -> None:
    rate(learner)
    SubscriberFactory.create(learner=learner)
    assert run(learner.username, "--yes") == (
        f"Erased of {learner.username}: 2 reviews and 2 progress rows. "
        "2 tombstones are on their way to the viewers, 1 tokens revoked.\n"
    )
    assert not Review.objects.exists()


def test_where_nobody_can_be_asked_it_takes_yes(learner: User, terminal: Callable[[str], None]) -> None:
    rate(learner)
    with open(os.devnull) as nobody, pytest.MonkeyPatch.context() as patch:  # noqa: PTH123
        patch.setattr("sys.stdin", nobody)
        with pytest.raises(CommandError, match="--yes"):
            run(learner.username)
    assert Review.objects.count() == 2


@pytest.mark.parametrize(("reply", "left"), [("y", 0), ("YES", 0), ("", 2), ("n", 2), ("yep", 2)])
def test_on_a_terminal_it_asks(learner: User, terminal: Callable[[str], None], reply: str, left: int) -> None:
    rate(learner)
    terminal(reply)
    if left:
        with pytest.raises(CommandError, match=r"Nothing was deleted\."):
            run(learner.username)
    else:
        said = run(learner.username)
        assert "This deletes 2 reviews and 2 progress rows" in said
    assert Review.objects.count() == left


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A terminal as standard input, at which somebody types a line."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield lambda line: (os.write(ours, f"{line}\n".encode()), None)[1]
    os.close(ours)


def test_an_unknown_learner_is_refused(learner: User) -> None:
    rate(learner)
    with pytest.raises(CommandError, match="There is no user 'nobody'"):
        run("nobody", "--yes")
    assert Review.objects.count() == 2


def test_while_publishing_is_off_it_says_that_no_viewer_was_told(learner: User, settings: Any) -> None:
    rate(learner)
    settings.PUBLISH_ENABLED = False
    assert "no viewer was told" in run(learner.username, "--yes")
    assert not Review.objects.exists()
