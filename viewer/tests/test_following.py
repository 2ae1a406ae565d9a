"""Following a hub: pages until the head, starting over, and every way the hub can be away."""

import pytest
from pytest_django import Settings

from viewer.feed_client import PAGE_SIZE, FeedClient, HubAway, TokenRefused
from viewer.models import Card, CardProgress, Rating, SyncState, Topic, UnknownItem
from viewer.sync import current_state, record_failure, start_over, sync_once
from viewer.tests.following import read_to_head
from viewer.tests.hub import Answer, FakeHub

pytestmark = pytest.mark.django_db


def test_the_feed_is_read_page_by_page_to_its_head(hub: FakeHub, feed: FeedClient) -> None:
    for number in range(1, PAGE_SIZE + 500):
        hub.publish("card", number)
    steps = read_to_head(feed)
    assert [step.upserted for step in steps if step.upserted] == [PAGE_SIZE, 499]
    assert Card.objects.count() == PAGE_SIZE + 499
    state = current_state()
    assert (state.behind, state.at_head, state.failure) == (0, True, "")


def test_only_what_changed_is_read_again(hub: FakeHub, feed: FeedClient) -> None:
    hub.publish("topic", 1)
    hub.publish("topic", 2)
    read_to_head(feed)
    hub.publish("topic", 2, name="changed")
    hub.withdraw("topic", 1)
    (step,) = read_to_head(feed)
    assert (step.upserted, step.deleted) == (1, 1)
    assert list(Topic.objects.values_list("pk", "name")) == [(2, "changed")]


def test_a_long_poll_asks_the_hub_to_wait(hub: FakeHub, feed: FeedClient) -> None:
    hub.publish("topic", 1)
    read_to_head(feed)
    hub.publish("topic", 2)
    sync_once(feed, wait=25)
    assert hub.asked[-1]["wait"] == "25"
    assert hub.asked[-1]["limit"] == str(PAGE_SIZE)


def test_starting_over_keeps_rows_readable_until_the_head_and_then_sweeps(hub: FakeHub, feed: FeedClient) -> None:
    for number in range(1, PAGE_SIZE + 2):
        hub.publish("card", number)
    hub.publish("deck", 1)
    hub.publish("topic", 1, name="before")
    read_to_head(feed)
    # The restored hub has one card less, one kind less, and counts from the start again.
    del hub.items["card", 1], hub.items["deck", 1]
    hub.items["topic", 1]["payload"]["name"] = "after"
    hub.publish("card", PAGE_SIZE + 2)
    hub.new_epoch()

    assert sync_once(feed).started_over
    assert Card.objects.count() == PAGE_SIZE + 1
    sync_once(feed)
    assert Card.objects.filter(pk=1).exists(), "an old row shows until the new scan is through"
    assert SyncState.objects.get().scanning
    step = sync_once(feed)
    assert step.swept == 2
    assert not Card.objects.filter(pk=1).exists()
    assert not UnknownItem.objects.exists()
    assert Card.objects.count() == PAGE_SIZE + 1
    assert Topic.objects.get().name == "after", "a lower seq of the new history replaces a higher one of the old"
    assert not SyncState.objects.get().scanning


def test_a_start_over_that_is_interrupted_by_another_sweeps_just_as_well(hub: FakeHub, feed: FeedClient) -> None:
    for number in range(1, PAGE_SIZE + 2):
        hub.publish("card", number)
    read_to_head(feed)
    hub.new_epoch()
    sync_once(feed)
    sync_once(feed)
    hub.withdraw("card", 3)
    hub.new_epoch()
    read_to_head(feed)
    assert not Card.objects.filter(pk=3).exists()
    assert Card.objects.count() == PAGE_SIZE


def test_a_row_of_a_newer_schema_outlives_the_sweep_in_its_old_form(hub: FakeHub, feed: FeedClient) -> None:
    hub.publish("topic", 1, name="old")
    read_to_head(feed)
    hub.publish("topic", 1, schema_version=2, payload={"title": "new"})
    hub.new_epoch()
    read_to_head(feed)
    assert Topic.objects.get().name == "old"
    hub.publish("topic", 1, name="readable again")
    read_to_head(feed)
    assert Topic.objects.get().name == "readable again"
    assert not UnknownItem.objects.exists()


def test_starting_over_twice_from_the_same_cursor_happens_once(hub: FakeHub, feed: FeedClient) -> None:
    hub.publish("topic", 1)
    read_to_head(feed)
    seen = current_state()
    start_over(seen)
    generation = current_state().generation
    start_over(seen)
    assert current_state().generation == generation


def test_a_cursor_the_hub_cannot_read_starts_over(hub: FakeHub, feed: FeedClient) -> None:
    hub.publish("topic", 1)
    read_to_head(feed)
    hub.instead_of_pages.append(Answer(422, {"detail": "This cursor cannot be read."}))
    assert sync_once(feed).started_over
    read_to_head(feed)
    assert Topic.objects.count() == 1


def test_another_token_starts_over_because_it_may_see_other_rows(
    hub: FakeHub, feed: FeedClient, settings: Settings
) -> None:
    hub.publish("card_progress", 1)
    read_to_head(feed)
    current_state()
    SyncState.objects.update(source="the fingerprint of another token")
    del hub.items["card_progress", 1]
    assert read_to_head(feed)[0].started_over
    assert not CardProgress.objects.exists()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Answer(500, {"detail": "boom"}), "is in trouble: it answered 500"),
        (Answer(502, b"<html>bad gateway</html>"), "is in trouble: it answered 502"),
        (Answer(429, {}, {"Retry-After": "7"}), "asks for a pause"),
        (Answer(404, {}), "is not a StudyHub feed"),
        (Answer(200, b"<html>a router's login page</html>"), "is not a StudyHub feed"),
        (Answer(200, []), "is not a StudyHub feed"),
        (Answer(200, {"items": [{}], "cursor": "x", "head": 1, "has_more": False}), "is not a StudyHub feed"),
        (Answer(200, {"items": [], "cursor": 5, "head": 1, "has_more": False}), "is not a StudyHub feed"),
        (Answer(200, {"items": [], "cursor": "\ud800", "head": 1, "has_more": False}), "is not a StudyHub feed"),
        (Answer(200, {"items": [], "cursor": "", "head": 9, "has_more": True}), "does not move on"),
        (Answer(200, {"items": [], "cursor": "x"}, cut=True), "cannot be reached"),
        (Answer(200, b"not gzip", {"Content-Encoding": "gzip"}), "is not a StudyHub feed"),
        (Answer(301, {}, {"Location": "https://elsewhere/"}), "sends us on to https://elsewhere/"),
        (Answer(410, {"resync": True}), "refuses to begin its feed"),
    ],
)
def test_a_hub_in_trouble_changes_nothing_and_is_named(
    hub: FakeHub, feed: FeedClient, answer: Answer, sentence: str
) -> None:
    sync_once(feed)
    start_over(current_state())
    before = current_state()
    hub.instead_of_pages.append(answer)
    with pytest.raises(HubAway, match=sentence) as raised:
        sync_once(feed)
    record_failure(raised.value)
    after = current_state()
    assert (after.cursor, after.generation, after.failure) == (before.cursor, before.generation, "away")
    assert sentence in after.failure_sentence


def test_the_pause_that_the_hub_asks_for_is_kept_in_mind(hub: FakeHub, feed: FeedClient) -> None:
    read_to_head(feed)
    hub.instead_of_pages.append(Answer(503, {}, {"Retry-After": "30"}))
    with pytest.raises(HubAway) as raised:
        sync_once(feed)
    assert raised.value.retry_after == 30
    record_failure(raised.value)
    assert current_state().rest_until is not None
    read_to_head(feed)
    assert current_state().rest_until is None
    assert current_state().failure == ""


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_told_apart_from_a_hub_that_is_away(hub: FakeHub, feed: FeedClient, status: int) -> None:
    read_to_head(feed)
    hub.instead_of_pages.append(Answer(status, {"detail": "This token was revoked."}))
    with pytest.raises(TokenRefused, match=r"This token was revoked\.") as raised:
        sync_once(feed)
    record_failure(raised.value)
    assert current_state().failure == "token"


def test_without_a_token_the_hub_is_not_even_asked(hub: FakeHub, settings: Settings) -> None:
    settings.HUB_TOKEN = ""
    with FeedClient() as client:
        sync_once(client)
        with pytest.raises(TokenRefused, match="HUB_TOKEN is not set"):
            sync_once(client)
    assert hub.asked == []


def test_nothing_is_swept_by_a_hub_that_was_never_reached(hub: FakeHub, feed: FeedClient) -> None:
    hub.publish("topic", 1)
    read_to_head(feed)
    hub.new_epoch()
    sync_once(feed)
    hub.stop()
    with pytest.raises(HubAway, match="cannot be reached"):
        sync_once(feed)
    assert Topic.objects.count() == 1
    assert not Rating.objects.exists()
