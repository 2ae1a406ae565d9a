"""A database belongs to one subscriber of one hub: nobody else's token fills it, and sends what was answered in it."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from viewer.adopting import adopt
from viewer.feed_client import FeedClient
from viewer.hub_responses import HubAway, LearnerErased
from viewer.models import Card, CardProgress, Outcome, Owner, Rating, SyncState, Topic, UnknownItem
from viewer.owner import OtherOwner, confirmed_owner
from viewer.ratings import Recorded, dismiss, record_rating, send_again, send_waiting, try_at_once
from viewer.state import record_failure
from viewer.sync import sync_once
from viewer.tests.following import read_to_head
from viewer.tests.hub import FakeHub, Response, problem_type

pytestmark = pytest.mark.django_db

Turn = Callable[[FakeHub], FeedClient]


@pytest.fixture
def turn_to(settings: Settings) -> Iterator[Turn]:
    """Start the viewer with the address and the token of this hub."""
    clients: list[FeedClient] = []

    def turn(hub: FakeHub) -> FeedClient:
        settings.HUB_URL, settings.HUB_TOKEN = hub.url, hub.token
        clients.append(FeedClient(timeout=5))
        return clients[-1]

    yield turn
    for client in clients:
        client.close()


@pytest.fixture
def library(hub: FakeHub, feed: FeedClient) -> FakeHub:
    """The owner's hub, read to its head."""
    hub.publish("topic", 1)
    for number in (1, 2, 3):
        hub.publish("card", number, front=f"Front {number}")
    hub.publish("card_progress", 1, card_id=1)
    read_to_head(feed)
    return hub


@pytest.fixture
def other(hub: FakeHub) -> Iterator[FakeHub]:
    """The same hub with another subscriber's token."""
    other = FakeHub()
    other.token = "token-of-another-learner"
    other.identity = {**hub.identity, "subscriber": 4, "learner_id": 8}
    other.publish("topic", 1)
    other.publish("card_progress", 5, card_id=2, learner_id=8)
    yield other
    other.stop()


def rate(card_id: int) -> UUID:
    review_id = uuid4()
    recorded = record_rating(
        review_id=review_id, card_id=card_id, outcome=Outcome.GOOD, reviewed_at=timezone.now(), duration_ms=None
    )
    assert recorded is Recorded.NEW
    return review_id


def everything() -> dict[str, list[Any]]:
    """All that the database holds."""
    return {
        model.__name__: list(model._default_manager.order_by("pk").values())
        for model in apps.get_app_config("viewer").get_models()
    }


def yes(question: str) -> bool:
    return True


def print_nothing(sentence: str) -> None:
    """Where it does not matter what is said."""


def test_the_first_to_come_is_the_owner(hub: FakeHub, feed: FeedClient) -> None:
    assert confirmed_owner() is None
    sync_once(feed)
    owner = confirmed_owner()
    assert owner is not None
    assert (str(owner.hub), owner.subscriber_id, owner.learner_id) == tuple(hub.identity.values())
    assert owner.hub_url == hub.url
    assert hub.token not in str(Owner.objects.values().get())


@pytest.mark.parametrize(
    "identity", [{"subscriber": 4, "learner_id": 8}, {"subscriber": 4}, {"learner_id": None}, {"hub": str(uuid4())}]
)
def test_another_token_reads_nothing_sends_nothing_and_changes_nothing(
    library: FakeHub, other: FakeHub, turn_to: Turn, identity: dict[str, Any]
) -> None:
    review_id = rate(2)
    other.identity = {**library.identity, **identity}
    before = everything()
    client = turn_to(other)
    try_at_once(seconds=1)
    send_waiting(client)
    with pytest.raises(OtherOwner) as raised:
        sync_once(client)
    try_at_once(seconds=1)
    assert everything() == before
    assert not [*other.posted, *library.posted]
    sentence = str(raised.value)
    assert "belongs to learner 7 (subscriber 3 of hub" in sentence
    assert library.url in sentence
    assert "Nothing was changed, and nothing was sent." in sentence
    assert "--adopt" in sentence
    # With its own token it is sent.
    assert send_waiting(turn_to(library)).accepted == 1
    assert list(library.reviews) == [str(review_id)]


def test_a_page_of_somebody_else_is_not_applied(library: FakeHub, feed: FeedClient) -> None:
    """The token is the owner's still, but the page is not."""
    before = everything()
    library.identity = {**library.identity, "learner_id": 8}
    library.publish("card", 9)
    with pytest.raises(OtherOwner):
        sync_once(feed)
    assert everything() == before


def test_the_same_subscriber_at_another_address_goes_on(library: FakeHub, turn_to: Turn) -> None:
    rate(2)
    moved = FakeHub()
    moved.identity, moved.epoch, moved.seq, moved.items = library.identity, library.epoch, library.seq, library.items
    moved.publish("card", 4)
    (cursor,) = SyncState.objects.values_list("cursor", flat=True)
    client = turn_to(moved)
    assert send_waiting(client).accepted == 0, "it has not said yet who it is"
    (step,) = read_to_head(client)
    assert step.upserted == 1, "not a scan from the start"
    assert [asked["after"] for asked in moved.asked] == [cursor]
    assert send_waiting(client).accepted == 1
    moved.stop()
    assert send_waiting(turn_to(library)).accepted == 0
    assert confirmed_owner(), "the former address is the owner's still"


def test_while_the_hub_is_away_other_settings_send_nothing(library: FakeHub, other: FakeHub, turn_to: Turn) -> None:
    rate(2)
    before = everything()
    other.stop()
    client = turn_to(other)
    with pytest.raises(HubAway):
        sync_once(client)
    other.start()
    try_at_once(seconds=1)
    send_waiting(client)
    assert everything() == before
    assert not other.posted


def test_the_pages_say_whose_the_database_is(library: FakeHub, other: FakeHub, turn_to: Turn, client: Client) -> None:
    turn_to(other)
    home = client.get("/").content.decode()
    assert "belongs to learner 7 (subscriber 3 of hub" in home
    assert "HUB_URL or HUB_TOKEN have changed since" in home
    page = client.get("/study/due/").content.decode()
    assert "Ratings are kept here for whoever this database belongs to." in page
    form = {"review_id": uuid4(), "card_id": 2, "outcome": "good", "queue": "unseen"}
    answer = client.post("/rate/", form, follow=True).content.decode()
    assert "The rating is kept here and not sent" in answer
    assert not other.posted
    turn_to(library)
    assert "belongs to" not in client.get("/").content.decode()


def test_adopting_lists_what_was_not_sent_and_leaves_all_as_it_is_unless_that_is_meant(
    library: FakeHub, other: FakeHub, turn_to: Turn
) -> None:
    rate(2)
    before = everything()
    said: list[str] = []
    assert not adopt(turn_to(other), is_meant=lambda question: False, say=said.append)
    assert everything() == before
    assert "1 ratings of learner 7" in said[0]
    assert "Good" in said[1]
    assert "card 2  Front 2" in said[1]
    other.stop()
    with pytest.raises(HubAway):
        adopt(turn_to(other), is_meant=yes, say=said.append)
    assert everything() == before


def test_who_adopts_a_database_begins_anew_and_the_former_owners_ratings_stay_theirs(
    library: FakeHub, feed: FeedClient, other: FakeHub, turn_to: Turn, client: Client
) -> None:
    library.publish("deck", 1)
    read_to_head(feed)
    rate(3)
    send_waiting(feed)
    waiting = rate(2)
    of_other = turn_to(other)
    assert adopt(of_other, is_meant=yes, say=print_nothing)
    assert not Card.objects.exists()
    assert not UnknownItem.objects.exists()
    read_to_head(of_other)
    assert list(CardProgress.objects.values_list("pk", "learner_id")) == [(5, 8)]
    assert send_waiting(of_other).accepted == 0
    assert not other.posted
    assert list(Rating.objects.values_list("pk", flat=True)) == [waiting], "what the hub has is not needed here"
    other.publish("card", 2)
    read_to_head(of_other)
    mine = rate(2)
    home = client.get("/").content.decode()
    assert "Ratings made with another token" in home
    assert "Good for card 2" in home
    assert not send_again(waiting)

    # Given back to the former owner, what they had answered is sent, and nothing else is.
    back = turn_to(library)
    assert adopt(back, is_meant=yes, say=print_nothing)
    read_to_head(back)
    assert send_waiting(back).accepted == 1
    assert str(waiting) in library.reviews
    assert str(mine) not in library.reviews
    assert Card.objects.count() == 3
    assert dismiss(mine)
    assert "Ratings made with another token" not in client.get("/").content.decode()


def test_another_token_of_the_same_learner_takes_over_with_everything(
    library: FakeHub, other: FakeHub, turn_to: Turn
) -> None:
    """As after a token was lost: what waits is the same learner's."""
    rate(2)
    other.identity = {**library.identity, "subscriber": 9}
    del other.items["card_progress", 5]
    client = turn_to(other)
    with pytest.raises(OtherOwner):
        sync_once(client)
    assert adopt(client, is_meant=lambda question: False, say=print_nothing), (
        "nothing is left behind, so nobody is asked"
    )
    assert Card.objects.count() == 3, "readable until the new scan is through"
    assert send_waiting(client).accepted == 1
    read_to_head(client)
    assert not Card.objects.exists()
    assert Topic.objects.count() == 1


def test_a_viewer_that_runs_on_with_the_former_token_neither_applies_nor_sends(
    library: FakeHub, feed: FeedClient, other: FakeHub, turn_to: Turn, settings: Settings
) -> None:
    of_other = turn_to(other)
    adopt(of_other, is_meant=yes, say=print_nothing)
    read_to_head(of_other)
    other.publish("card", 2)
    read_to_head(of_other)
    rate(2)
    before = everything()
    turn_to(library)
    assert send_waiting(feed).accepted == 0
    with pytest.raises(OtherOwner):
        sync_once(feed)
    assert everything() == before


def erased_answer(**changes: Any) -> Response:
    return Response(403, {"type": problem_type("learner-erased"), **changes})


def test_the_viewer_of_an_erased_learner_forgets_that_learner(
    library: FakeHub, feed: FeedClient, client: Client
) -> None:
    library.publish("card_progress", 2, card_id=2, schema_version=2)
    read_to_head(feed)
    rate(2)
    library.instead_of_pages.append(erased_answer())
    with pytest.raises(LearnerErased) as raised:
        sync_once(feed)
    record_failure(raised.value)
    assert not CardProgress.objects.exists()
    assert not UnknownItem.objects.exists()
    assert not Rating.objects.exists()
    assert Card.objects.count() == 3, "what everyone sees stays"
    assert "has erased the learner" in client.get("/").content.decode()
    form = {"review_id": uuid4(), "card_id": 2, "outcome": "good", "queue": "unseen"}
    assert "Nothing was recorded" in client.post("/rate/", form, follow=True).content.decode()
    assert not Rating.objects.exists()
    record_failure(HubAway("The hub cannot be reached."))
    assert "has erased the learner" in client.get("/").content.decode(), "an absence takes nothing back"


@pytest.mark.parametrize("changes", [{"hub": str(uuid4())}, {"subscriber": 9}, {"learner_id": 8}])
def test_nothing_is_forgotten_for_the_erasure_of_somebody_else(
    library: FakeHub, feed: FeedClient, changes: dict[str, Any]
) -> None:
    rate(2)
    before = everything()
    library.instead_of_pages.append(erased_answer(**changes))
    with pytest.raises(OtherOwner):
        sync_once(feed)
    assert everything() == before


def test_an_empty_viewer_with_the_token_of_an_erased_learner_is_nobodys(hub: FakeHub, turn_to: Turn) -> None:
    hub.erased = True
    with pytest.raises(LearnerErased):
        sync_once(turn_to(hub))
    assert not Owner.objects.exists()
