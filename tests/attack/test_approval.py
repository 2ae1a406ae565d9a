"""An author rewrites a card as fast as they can while a reviewer reads and approves it, by every way: what was not read
is never published. Real hub and relay, one consumer of the feed."""

import random
import re
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.process.processes import OwnDatabase, own_database, say

PASSWORD = "a long password of the test"
SECONDS = 20
PEOPLE = f"""
from django.contrib.auth.models import Group, User
from memocards.content.topics import create_topic
from publish.subscribers import create_subscriber
for name in ("author", "reviewer"):
    User.objects.create_user(name, password="{PASSWORD}", is_staff=True).groups.add(Group.objects.get(name=name))
create_topic(name="Topic")
print(create_subscriber(name="consumer")[1])
"""

pytestmark = pytest.mark.slow
CARDS = "/admin/memocards/memocard/"


@pytest.fixture
def hub() -> Iterator[OwnDatabase]:
    with own_database() as installation:
        yield installation


def log_in(client: httpx.Client, name: str) -> httpx.Client:
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/admin/login/").text)
    assert token
    form = {"username": name, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    assert client.post("/admin/login/", data=form).status_code == httpx.codes.FOUND
    client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
    return client


def hidden(html: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', html))


def fronts_in(text: str) -> set[str]:
    return set(re.findall(r"version \d+", text))


class Reviewer:
    """Reads the card by some way, is slow, and approves it. `read`: every text that they may have approved."""

    def __init__(self, client: httpx.Client, key: int, topic: int) -> None:
        self.client, self.key, self.topic = client, key, topic
        self.read: set[str] = set()
        self.tried = dict.fromkeys(["over_rest", "in_the_list", "on_its_page", "blindly"], 0)

    def over_rest(self) -> None:
        [card] = self.client.get("/api/study-cards", params={"after_id": self.key - 1, "limit": 1}).json()["items"]
        self.read.add(card["front"])
        self._think()
        body = {"items": [{"id": self.key, "version": card["version"]}]}
        self.client.post("/api/study-cards/approve", json=body)

    def in_the_list(self) -> None:
        page = self.client.get(CARDS + "?state=live").text
        self.read |= fronts_in(page)
        form = {**hidden(page), "action": "approve", "_selected_action": str(self.key), "index": "0"}
        question = self.client.post(CARDS + "?state=live", data=form).text
        self._think()
        answer = {**hidden(question), "action": "approve", "_selected_action": str(self.key)}
        self.client.post(CARDS + "?state=live", data=answer)

    def on_its_page(self) -> None:
        page = self.client.get(f"{CARDS}{self.key}/change/").text
        form = hidden(page)
        self.read |= fronts_in(form.get("initial-front", ""))
        self._think()
        values = {"topic": str(self.topic), "front": form.get("initial-front", ""), "back": "back", "_approve": "1"}
        self.client.post(f"{CARDS}{self.key}/change/", data={**form, **values})

    def blindly(self) -> None:
        """Without a word of what was read."""
        self.client.post("/api/study-cards/approve", json={"ids": [self.key]})
        self.client.post(CARDS + "?state=live", data={"action": "approve", "_selected_action": str(self.key)})
        values = {"topic": str(self.topic), "front": "version 0", "back": "back", "_approve": "1"}
        self.client.post(f"{CARDS}{self.key}/change/", data=values)

    def act(self, way: str) -> None:
        steps: dict[str, Callable[[], None]] = {name: getattr(self, name) for name in self.tried}
        steps[way]()
        self.tried[way] += 1

    def _think(self) -> None:
        time.sleep(random.uniform(0, 0.05))


@pytest.fixture
def clients(hub: OwnDatabase) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Two browsers, of a hub that is not up yet."""
    with (
        httpx.Client(base_url=hub.url, timeout=30, headers={"Referer": hub.url}) as author,
        httpx.Client(base_url=hub.url, timeout=30, headers={"Referer": hub.url}) as reviewer,
    ):
        yield author, reviewer


def test_what_was_not_read_is_never_published(hub: OwnDatabase, clients: tuple[httpx.Client, httpx.Client]) -> None:
    token = hub.prepare(PEOPLE)[-1]
    relay = hub.relay(wait=False)
    hub.hub()
    relay.says("Relay: started.")
    author, client = log_in(clients[0], "author"), log_in(clients[1], "reviewer")
    topic = author.get("/api/topics").json()["items"][0]["id"]
    body = {"topic_id": topic, "front": "version 0", "back": "back"}
    key = author.post("/api/study-cards", json=body).json()["id"]
    reviewer = Reviewer(client, key, topic)
    end = time.monotonic() + SECONDS
    published: set[str] = set()

    def rewrite() -> None:
        for number in range(1, 10_000):
            if time.monotonic() > end:
                return
            author.patch(f"/api/study-cards/{key}", json={"front": f"version {number}"})
            time.sleep(random.uniform(0.01, 0.15))

    def follow() -> None:
        cursor = ""
        headers = {"Authorization": f"Bearer {token}"}
        while time.monotonic() < end + 2:
            asked = {"after": cursor, "kinds": "card", "wait": "1"}
            page = httpx.get(f"{hub.url}/api/feed", params=asked, headers=headers, timeout=30).json()
            published.update(item["payload"]["front"] for item in page["items"] if not item["deleted"])
            cursor = page["cursor"]

    threads = [threading.Thread(target=rewrite), threading.Thread(target=follow)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        reviewer.act(random.choice(list(reviewer.tried)))
    for thread in threads:
        thread.join(timeout=60)
    say(f"approvals {reviewer.tried}, read {len(reviewer.read)} versions, published {len(published)}")
    assert min(reviewer.tried.values()) > 0
    assert published, "Nothing was ever approved."
    assert published <= reviewer.read
    hub.manage("verify_publish")
