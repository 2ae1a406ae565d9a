"""The whole way, in real processes: written, approved, relayed, followed, rated in the viewer, and back again."""

import re
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import httpx
import pytest

from tests.process.processes import OwnDatabase, Viewer, say, wait_until

PASSWORD = "a long password of the test"


PEOPLE = f"""
from django.contrib.auth.models import User
from publish.subscribers import create_subscriber
User.objects.create_superuser("staff", password="{PASSWORD}")
learner = User.objects.create_user("learner")
print(create_subscriber(name="viewer", learner_id=learner.pk)[1])
"""


@pytest.fixture
def token(own_hub: OwnDatabase) -> str:
    """The viewer's, of a hub that is up."""
    token = own_hub.prepare(PEOPLE)[-1]
    relay = own_hub.relay(wait=False)
    own_hub.hub()
    relay.says("Relay: started.")
    return token


@pytest.fixture
def staff(own_hub: OwnDatabase, token: str) -> Iterator[httpx.Client]:
    """A browser that is logged in to the hub as a superuser."""
    with httpx.Client(base_url=own_hub.url, timeout=20) as client:
        page = client.get("/admin/login/")
        form = {"username": "staff", "password": PASSWORD, "csrfmiddlewaretoken": _form_token(page.text)}
        assert client.post("/admin/login/", data=form).status_code == httpx.codes.FOUND
        client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
        yield client


def _form_token(page: str) -> str:
    match = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert match, page
    return match[1]


def _approve(staff: httpx.Client, card: int) -> list[int]:
    """As it reads now."""
    [read] = staff.get("/api/study-cards", params={"after_id": card - 1, "limit": 1}).json()["items"]
    body = {"items": [{"id": card, "version": read["version"]}]}
    changed: list[int] = staff.post("/api/study-cards/approve", json=body).raise_for_status().json()["changed"]
    return changed


def _created(answer: httpx.Response) -> int:
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return int(answer.json()["id"])


def test_from_the_author_to_the_learner_and_back(
    own_hub: OwnDatabase, token: str, staff: httpx.Client, viewers: Callable[..., Viewer]
) -> None:
    viewer = viewers(hub_url=own_hub.url, token=token)
    sync = viewer.sync()
    viewer.pages()

    topic = _created(staff.post("/api/topics", json={"name": "Anatomy"}))
    question = _created(
        staff.post("/api/questions", json={"topic_id": topic, "stem": "How many?", "choices": ["1", "2"], "answer": 2})
    )
    staff.put(f"/api/questions/{question}/explanation", json={"body": "One on each side."}).raise_for_status()
    card = _created(
        staff.post("/api/study-cards", json={"topic_id": topic, "question_id": question, "front": "F", "back": "B"})
    )
    wait_until(lambda: viewer.rows("SELECT body FROM viewer_explanation") == [("One on each side.",)])
    assert viewer.rows("SELECT id FROM viewer_card") == []  # it waits for review

    approved_at = time.monotonic()
    assert _approve(staff, card) == [card]
    wait_until(lambda: viewer.rows("SELECT id, topic_id, question_id, front FROM viewer_card"))
    arrived_after = time.monotonic() - approved_at
    assert viewer.rows("SELECT id, topic_id, question_id, front FROM viewer_card") == [(card, topic, question, "F")]

    with httpx.Client(base_url=viewer.url, timeout=20) as learner:
        page = learner.get("/study/unseen/").text
        values = dict(re.findall(r'name="(review_id|shown_at|card_id|queue)" value="([^"]*)"', page))
        assert values["card_id"] == str(card)
        form = {**values, "csrfmiddlewaretoken": _form_token(page), "outcome": "good"}
        rated_at = time.monotonic()
        for _double_tap in range(2):
            assert learner.post("/rate/", data=form).status_code == httpx.codes.FOUND
    wait_until(lambda: viewer.rows("SELECT id FROM viewer_cardprogress"))
    came_back_after = time.monotonic() - rated_at
    assert viewer.rows("SELECT card_id, last_outcome, review_stage FROM viewer_cardprogress") == [(card, "good", 0)]
    assert viewer.rows("SELECT id, state FROM viewer_rating") == [(UUID(values["review_id"]).hex, "accepted")]
    wait_until(lambda: viewer.rows("SELECT holds_card FROM viewer_rating") == [(0,)])

    # Sent back to review, the card disappears and its progress stays; approved again, it is neither new nor lost.
    staff.post("/api/study-cards/unapprove", json={"ids": [card]}).raise_for_status()
    wait_until(lambda: viewer.rows("SELECT id FROM viewer_card") == [])
    assert len(viewer.rows("SELECT id FROM viewer_cardprogress")) == 1
    assert _approve(staff, card) == [card]
    wait_until(lambda: viewer.rows("SELECT id FROM viewer_card") == [(card,)])

    assert staff.delete(f"/api/topics/{topic}", params={"cascade": True}).status_code == httpx.codes.NO_CONTENT
    tables = ("topic", "question", "explanation", "card")
    wait_until(lambda: not any(viewer.rows(f"SELECT id FROM viewer_{table}") for table in tables))
    assert sync.stop() == 0
    own_hub.manage("verify_publish")
    say(f"approved → in the viewer {arrived_after:.2f} s, rated → back in the viewer {came_back_after:.2f} s")
