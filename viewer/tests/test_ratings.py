"""Ratings on their way to the hub: they wait while it is away, arrive once, in order, and say what became of them."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from viewer.feed_client import FeedClient
from viewer.hub_responses import HubAway, TokenRefused
from viewer.models import Card, CardProgress, Outcome, Rating, SyncState, UnknownItem
from viewer.owner import confirm
from viewer.ratings import (
    Recorded,
    Sent,
    dismiss,
    record_rating,
    send_accepted_again,
    send_again,
    send_waiting,
    try_at_once,
)
from viewer.state import current_state
from viewer.sync import sync_once
from viewer.tests.following import read_to_head
from viewer.tests.hub import FakeHub, Response, problem_type

pytestmark = pytest.mark.django_db

NOW = timezone.now()


@pytest.fixture(autouse=True)
def owned(hub: FakeHub) -> None:
    """The hub has said that the database is this token's."""
    confirm(hub.owner)


def rate(card_id: int, *, minutes_ago: int = 0, outcome: Outcome = Outcome.GOOD) -> UUID:
    Card.objects.get_or_create(
        pk=card_id,
        defaults={"seq": 1, "generation": 1, "hash": "", "schema_version": 1, "topic_id": 1, "tags": []},
    )
    review_id = uuid4()
    recorded = record_rating(
        review_id=review_id,
        card_id=card_id,
        outcome=outcome,
        reviewed_at=NOW - timedelta(minutes=minutes_ago),
        duration_ms=2500,
    )
    assert recorded is Recorded.NEW
    return review_id


def state_of(review_id: UUID) -> str:
    return Rating.objects.get(pk=review_id).state


def test_the_hub_gets_what_the_contract_says(hub: FakeHub, feed: FeedClient) -> None:
    review_id = rate(42, outcome=Outcome.HARD)
    assert send_waiting(feed).accepted == 1
    (body,) = hub.posted
    assert body.pop("client_now") > body["reviewed_at"]
    assert body == {
        "review_id": str(review_id),
        "card_id": 42,
        "outcome": "hard",
        "reviewed_at": NOW.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "duration_ms": 2500,
    }
    assert state_of(review_id) == "accepted"


def test_ratings_wait_while_the_hub_is_away_and_then_arrive_once_in_order(hub: FakeHub, feed: FeedClient) -> None:
    newest, oldest, middle = rate(1, minutes_ago=1), rate(2, minutes_ago=9), rate(3, minutes_ago=5)
    hub.stop()
    with pytest.raises(HubAway, match="cannot be reached"):
        send_waiting(feed)
    assert Rating.objects.filter(state="waiting").count() == 3
    hub.start()
    assert send_waiting(feed).accepted == 3
    assert [body["review_id"] for body in hub.posted] == [str(oldest), str(middle), str(newest)]
    assert send_waiting(feed).accepted == 0
    assert len(hub.posted) == 3


def test_an_answer_that_was_lost_is_asked_for_again_under_the_same_review_id(hub: FakeHub, feed: FeedClient) -> None:
    review_id = rate(1)
    hub.instead_of_ratings.append(Response(200, {"review_id": str(review_id)}, cut=True))
    with pytest.raises(HubAway):
        send_waiting(feed)
    assert state_of(review_id) == "waiting"
    assert send_waiting(feed).accepted == 1
    assert len(hub.posted) == 2
    assert list(hub.reviews) == [str(review_id)]
    first, second = hub.posted
    assert first["reviewed_at"] == second["reviewed_at"], "else the hub sees another body under a used id"


@pytest.mark.parametrize("status", [403, 404, 409, 410, 413, 422])
def test_what_the_hub_will_never_take_is_refused_with_its_sentence(hub: FakeHub, feed: FeedClient, status: int) -> None:
    review_id, later = rate(1, minutes_ago=2), rate(2)
    hub.instead_of_ratings.append(Response(status, {"title": "Conflict", "detail": "This card waits for review."}))
    sent = send_waiting(feed)
    assert (sent.refused, sent.accepted) == (1, 1)
    rating = Rating.objects.get(pk=review_id)
    assert (rating.state, rating.problem) == ("refused", "This card waits for review.")
    assert not rating.holds_card, "its card may be rated again"
    assert state_of(later) == "accepted"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_may_pass_later_goes_on_waiting(hub: FakeHub, feed: FeedClient, status: int) -> None:
    review_id = rate(1)
    hub.instead_of_ratings.append(Response(status, {"detail": "Not now."}))
    with pytest.raises(HubAway):
        send_waiting(feed)
    assert state_of(review_id) == "waiting"
    assert send_waiting(feed).accepted == 1


@pytest.mark.parametrize("slug", ["unauthorized", "learner-erased"])
def test_a_refused_token_refuses_no_rating(hub: FakeHub, feed: FeedClient, slug: str) -> None:
    review_id = rate(1)
    status = 401 if slug == "unauthorized" else 403
    hub.instead_of_ratings.append(Response(status, {"type": problem_type(slug)}))
    with pytest.raises(TokenRefused):
        send_waiting(feed)
    assert state_of(review_id) == "waiting"


@pytest.mark.parametrize(
    "answer",
    [
        Response(200, b"<html>Welcome to the hotel's network. Please log in.</html>"),
        Response(200, {"status": "ok"}, from_elsewhere=True),
        Response(200, {"review_id": str(uuid4())}),
        Response(302, {}, {"Location": "https://hotel.example/login"}),
        Response(403, b"<html>Blocked by the company's policy.</html>"),
        Response(410, {"type": problem_type("card-deleted"), "review_id": str(uuid4())}),
        Response(
            410,
            {"type": problem_type("card-deleted")},
            {"Content-Type": "application/problem+json"},
            from_elsewhere=True,
        ),
        Response(404, {"detail": "no such page"}, from_elsewhere=True),
        Response(410, b""),
        Response(422, {"detail": "x"}, from_elsewhere=True),
        Response(200, b"not gzip", {"Content-Encoding": "gzip"}),
    ],
)
def test_only_the_hub_itself_accepts_or_refuses_a_rating(hub: FakeHub, feed: FeedClient, answer: Response) -> None:
    review_id = rate(1)
    hub.instead_of_ratings.append(answer)
    with pytest.raises(HubAway):
        send_waiting(feed)
    assert state_of(review_id) == "waiting"
    assert send_waiting(feed).accepted == 1


@pytest.mark.parametrize(
    ("asked_for", "seconds"),
    [
        ("86400", 300),
        ("9" * 400, 300),
        ("30", 30),
        ("0", 0),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("Wed, 01 Jan 2020 00:00:00 GMT", 0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 300),
        ("Fri, 99 Jan 2100 00:00:00 GMT", None),
        ("Fri, 01 Jan 0001 00:00:00 -2359", 0),
    ],
)
def test_a_rest_is_five_minutes_at_the_most(
    hub: FakeHub, feed: FeedClient, asked_for: str, seconds: float | None
) -> None:
    rate(1)
    for instead in (hub.instead_of_ratings, hub.instead_of_pages):
        instead.append(Response(503, {}, {"Retry-After": asked_for}))
    with pytest.raises(HubAway) as raised:
        sync_once(feed)
    assert raised.value.retry_after == seconds
    try_at_once(seconds=1)
    rest_until = current_state().rest_until
    assert (rest_until is not None) == bool(seconds)
    assert rest_until is None or rest_until <= timezone.now() + timedelta(minutes=5)
    # Noted by a clock that was wrong, or by an earlier version.
    SyncState.objects.update(rest_until=timezone.now() + timedelta(days=1))
    try_at_once(seconds=1)
    assert Rating.objects.get().state == "accepted"


def test_a_hub_that_drips_keeps_nobody_waiting(hub: FakeHub) -> None:
    review_id = rate(1)
    hub.instead_of_ratings.append(Response(200, {}, drips=True))
    began = time.monotonic()
    try_at_once(seconds=0.5)
    assert time.monotonic() - began < 5
    assert state_of(review_id) == "waiting"


def test_what_the_hub_accepted_is_kept_for_90_days_and_not_longer(hub: FakeHub, feed: FeedClient) -> None:
    young, old, held = rate(1), rate(2), rate(3)
    send_waiting(feed)
    Rating.objects.filter(pk__in=[young, old]).update(holds_card=False)
    Rating.objects.filter(pk=young).update(accepted_at=timezone.now() - timedelta(days=89))
    Rating.objects.filter(pk__in=[old, held]).update(accepted_at=timezone.now() - timedelta(days=91))
    CardProgress.objects.all().delete()
    UnknownItem.objects.create(
        kind="card_progress", source_id=1, seq=9, generation=1, schema_version=2, payload="{}", reason=""
    )
    sync_once(feed)
    assert set(Rating.objects.values_list("pk", flat=True)) == {young, held}


def test_a_hub_that_tells_another_history_is_offered_again_what_it_had_accepted(hub: FakeHub, feed: FeedClient) -> None:
    accepted, refused, gone = rate(1, minutes_ago=3), rate(2, minutes_ago=2), rate(3)
    hub.instead_of_ratings.extend([Response(200, {}), Response(409, {"detail": "It waits for review."})])
    send_waiting(feed)
    hub.publish("topic", 1)
    read_to_head(feed)
    hub.reviews.clear()
    hub.refused_reviews[str(gone)] = "There is no card 3."
    hub.new_epoch()
    assert send_accepted_again(feed) == Sent()
    assert sync_once(feed).started_over
    sent = send_accepted_again(feed)
    assert (sent.accepted, sent.refused) == (1, 1)
    (review,) = hub.offered
    assert (review["review_id"], review["card_id"], review["outcome"]) == (str(accepted), 1, "good")
    assert review["reviewed_at"] == next(posted for posted in hub.posted if posted["card_id"] == 1)["reviewed_at"]
    assert {rating.pk: (rating.state, rating.problem) for rating in Rating.objects.all()} == {
        accepted: ("accepted", ""),
        refused: ("refused", "It waits for review."),
        gone: ("refused", "There is no card 3."),
    }
    assert send_accepted_again(feed) == Sent()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        {"results": []},
        {"results": [{"review_id": str(uuid4()), "status": "stored"}]},
        {"results": [{"status": "stored"}]},
        {"results": [5]},
        {"results": "stored"},
        {"status": "ok"},
    ],
)
def test_only_the_hub_itself_takes_what_is_offered_again(hub: FakeHub, feed: FeedClient, body: Any) -> None:
    review_id = rate(1)
    send_waiting(feed)
    Rating.objects.update(offer_again=True)
    hub.instead_of_ratings.append(Response(200, body, from_elsewhere=True))
    with pytest.raises(HubAway):
        send_accepted_again(feed)
    assert Rating.objects.get(pk=review_id).offer_again
    assert send_accepted_again(feed).accepted == 1


def test_a_rating_the_hub_cannot_digest_does_not_keep_the_others_waiting(hub: FakeHub, feed: FeedClient) -> None:
    poison, other = rate(1, minutes_ago=9), rate(2)
    hub.instead_of_ratings.append(Response(500, {}))
    with pytest.raises(HubAway):
        send_waiting(feed)
    hub.instead_of_ratings.extend([Response(200, {}), Response(500, {})])
    with pytest.raises(HubAway):
        send_waiting(feed)
    assert (state_of(other), state_of(poison)) == ("accepted", "waiting")


def test_trying_at_once_never_fails_and_leaves_a_note(hub: FakeHub) -> None:
    review_id = rate(1)
    hub.stop()
    try_at_once(seconds=1)
    assert state_of(review_id) == "waiting"
    assert current_state().failure == "away"
    hub.start()
    try_at_once(seconds=1)
    assert state_of(review_id) == "accepted"
    assert current_state().failure == "", "a hub that answers is not away"


def test_a_hub_that_asked_for_a_pause_is_not_tried_at_once(hub: FakeHub) -> None:
    first = rate(1)
    hub.instead_of_ratings.append(Response(503, {}, {"Retry-After": "60"}))
    try_at_once(seconds=1)
    second = rate(2)
    try_at_once(seconds=1)
    assert len(hub.posted) == 1
    assert (state_of(first), state_of(second)) == ("waiting", "waiting")


def test_a_refused_rating_may_be_sent_again_or_dismissed(hub: FakeHub, feed: FeedClient) -> None:
    again, never = rate(1, minutes_ago=2), rate(2)
    hub.instead_of_ratings.extend([Response(409, {"detail": "Not yet."}), Response(410, {"detail": "Gone."})])
    send_waiting(feed)
    assert send_again(again)
    assert state_of(again) == "waiting"
    assert dismiss(never)
    assert not dismiss(again), "only what was refused can be dismissed"
    assert send_waiting(feed).accepted == 1


def test_a_refused_rating_is_not_sent_again_behind_a_newer_one_of_its_card(hub: FakeHub, feed: FeedClient) -> None:
    refused = rate(1, minutes_ago=2)
    hub.instead_of_ratings.append(Response(409, {"detail": "Not yet."}))
    send_waiting(feed)
    rate(1)
    assert not send_again(refused)


def test_a_duration_that_says_nothing_is_dropped() -> None:
    review_id = rate(1)
    assert Rating.objects.get(pk=review_id).duration_ms == 2500
    Rating.objects.update(holds_card=False)
    for nonsense in (-1, 60 * 60 * 1000 + 1):
        review_id = uuid4()
        record_rating(review_id=review_id, card_id=1, outcome=Outcome.GOOD, reviewed_at=NOW, duration_ms=nonsense)
        assert Rating.objects.get(pk=review_id).duration_ms is None
        Rating.objects.update(holds_card=False)
