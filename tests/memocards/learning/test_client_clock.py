"""The client's clock: a slow line is no wrong clock, a wrong one is corrected, and the order of the answers stays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import hypothesis
import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from kit.scheduling import Outcome
from memocards.learning import rating
from memocards.learning.client_clock import LINE, ONE_DEVICE, Moment, moments
from memocards.learning.rating import SentAnswer
from memocards.models import Review
from tests.factories import LearnerSettingsFactory, MemoCardFactory, UserFactory

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RIGHT = timedelta(0)


def seconds(least: float, most: float) -> st.SearchStrategy[timedelta]:
    """Whole milliseconds: the edges lie among them, and answers to be kept apart have room between them."""
    return st.integers(int(least * 1000), int(most * 1000)).map(lambda number: timedelta(milliseconds=number))


@dataclass(frozen=True)
class Request:
    """Some of a device's answers, by number; when it was sent, by the true time, and how long it travelled."""

    numbers: tuple[int, ...]
    sent: datetime
    travel: timedelta


@dataclass(frozen=True)
class Device:
    """`error`: by how much its clock is fast. `answered`: the true times. Requests overtake one another, and what they
    bring may have come before."""

    error: timedelta
    answered: tuple[datetime, ...]
    requests: tuple[Request, ...]


@st.composite
def devices(draw: st.DrawFn, errors: st.SearchStrategy[timedelta], travels: st.SearchStrategy[timedelta]) -> Device:
    answered = [NOON]
    for gap in draw(st.lists(seconds(0.02, 100), max_size=7)):
        answered.append(answered[-1] + gap)
    requests = []
    # Each answer is sent at least once; many in batches, or again.
    for number in [*range(len(answered)), *draw(st.lists(st.integers(0, len(answered) - 1), max_size=4))]:
        others = draw(st.sets(st.integers(0, len(answered) - 1), max_size=3))
        numbers = tuple(draw(st.permutations(sorted({number, *others}))))
        sent = max(answered[number] for number in numbers) + draw(seconds(0, 300))
        requests.append(Request(numbers, sent, draw(travels)))
    return Device(draw(errors), tuple(answered), tuple(requests))


def as_they_arrive(device: Device) -> Iterator[tuple[datetime, Request]]:
    """A hub's now, and a request. A learner's requests take turns, so no two have the same."""
    now = NOON
    for request in sorted(device.requests, key=lambda request: request.sent + request.travel):
        now = max(now + SECOND / 1000, request.sent + request.travel)
        yield now, request


def stored_by(device: Device) -> list[Moment]:
    """When the hub, whose clock is right, says that each answer was given."""
    keys = [uuid4() for _ in device.answered]
    stored: dict[UUID, Review] = {}
    read: dict[UUID, Moment] = {}
    for now, request in as_they_arrive(device):
        claims = {
            keys[number]: device.answered[number] + device.error
            for number in request.numbers
            if keys[number] not in stored
        }
        new = moments(claims, request.sent + device.error, now, stored.values())
        for key, moment in new.items():
            assert isinstance(moment, Moment)
            read[key] = moment
            stored[key] = Review(claimed_at=claims[key], reviewed_at=moment.at)
    return [read[key] for key in keys]


many = hypothesis.settings(derandomize=True, deadline=None, max_examples=100, database=None)


@many
@given(devices(errors=st.just(RIGHT), travels=seconds(0, 59.999)))
def test_a_right_clocks_times_are_stored_as_claimed_however_slow_the_line(device: Device) -> None:
    assert [moment.at for moment in stored_by(device)] == list(device.answered)


@many
@given(devices(errors=seconds(-1e6, -60.001) | seconds(60.001, 1e6), travels=seconds(0, 59.999)))
def test_a_clock_that_is_wrong_by_more_than_a_minute_is_corrected_to_within_the_time_of_travel(device: Device) -> None:
    slowest = max(request.travel for request in device.requests)
    for moment, at in zip(stored_by(device), device.answered, strict=True):
        assert timedelta(0) <= moment.at - at + SECOND / 10
        assert moment.at - at <= slowest + SECOND / 10


@many
@given(devices(errors=seconds(-1e6, 1e6) | seconds(-70, 70), travels=seconds(0, 0.9 * ONE_DEVICE.total_seconds())))
def test_the_order_in_which_a_device_gave_its_answers_is_kept(device: Device) -> None:
    read = stored_by(device)
    assert all(earlier.at < later.at for earlier, later in pairwise(read))
    last, _request = list(as_they_arrive(device))[-1]
    assert all(moment.at <= last for moment in read)


@many
@given(device=devices(errors=seconds(1, 200), travels=seconds(0, 200)))
def test_the_order_is_kept_of_devices_that_do_not_say_what_time_it_is(device: Device) -> None:
    """What they claim of the future becomes now. One that was held up takes its place before those that came first."""
    keys = [uuid4() for _ in device.answered]
    stored: list[Review] = []
    read: dict[UUID, datetime] = {}
    for now, request in as_they_arrive(device):
        claims = {keys[number]: device.answered[number] + device.error for number in request.numbers}
        new = {key: claimed for key, claimed in claims.items() if key not in read}
        for key, moment in moments(new, None, now, stored).items():
            assert isinstance(moment, Moment)
            read[key] = moment.at
            stored.append(Review(claimed_at=claims[key], reviewed_at=moment.at))
    in_order = [read[key] for key in keys]
    assert all(earlier < later for earlier, later in pairwise(in_order))


def read_one(claimed: datetime, client_now: datetime, stored: Sequence[Review] = ()) -> datetime:
    key = uuid4()
    moment = moments({key: claimed}, client_now, NOON, stored)[key]
    assert isinstance(moment, Moment)
    return moment.at


@pytest.mark.parametrize(
    ("slow", "correction"),
    [
        (RIGHT, RIGHT),
        (LINE - timedelta(microseconds=1), RIGHT),
        (LINE, LINE),
        (timedelta(days=1), timedelta(days=1)),
        (-SECOND, -SECOND),
    ],
)
def test_a_clock_is_wrong_that_looks_slow_by_a_minute_or_fast_at_all(slow: timedelta, correction: timedelta) -> None:
    claimed = NOON - timedelta(days=3)
    assert read_one(claimed, NOON - slow) == claimed + correction


def test_two_devices_whose_clocks_differ_by_more_are_not_put_in_order() -> None:
    fast = ONE_DEVICE + SECOND
    by_the_other = Review(claimed_at=NOON + fast, reviewed_at=NOON)
    claimed = NOON + SECOND
    assert read_one(claimed - timedelta(minutes=1), NOON, [by_the_other]) == claimed - timedelta(minutes=1)


def test_an_answer_without_a_time_stands_in_no_order() -> None:
    without = Review(claimed_at=None, reviewed_at=NOON)
    assert read_one(NOON - SECOND, NOON, [without]) == NOON - SECOND


# As it is stored


@pytest.mark.django_db(transaction=True)
@hypothesis.settings(derandomize=True, deadline=None, max_examples=15, database=None)
@given(
    error=st.just(RIGHT) | seconds(-1e5, 1e5) | seconds(-70, 70),
    order=st.permutations(range(5)),
    travels=st.lists(seconds(0, 240), min_size=5, max_size=5),
    together=st.booleans(),
)
def test_the_hub_stores_answers_in_their_order_whichever_request_comes_first(
    error: timedelta, order: Sequence[int], travels: Sequence[timedelta], together: bool
) -> None:
    learner, card = UserFactory.create(), MemoCardFactory.create()
    LearnerSettingsFactory.create(learner=learner)
    start = timezone.now() - timedelta(minutes=10)
    answered = [start + number * 20 * SECOND for number in range(5)]
    answers = [SentAnswer(card.pk, uuid4(), Outcome.GOOD, at + error) for at in answered]
    requests: Mapping[int, list[SentAnswer]] = {
        # A batch that brings again what came before, in no order.
        number: [answers[number], *([answers[other] for other in order[:place]] if together else [])]
        for place, number in enumerate(order)
    }
    for number, travel in zip(order, travels, strict=True):
        client_now = timezone.now() - travel + error
        rating.rate_cards(learner_id=learner.pk, answers=requests[number], client_now=client_now)
    stored = Review.objects.in_bulk([answer.review_id for answer in answers])
    times = [stored[answer.review_id].reviewed_at for answer in answers]
    assert all(earlier < later for earlier, later in pairwise(times))
    if error == RIGHT and max(travels) < LINE - SECOND:
        assert times == answered
    # A clock that is slow by less than a minute looks like a slow line: what it says is kept.
    errors = [at - true for at, true in zip(times, answered, strict=True)]
    assert all(-LINE - SECOND <= error <= max([*travels, LINE]) + SECOND for error in errors)


@pytest.mark.django_db(transaction=True)
def test_answers_kept_while_the_hub_was_away_are_stored_as_claimed_over_a_line_of_ever_changing_speed() -> None:
    learner, card = UserFactory.create(), MemoCardFactory.create()
    start = timezone.now() - timedelta(hours=1)
    claimed = [start + number * SECOND for number in range(6)]
    for at, travel in zip(claimed, (55, 5, 0, 30, 1, 59), strict=True):
        rated = rating.rate_card(
            learner_id=learner.pk,
            card_id=card.pk,
            review_id=uuid4(),
            outcome=Outcome.GOOD,
            reviewed_at=at,
            client_now=timezone.now() - travel * SECOND,
        )
        assert rated.review.reviewed_at == at
