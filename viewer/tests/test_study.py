"""What there is to study: due, unseen, sentinels, orphans, and cards whose rating is on its way."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from viewer.models import Card, Outcome, Rating
from viewer.ratings import Recorded, record_rating
from viewer.study import due_cards, due_queue, next_card, topics_with_counts, unseen_cards
from viewer.tests.following import apply, feed_item, page

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Library:
    """Puts rows into the viewer as a hub would."""

    def __init__(self) -> None:
        self.seq = 0

    def add(self, kind: str, source_id: int, *, deleted: bool = False, **changes: object) -> None:
        self.seq += 1
        apply(page(feed_item(kind, source_id, self.seq, deleted=deleted, **changes), cursor=str(self.seq)))

    def card(self, number: int, *, topic: int = 1) -> None:
        self.add("card", number, topic_id=topic)

    def progress(self, card: int, *, due: timedelta | None, outcome: str = "good") -> None:
        """`due` is measured from now; None makes a sentinel."""
        due_at = None if due is None else written(NOW + due)
        self.add("card_progress", card + 1000, card_id=card, due_at=due_at, last_outcome=outcome)


@pytest.fixture
def library() -> Library:
    shelf = Library()
    shelf.add("topic", 1)
    return shelf


def due() -> list[int]:
    """The queue, which must hold what the counts count."""
    lapsed, others = due_queue(NOW)
    queue = [row.card_id for row in (*lapsed, *others)]
    assert {card.pk for card in due_cards(NOW)} == set(queue)
    first = next_card("due", NOW)
    assert (first and first.pk) == (queue[0] if queue else None)
    return queue


def unseen() -> list[int]:
    return list(unseen_cards().values_list("pk", flat=True))


HOUR = timedelta(hours=1)


def test_due_is_what_fell_due_by_now(library: Library) -> None:
    for number, when in ((1, -HOUR), (2, timedelta()), (3, HOUR)):
        library.card(number)
        library.progress(number, due=when)
    assert due() == [1, 2]
    assert unseen() == []


def test_lapsed_cards_come_first_then_the_longest_due_then_the_lower_id(library: Library) -> None:
    for number, outcome, when in (
        (1, "good", -HOUR),
        (2, "good", -3 * HOUR),
        (3, "again", -HOUR),
        (4, "again", -2 * HOUR),
        (5, "hard", -HOUR),
    ):
        library.card(number)
        library.progress(number, due=when, outcome=outcome)
    assert due() == [4, 3, 2, 1, 5]


def test_unseen_is_a_card_without_progress(library: Library) -> None:
    library.card(1)
    library.card(2)
    library.progress(2, due=-HOUR)
    assert unseen() == [1]
    library.add("card_progress", 1002, deleted=True)
    assert unseen() == [1, 2], "its only review was undone: the card is unseen again"


def test_a_sentinel_is_neither_due_nor_unseen(library: Library) -> None:
    library.card(1)
    library.progress(1, due=None)
    assert due() == []
    assert unseen() == []


def test_an_orphan_shows_nowhere_and_counts_again_when_its_card_returns(library: Library) -> None:
    library.progress(1, due=-HOUR)
    assert due() == []
    library.card(1)
    assert due() == [1]
    library.add("card", 1, deleted=True)
    assert due() == []
    assert unseen() == []
    library.card(1)
    assert due() == [1]


def test_a_card_whose_topic_is_not_published_waits_for_it(library: Library) -> None:
    library.card(1, topic=2)
    assert unseen() == []
    library.add("topic", 2, position=0)
    library.card(2, topic=1)
    assert unseen() == [1, 2], "in the order of the topics"


def test_a_card_is_held_back_until_its_result_came_through_the_feed(library: Library) -> None:
    library.card(1)
    library.progress(1, due=-HOUR)
    rate(1)
    assert due() == []
    Rating.objects.update(state=Rating.State.ACCEPTED, accepted_at=timezone.now())
    library.card(2)
    assert due() == [], "the hub has it, but its result is not here yet"
    library.progress(1, due=-timedelta(seconds=1), outcome="again")
    assert due() == [1], "what the feed brought decides, not the rating"


def test_a_card_with_a_waiting_rating_stays_held_whatever_another_device_does(library: Library) -> None:
    library.card(1)
    library.progress(1, due=-HOUR)
    rate(1)
    library.progress(1, due=-HOUR)
    assert due() == []


def test_an_unseen_card_that_was_rated_is_not_offered_again(library: Library) -> None:
    library.card(1)
    rate(1)
    assert unseen() == []


def test_a_rating_that_changed_nothing_frees_its_card_after_a_minute_at_the_head(library: Library) -> None:
    library.card(1)
    library.progress(1, due=-HOUR)
    rate(1)
    long_ago = timezone.now() - timedelta(minutes=2)
    Rating.objects.update(state=Rating.State.ACCEPTED, accepted_at=long_ago)
    assert due() == []
    apply(page(cursor="at the head"))
    assert due() == [1]


def test_the_same_form_twice_is_one_rating_and_a_second_form_is_none(library: Library) -> None:
    library.card(1)
    review_id = uuid4()

    def tap(review: object = review_id) -> Recorded:
        return record_rating(
            review_id=review,  # type: ignore[arg-type]
            card_id=1,
            outcome=Outcome.GOOD,
            reviewed_at=NOW,
            duration_ms=1500,
        )

    assert tap() is Recorded.NEW
    assert tap() is Recorded.REPEATED
    assert tap(uuid4()) is Recorded.CARD_IS_HELD
    assert Rating.objects.count() == 1
    Card.objects.all().delete()
    assert tap(uuid4()) is Recorded.CARD_IS_GONE


def test_the_counts_of_all_topics_take_five_statements(
    library: Library, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for topic in range(1, 6):
        library.add("topic", topic, position=9 - topic)
        library.card(topic, topic=topic)
        library.card(topic + 100, topic=topic)
        library.progress(topic, due=-HOUR)
        library.add("question", topic, topic_id=topic)
    with django_assert_num_queries(5):
        rows = topics_with_counts(NOW)
    assert [row.topic.pk for row in rows] == [5, 4, 3, 2, 1]
    assert {(row.due, row.unseen, row.cards, row.questions) for row in rows} == {(1, 1, 2, 1)}


def rate(card_id: int) -> None:
    recorded = record_rating(
        review_id=uuid4(), card_id=card_id, outcome=Outcome.GOOD, reviewed_at=NOW, duration_ms=None
    )
    assert recorded is Recorded.NEW
