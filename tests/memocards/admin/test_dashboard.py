"""The first page of the back office: its figures, its charts, and who sees which."""

from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from memocards.admin import charts, dashboard
from memocards.models import Review
from publish import relay
from publish.models import FeedState, SetAside
from publish.status import publish_status
from tests.factories import (
    MemoCardFactory,
    PublishOutboxFactory,
    QuestionFactory,
    ReviewFactory,
    SubscriberFactory,
    TopicFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


def drawn(svg: str) -> list[dict[str, str]]:
    """The attributes of each rectangle. Raises where the SVG is not well-formed, or carries a style."""
    root = ElementTree.fromstring(svg)
    assert not [element for element in root.iter() if "style" in element.attrib]
    return [dict(element.attrib) for element in root.iter() if element.tag.endswith("rect")]


# Charts


def test_a_bar_is_as_long_as_its_share() -> None:
    first, second = drawn(charts.bar([("questions", 3), ("cards", 1)], 8))
    assert (first["x"], first["width"], second["x"], second["width"]) == ("0", "37.5", "37.5", "12.5")
    assert [rect["width"] for rect in drawn(charts.bar([("lag", 0), ("lag", -5)], 0))] == ["0", "0"]


def test_columns_reach_their_height_and_a_single_rating_is_seen() -> None:
    most, none, one = drawn(charts.columns([("1 May", 1000), ("2 May", 0), ("3 May", 1)], 'So "many" <b>'))
    assert (most["y"], most["height"]) == ("0", "80")
    assert none["height"] == "0"
    assert one["height"] == "1"
    assert drawn(charts.columns([], "none")) == []
    assert "&lt;b&gt;" in charts.columns([], "<b>")


@pytest.mark.usefixtures("settings")
def test_a_chart_is_the_same_in_every_language(settings: Any) -> None:
    settings.LANGUAGE_CODE = "de"
    assert drawn(charts.bar([("lag", 1)], 3))[0]["width"] == "33.33"


# Figures


def test_what_waits_by_topic_the_fullest_first() -> None:
    few, many = TopicFactory.create(name="Few"), TopicFactory.create(name="Many")
    MemoCardFactory.create(topic=few, needs_review=True)
    MemoCardFactory.create(topic=few)
    MemoCardFactory.create(topic=few, needs_review=True, deleted_at=timezone.now())
    MemoCardFactory.create_batch(3, topic=many, needs_review=True)
    QuestionFactory.create(topic=many, needs_review=True)
    QuestionFactory.create(topic=many, needs_review=True, sent_back_at=timezone.now())
    waiting = dashboard.waiting()
    assert [(topic.name, topic.questions, topic.cards) for topic in waiting.topics] == [("Many", 1, 3), ("Few", 0, 1)]
    assert (waiting.questions, waiting.cards, waiting.sent_back) == (1, 4, 1)


def test_many_topics_are_summed_up() -> None:
    for topic in TopicFactory.create_batch(15):
        MemoCardFactory.create(topic=topic, needs_review=True)
    *listed, rest = dashboard.waiting().topics
    assert len(listed) == dashboard.TOPICS_SHOWN
    assert (rest.name, rest.cards, rest.topic_id) == ("3 more topics", 3, None)


def test_explanations_by_state() -> None:
    QuestionFactory.create_batch(2)
    QuestionFactory.create(explanation="Because.", explanation_status="ready")
    QuestionFactory.create(explanation_status="failed", deleted_at=timezone.now())
    counts = {state.state: state.questions for state in dashboard.explanations()}
    assert counts == {"none": 2, "pending": 0, "running": 0, "ready": 1, "failed": 0}


def test_publishing_and_lag_as_publish_status_says() -> None:
    relay.lock_feed()
    FeedState.objects.update(last_seq=100, tombstone_floor=40)
    now = timezone.now()
    SubscriberFactory.create(name="ahead", last_seq=100, last_seen_at=now)
    SubscriberFactory.create(name="lost", last_seq=10, scan_head=20, last_seen_at=now)
    SubscriberFactory.create(name="scanning", last_seq=10, scan_head=90, last_seen_at=now)
    SubscriberFactory.create(name="new")
    SubscriberFactory.create(name="revoked", revoked_at=now)
    PublishOutboxFactory.create_batch(3)
    SetAside.objects.create(kind="card", source_id=1, outbox_id=1, error="x")
    status = publish_status()
    expected = {
        row["name"]: (row["lag"], row["must_start_over"]) for row in status["subscribers"] if not row["revoked"]
    }
    figures = dashboard.subscribers()
    assert {row.name: (row.lag, row.must_start_over) for row in figures} == expected
    assert expected["lost"] == (90, True)
    assert expected["new"] == (100, False)
    assert [row.lag for row in figures] == sorted((row.lag for row in figures), reverse=True)
    publishing = dashboard.publishing()
    assert (publishing.depth, publishing.head, publishing.set_aside) == (3, 100, 1)
    assert publishing.oldest is not None


def test_ratings_by_the_day_they_came_in_without_what_was_undone() -> None:
    card, learner = MemoCardFactory.create(), UserFactory.create()
    for days, undone in ((0, None), (0, None), (0, timezone.now()), (29, None), (31, None)):
        row = ReviewFactory.create(card=card, learner=learner, undone_at=undone)
        Review.objects.filter(pk=row.pk).update(received_at=timezone.now() - timedelta(days=days))
    ratings = dashboard.ratings()
    assert len(ratings.days) == len(drawn(ratings.chart)) == 30
    assert (ratings.today, ratings.days[0].ratings, ratings.total) == (2, 1, 3)
    assert ratings.most == ratings.days[-1]


def test_the_days_of_the_ratings_are_those_of_the_readers_zone() -> None:
    ReviewFactory.create()
    # 26 hours apart: it is never the same day in both.
    for name in ("Pacific/Kiritimati", "Etc/GMT+12"):
        with timezone.override(name):
            ratings = dashboard.ratings()
            assert (ratings.today, ratings.days[-1].day) == (1, str(timezone.localdate()))


# The page


def test_the_page_shows_every_figure_in_text(admin_client: Client) -> None:
    topic = TopicFactory.create(name="<Physik> & 물리")
    MemoCardFactory.create_batch(4, topic=topic, needs_review=True)
    SubscriberFactory.create(name="nas")
    html = admin_client.get("/admin/").content.decode()
    for text in (
        "&lt;Physik&gt; &amp; 물리",
        "Waiting for review",
        "Explanations",
        "Outbox",
        "Feed head",
        "nas",
        "never",
    ):
        assert text in html
    assert f'href="/admin/review/?topic={topic.pk}"' in html
    assert html.count("<svg") > 5
    assert " style=" not in html
    assert "<script>" not in html


def test_the_page_costs_the_same_however_much_there_is(admin_client: Client) -> None:
    admin_client.get("/admin/")

    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            admin_client.get("/admin/")
        return len(queries)

    before = statements()
    for topic in TopicFactory.create_batch(5):
        MemoCardFactory.create_batch(3, topic=topic, needs_review=True)
    SubscriberFactory.create_batch(5)
    assert statements() == before


@pytest.mark.parametrize(
    ("permission", "shown", "hidden"),
    [
        ("view_memocard", "Waiting for review", ["Outbox", "Ratings a day", "Review desk", "figure-explanations"]),
        ("approve_memocard", "", ["Waiting for review", "Outbox"]),
        ("view_subscriber", "No subscribers yet.", ["Waiting for review", "Feed head"]),
        ("view_review", "Ratings a day", ["Waiting for review", "Outbox"]),
    ],
)
def test_nobody_sees_figures_of_what_they_may_not_see(permission: str, shown: str, hidden: list[str]) -> None:
    user = UserFactory.create(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename=permission))
    client = Client()
    client.force_login(user)
    html = client.get("/admin/").content.decode()
    assert shown in html
    for text in hidden:
        assert text not in html
