"""The pages as a browser without JavaScript uses them."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from viewer.feed_client import FeedClient
from viewer.models import Rating, SyncState
from viewer.state import current_state
from viewer.tests.following import read_to_head
from viewer.tests.hub import FakeHub, Response

pytestmark = pytest.mark.django_db


def text(response: Any) -> str:
    """The words of a page, on one line."""
    words = re.sub(r"<[^>]+>", " ", response.content.decode())
    return re.sub(r"\s+", " ", words).replace(" .", ".")


def fields(response: Any) -> dict[str, str]:
    """The hidden fields of the rating form."""
    form = re.search(r'<form class="rate".*?</form>', response.content.decode(), re.DOTALL)
    assert form, "there is no card to rate"
    inputs = re.findall(r"<input[^>]+>", form[0])
    inputs_read = [dict(re.findall(r'(\w+)="([^"]*)"', element)) for element in inputs]
    return {element["name"]: element["value"] for element in inputs_read}


@pytest.fixture
def strict() -> Client:
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def library(hub: FakeHub, feed: FeedClient) -> FakeHub:
    hub.publish("topic", 1, name="Capitals & rivers", description="Facts of **real** places.")
    hub.publish("card", 1, front="Capital of *Peru*?", back="**Lima**\n\n| a | b |\n|--|--:|\n| 1 | 2 |")
    hub.publish("card", 2, front="מהי בירת ישראל?", back="ירושלים", question_id=1)
    hub.publish("card_progress", 1, card_id=1, last_outcome="again")
    hub.publish("question", 1, stem="Capital of `Peru`?", choices=["Lima", "Cusco"], answer=1, source="Atlas")
    hub.publish("explanation", 1, body="Lima was founded in **1535**.")
    read_to_head(feed)
    return hub


def test_an_empty_viewer_says_what_to_do(client: Client) -> None:
    assert "python -m viewer sync" in text(client.get("/"))


def test_a_hub_without_content_is_told_apart_from_a_viewer_without_a_hub(client: Client, feed: FeedClient) -> None:
    read_to_head(feed)
    assert "The hub has not published anything yet" in text(client.get("/"))


def test_home_shows_topics_with_what_there_is_to_do(client: Client, library: FakeHub) -> None:
    page = client.get("/")
    words = text(page)
    assert "1 due now Study" in words
    assert "1 unseen Start new" in words
    assert "Capitals &amp; rivers" in words
    assert "2 cards, 1 question" in words
    assert "Last synced now" in words


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"failure": "away", "failure_sentence": "The hub cannot be reached."}, "The hub cannot be reached."),
        ({"failure": "token", "failure_sentence": "It does not take this token."}, "It does not take this token."),
        ({"synced_at": timezone.now() - timedelta(hours=1)}, "Is `python -m viewer sync` running?"),
        ({"scanning": True}, "being read from its start"),
        ({"several_learners": True}, "several learners"),
        ({"at_head": False, "seq": 10, "head": 1234}, "Behind by 1,224 changes"),
    ],
)
def test_home_is_honest_about_its_freshness(
    client: Client, library: FakeHub, state: dict[str, object], sentence: str
) -> None:
    SyncState.objects.update(**state)
    assert sentence in text(client.get("/"))


def test_home_reports_what_this_version_cannot_show(client: Client, library: FakeHub, feed: FeedClient) -> None:
    library.publish("deck", 1, payload={})
    library.publish("topic", 9, schema_version=3)
    read_to_head(feed)
    words = text(client.get("/"))
    assert "The hub publishes 2 rows that this viewer cannot show" in words
    assert "1 × deck, schema version 1. This version does not know the kind." in words
    assert "1 × topic, schema version 3. This version reads schema version 1 only." in words


def test_a_card_is_shown_revealed_and_rated_without_javascript(strict: Client, library: FakeHub) -> None:
    page = strict.get("/study/due/")
    body = page.content.decode()
    assert "<em>Peru</em>" in body
    assert "<details" in body
    assert "<strong>Lima</strong>" in body
    assert re.findall(r'name="outcome"\s+value="(\w+)"', body) == ["again", "hard", "good", "easy"]
    answer = strict.post("/rate/", {**fields(page), "outcome": "good"}, follow=True)
    assert answer.redirect_chain == [("/study/due/", 302)]
    assert "Rated: Good." in text(answer)
    assert "Nothing is due" in text(answer)
    (posted,) = library.posted
    assert (posted["card_id"], posted["outcome"]) == (1, "good")
    assert 0 <= posted["duration_ms"] < 60_000


def test_a_rating_without_the_csrf_token_is_not_taken(strict: Client, library: FakeHub) -> None:
    form = {**fields(strict.get("/study/due/")), "outcome": "good"}
    del form["csrfmiddlewaretoken"]
    answer = strict.post("/rate/", form)
    assert answer.status_code == 403
    assert "Nothing was recorded" in text(answer)
    assert not Rating.objects.exists()


def test_a_double_tap_counts_once(client: Client, library: FakeHub) -> None:
    form = {**fields(client.get("/study/due/")), "outcome": "good"}
    client.post("/rate/", form)
    client.post("/rate/", form)
    assert Rating.objects.count() == 1
    assert len(library.posted) == 1


def test_two_tabs_with_the_same_card_count_once(client: Client, library: FakeHub) -> None:
    first, second = fields(client.get("/study/due/")), fields(client.get("/study/due/"))
    client.post("/rate/", {**first, "outcome": "good"})
    answer = client.post("/rate/", {**second, "outcome": "again"}, follow=True)
    assert "This tap was not counted" in text(answer)
    assert Rating.objects.count() == 1


def test_the_result_comes_back_through_the_feed(client: Client, library: FakeHub, feed: FeedClient) -> None:
    client.post("/rate/", {**fields(client.get("/study/due/")), "outcome": "again"})
    library.publish("card_progress", 1, card_id=1, last_outcome="again", due_at="2026-01-05T09:00:00.000000Z")
    read_to_head(feed)
    assert fields(client.get("/study/due/"))["card_id"] == "1"


def test_rating_goes_on_while_the_hub_is_away_and_says_so(client: Client, library: FakeHub, feed: FeedClient) -> None:
    library.stop()
    answer = client.post("/rate/", {**fields(client.get("/study/unseen/")), "outcome": "hard"}, follow=True)
    assert "The hub is away; the rating is kept here and sent later." in text(answer)
    assert "No unseen cards" in text(answer)
    assert "Ratings waiting for the hub 1" in text(client.get("/"))
    library.start()
    from viewer.ratings import send_waiting

    assert send_waiting(feed).accepted == 1
    assert len(library.reviews) == 1


def test_a_refused_rating_is_shown_and_can_be_dismissed(client: Client, library: FakeHub) -> None:
    library.instead_of_ratings.append(Response(409, {"detail": "This card waits for review."}))
    answer = client.post("/rate/", {**fields(client.get("/study/due/")), "outcome": "good"}, follow=True)
    assert "The hub refused this rating. This card waits for review." in text(answer)
    assert fields(answer)["card_id"] == "1", "the card is due as before"
    home = client.get("/")
    assert "Ratings the hub refused" in text(home)
    rating = Rating.objects.get()
    client.post(f"/ratings/{rating.pk}/dismiss/")
    assert "Ratings the hub refused" not in text(client.get("/"))


def test_a_refused_rating_can_be_sent_again(client: Client, library: FakeHub) -> None:
    library.instead_of_ratings.append(Response(409, {"detail": "This card waits for review."}))
    client.post("/rate/", {**fields(client.get("/study/due/")), "outcome": "good"})
    answer = client.post(f"/ratings/{Rating.objects.get().pk}/send-again/", follow=True)
    assert "Rated: Good." in text(answer)
    assert Rating.objects.get().state == "accepted"


def test_a_card_that_was_withdrawn_meanwhile_is_not_rated(client: Client, library: FakeHub, feed: FeedClient) -> None:
    form = {**fields(client.get("/study/due/")), "outcome": "good"}
    library.withdraw("card", 1)
    read_to_head(feed)
    assert "no longer published" in text(client.post("/rate/", form, follow=True))
    assert not Rating.objects.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "perfect"},
        {"outcome": ""},
        {"card_id": "one"},
        {"card_id": "9" * 30},
        {"review_id": "x"},
        {"queue": "elsewhere"},
    ],
)
def test_a_form_that_cannot_be_read_records_nothing(client: Client, library: FakeHub, change: dict[str, str]) -> None:
    form = {**fields(client.get("/study/due/")), "outcome": "good", **change}
    assert client.post("/rate/", form).status_code == 400
    assert not Rating.objects.exists()


def test_studying_one_topic_stays_in_it(client: Client, library: FakeHub, feed: FeedClient) -> None:
    library.publish("topic", 2, name="Rivers")
    library.publish("card", 3, topic_id=2, front="Longest river?")
    read_to_head(feed)
    page = client.get("/study/unseen/?topic=2")
    assert "Longest river?" in text(page)
    answer = client.post("/rate/", {**fields(page), "outcome": "easy"})
    assert answer["Location"] == "/study/unseen/?topic=2"
    assert "You are through with this topic for now" in text(client.get("/study/unseen/?topic=2"))


def test_an_empty_queue_points_to_the_other_one(client: Client, library: FakeHub, feed: FeedClient) -> None:
    library.withdraw("card_progress", 1)
    read_to_head(feed)
    words = text(client.get("/study/due/"))
    assert "Nothing is due" in words
    assert "There are 2 cards in the other queue." in words


def test_a_topic_shows_its_cards_and_questions(client: Client, library: FakeHub) -> None:
    words = text(client.get("/topics/1/"))
    assert "Facts of real places." in words
    assert "Capital of Peru? explained" in words
    assert "due" in words
    assert "unseen" in words


def test_a_long_topic_is_paged(client: Client, library: FakeHub, feed: FeedClient) -> None:
    for number in range(100, 180):
        library.publish("card", number, front=f"Number {number}")
    read_to_head(feed)
    first, second = text(client.get("/topics/1/")), text(client.get("/topics/1/?cards=2"))
    assert "Page 1 of 2" in first
    assert "Number 179" not in first
    assert "Number 179" in second
    assert client.get("/topics/1/?cards=nonsense&questions=-3").status_code == 200


def test_a_question_keeps_its_answer_until_a_choice_is_made(client: Client, library: FakeHub) -> None:
    asked = client.get("/questions/1/")
    assert "<code>Peru</code>" in asked.content.decode()
    assert "1535" not in text(asked)
    assert "answer" not in text(asked).replace("Choose an answer", "")
    assert "Source: Atlas" in text(asked)


def test_a_choice_shows_the_answer_and_the_explanation(client: Client, library: FakeHub) -> None:
    right, wrong = text(client.get("/questions/1/?choice=1")), text(client.get("/questions/1/?choice=2"))
    assert "Right." in right
    assert "Not quite: the answer is number 1." in wrong
    assert "Lima was founded in 1535." in right
    assert "Lima was founded in 1535." in wrong


def test_a_question_without_an_explanation_says_so(client: Client, library: FakeHub, feed: FeedClient) -> None:
    library.withdraw("explanation", 1)
    read_to_head(feed)
    assert "Nobody has explained this question yet" in text(client.get("/questions/1/?choice=1"))


@pytest.mark.parametrize("choice", ["0", "3", "-1", "x", "", "9" * 40])
def test_a_choice_that_is_none_shows_the_question(client: Client, library: FakeHub, choice: str) -> None:
    assert "1535" not in text(client.get("/questions/1/", {"choice": choice}))


@pytest.mark.parametrize(
    "path",
    ["/topics/99/", f"/topics/{'9' * 30}/", "/questions/99/", f"/questions/{'9' * 30}/", "/study/elsewhere/", "/x"],
)
def test_what_is_not_there_is_not_found(client: Client, library: FakeHub, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "There is nothing here" in text(answer)


def test_authors_cannot_bring_html_scripts_or_pictures(client: Client, library: FakeHub, feed: FeedClient) -> None:
    library.publish("card", 2, front="<script>alert(1)</script> [x](javascript:alert(1)) ![p](https://e/p.png)")
    read_to_head(feed)
    body = client.get("/study/unseen/").content.decode()
    assert "<script>alert" not in body
    assert 'href="javascript' not in body
    assert "<img" not in body


def test_every_block_of_content_finds_its_own_direction(client: Client, library: FakeHub) -> None:
    assert '<p dir="auto">מהי בירת ישראל?</p>' in client.get("/study/unseen/").content.decode()


@pytest.mark.parametrize("path", ["/", "/study/due/", "/topics/1/", "/questions/1/?choice=1", "/x"])
def test_pages_keep_their_own_content_security_policy(client: Client, library: FakeHub, path: str) -> None:
    answer = client.get(path)
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    body = answer.content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", body)


def test_static_files_are_served_without_a_collecting_step(client: Client) -> None:
    for name in ("viewer.css", "study.js", "icon.svg"):
        answer = client.get(f"/static/viewer/{name}")
        assert answer.status_code == 200
        b"".join(answer.streaming_content)  # type: ignore[attr-defined]
        answer.close()


def test_a_browser_that_asks_for_an_icon_gets_it(client: Client) -> None:
    assert client.get("/favicon.ico").headers["Location"] == "/static/viewer/icon.svg"


def test_pages_cost_the_same_however_much_there_is(
    client: Client, library: FakeHub, feed: FeedClient, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(100, 200):
        library.publish("topic", number, name=f"Topic {number}")
        library.publish("card", number, topic_id=number)
        library.publish("card_progress", number, card_id=number)
        library.publish("question", number, topic_id=1)
    read_to_head(feed)
    current_state()
    for path, limit in (("/", 11), ("/study/due/", 7), ("/topics/1/", 8), ("/questions/1/?choice=1", 5)):
        with django_assert_max_num_queries(limit):
            assert client.get(path).status_code == 200


def test_a_hub_that_answers_but_publishes_nothing_is_told_from_one_at_the_head(
    client: Client, library: FakeHub, feed: FeedClient
) -> None:
    assert "has not published for" not in text(client.get("/"))
    library.relay_silent_seconds = 605.0
    read_to_head(feed)
    assert "The hub has not published for 10 minutes: what is changed there does not arrive here" in text(
        client.get("/")
    )
    library.relay_silent_seconds = 1.0
    read_to_head(feed)
    assert "has not published for" not in text(client.get("/"))
