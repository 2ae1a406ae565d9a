"""Following a hub: pages until the head, starting over, and every way the hub can be away."""

import pytest
from pytest_django import Settings

from viewer.feed_client import PAGE_SIZE, FeedClient
from viewer.hub_responses import HubAway, TokenRefused
from viewer.models import Card, CardProgress, Rating, SyncState, Topic, UnknownItem
from viewer.owner import confirm
from viewer.state import current_state, record_failure
from viewer.sync import apply_page, start_over, sync_once
from viewer.tests.following import read_to_head
from viewer.tests.hub import FakeHub, Response, feed_item, problem_type

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


@pytest.mark.parametrize(("status", "slug"), [(410, "cursor-expired"), (422, "malformed-cursor")])
def test_a_cursor_that_the_hub_cannot_go_on_from_starts_over(
    hub: FakeHub, feed: FeedClient, status: int, slug: str
) -> None:
    hub.publish("topic", 1)
    read_to_head(feed)
    hub.instead_of_pages.append(Response(status, {"type": problem_type(slug)}))
    assert sync_once(feed).started_over
    read_to_head(feed)
    assert Topic.objects.count() == 1


@pytest.mark.parametrize(
    "answer",
    [
        Response(410, b""),
        Response(410, {"resync": True}, from_elsewhere=True),
        Response(410, {"type": problem_type("card-deleted")}),
        Response(410, {"type": problem_type("cursor-expired"), "request_id": "of another request"}),
        Response(410, {"type": problem_type("cursor-expired"), "after": ""}),
        Response(410, {"type": problem_type("cursor-expired")}, {"Content-Type": "text/html"}),
        Response(422, b"<html>"),
        Response(422, {"type": problem_type("invalid")}),
        Response(422, {"type": problem_type("malformed-cursor"), "request_id": None}),
        Response(403, {"type": problem_type("learner-erased"), "request_id": "of another request"}),
        Response(403, {"type": problem_type("learner-erased"), "hub": None}),
        Response(403, {"type": problem_type("learner-erased")}, {"Content-Type": "application/json"}),
        Response(200, {"items": [], "cursor": "x", "head": 99, "has_more": False, "request_id": "of another request"}),
        Response(200, {"items": [], "cursor": "x", "head": 99, "has_more": False, "after": "of another page"}),
        Response(200, {"items": [], "cursor": "x", "head": 99, "has_more": False, "hub": "no hub"}),
        Response(200, {"items": [], "cursor": "x", "head": 0, "has_more": False}),
        Response(200, {"items": [feed_item("card", 2, 1)], "cursor": "x", "head": 99, "has_more": False}),
        Response(200, {"items": [feed_item("card", 2, 9)] * 2, "cursor": "x", "head": 99, "has_more": False}),
        Response(
            200,
            {"items": [feed_item("card", 2, 9), feed_item("card", 3, 8)], "cursor": "x", "head": 99, "has_more": False},
        ),
        Response(200, {"items": [feed_item("card", 2, 100)], "cursor": "x", "head": 99, "has_more": False}),
        Response(
            200,
            {
                "items": [feed_item("card_progress", 2, 9, learner_id=8)],
                "cursor": "x",
                "head": 99,
                "has_more": False,
            },
        ),
    ],
)
def test_what_is_not_the_answer_to_this_very_request_changes_nothing(
    hub: FakeHub, feed: FeedClient, answer: Response
) -> None:
    hub.publish("card", 1)
    hub.publish("card_progress", 1)
    read_to_head(feed)
    before = SyncState.objects.values().get()
    hub.instead_of_pages.append(answer)
    with pytest.raises((HubAway, TokenRefused)):
        sync_once(feed)
    assert SyncState.objects.values().get() == before
    assert (Card.objects.count(), CardProgress.objects.count()) == (1, 1)


def test_an_old_last_page_given_to_a_new_scan_sweeps_nothing(hub: FakeHub, feed: FeedClient) -> None:
    hub.publish("card", 1)
    read_to_head(feed)
    asked = hub.asked[-1]
    old_page = {**hub.page("", 1000).body, "items": [], "after": "", "request_id": asked["request_id"]}
    hub.new_epoch()
    assert sync_once(feed).started_over
    hub.instead_of_pages.append(Response(200, old_page))
    with pytest.raises(HubAway, match="answers another request than ours"):
        sync_once(feed)
    assert Card.objects.count() == 1
    read_to_head(feed)
    assert Card.objects.count() == 1


def test_a_page_that_was_asked_for_before_a_start_over_is_not_the_new_scans(hub: FakeHub, feed: FeedClient) -> None:
    """Both asked with the empty cursor; what the first found as the head is older than what the second will."""
    confirm(hub.owner)
    asked_in = current_state()
    slow = feed.fetch_page("")
    hub.publish("card", 1)
    read_to_head(feed)
    hub.new_epoch()
    assert sync_once(feed).started_over
    assert apply_page(slow, generation=asked_in.generation).stale
    assert Card.objects.count() == 1
    assert current_state().cursor == ""


def test_every_request_has_a_word_of_its_own(hub: FakeHub, feed: FeedClient) -> None:
    read_to_head(feed)
    sync_once(feed)
    sync_once(feed)
    words = [asked["request_id"] for asked in hub.asked]
    assert len(words) == len(set(words)) == 3


def test_a_hub_that_is_too_old_to_name_the_request_is_named_as_such(hub: FakeHub, feed: FeedClient) -> None:
    hub.publish("topic", 1)
    read_to_head(feed)
    unnamed = {"items": [feed_item("topic", 2, 2)], "cursor": "x", "head": 2, "has_more": False}
    expired = {"type": problem_type("cursor-expired"), "resync": True}
    for status, body in ((200, unnamed), (410, expired)):
        headers = {"Content-Type": "application/problem+json"} if status == 410 else {}
        hub.instead_of_pages.append(Response(status, body, headers, from_elsewhere=True))
        with pytest.raises(HubAway, match=r"older than this viewer.*Update the hub"):
            sync_once(feed)
    assert list(Topic.objects.values_list("pk", flat=True)) == [1]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Response(500, {"detail": "boom"}), "is in trouble: it answered 500"),
        (Response(502, b"<html>bad gateway</html>"), "is in trouble: it answered 502"),
        (Response(429, {}, {"Retry-After": "7"}), "asks for a pause"),
        (Response(404, {}), "is not a StudyHub feed"),
        (Response(200, b"<html>a router's login page</html>"), "is not a StudyHub feed"),
        (Response(200, []), "is not a StudyHub feed"),
        (Response(200, {"items": [{}], "cursor": "x", "head": 1, "has_more": False}), "is not a StudyHub feed"),
        (Response(200, {"items": [], "cursor": 5, "head": 1, "has_more": False}), "is not a StudyHub feed"),
        (Response(200, {"items": [], "cursor": "\ud800", "head": 1, "has_more": False}), "is not a StudyHub feed"),
        (Response(200, {"items": [], "cursor": "", "head": 9, "has_more": True}), "does not move on"),
        (Response(200, {"items": [], "cursor": "x"}, cut=True), "cannot be reached"),
        (Response(200, b"not gzip", {"Content-Encoding": "gzip"}), "is not a StudyHub feed"),
        (Response(301, {}, {"Location": "https://elsewhere/"}), "sends us on to https://elsewhere/"),
        (Response(410, {"type": problem_type("cursor-expired")}), "refuses to begin its feed"),
        (Response(410, {"type": problem_type("cursor-expired"), "request_id": "x"}), "another request than ours"),
        (Response(403, b"<html>Blocked.</html>"), "answered 403, which is not expected"),
        (Response(200, b"0" * 70_000_000), "is not a StudyHub feed"),
    ],
)
def test_a_hub_in_trouble_changes_nothing_and_is_named(
    hub: FakeHub, feed: FeedClient, answer: Response, sentence: str
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
    hub.instead_of_pages.append(Response(503, {}, {"Retry-After": "30"}))
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
    hub.instead_of_pages.append(Response(status, {"detail": "This token was revoked."}))
    with pytest.raises(TokenRefused, match=r"This token was revoked\.") as raised:
        sync_once(feed)
    record_failure(raised.value)
    assert current_state().failure == "token"


def test_without_a_token_the_hub_is_not_even_asked(hub: FakeHub, settings: Settings) -> None:
    settings.HUB_TOKEN = ""
    with FeedClient() as client, pytest.raises(TokenRefused, match="HUB_TOKEN is not set"):
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
