import asyncio
import gzip
import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
import zstandard
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from publish.cursor import Cursor
from publish.models import FeedState, PublishedItem, RelayHeartbeat, Subscriber
from publish.news import APPLICATION_NAME, POLL_SECONDS
from publish.relay import CHANNEL, relay_batch
from publish.subscribers import create_subscriber, revoke_tokens_of_erased
from tests.factories import PublishOutboxFactory, UserFactory
from tests.process.processes import free_port, hub_command

pytestmark = pytest.mark.django_db(transaction=True)

InThread = Callable[..., Future[Any]]

LONG = 30

# In pg_stat_activity: who reads a page of the feed, and who listens and looks for all who wait.
READS, LISTENS = r"query ~ '^\s*WITH candidates'", f"application_name = '{APPLICATION_NAME}'"


@pytest.fixture(scope="module")
def server(django_db_setup: None) -> Iterator[str]:
    """The hub as it is really served, on a free port and on the tests' database. Returns its address."""
    port = free_port()
    process = subprocess.Popen(
        hub_command(port),
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "STUDYHUB_TEST_DATABASE": str(connection.settings_dict["NAME"]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.communicate(timeout=20)


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=LONG + 10) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def token() -> str:
    """Of a subscriber that sees shared rows."""
    return create_subscriber(name="nas")[1]


def publish(*source_ids: int, **more: Any) -> None:
    for source_id in source_ids:
        PublishOutboxFactory.create(source_id=source_id, **more)
    relay_batch()


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The body, after a look at what every problem has."""
    body: dict[str, Any] = response.json()
    assert response.status_code == status, body
    assert response.headers["content-type"] == "application/problem+json"
    assert (body["status"], body["type"]) == (status, f"urn:studyhub:problem:{slug}")
    assert body["title"]
    assert body["detail"].endswith((".", "TOKEN`."))
    return body


def has_worked(who: str, *, since: Any) -> bool:
    """Whether this one has done something since, and has come to its end."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            f" AND {who} AND state = 'idle' AND state_change > %s",
            [since],
        )
        return bool(cursor.fetchone()[0])


def database_now() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


@pytest.fixture
def poll(http: httpx.Client, token: str, in_thread: InThread, until: Any) -> Callable[..., Future[httpx.Response]]:
    """Start a long poll and return once it waits."""

    def start(**parameters: Any) -> Future[httpx.Response]:
        before = database_now()
        answer = in_thread(http.get, "/api/feed", params={"wait": LONG, **parameters}, headers=bearer(token))
        until(lambda: has_worked(READS, since=before) and has_worked(LISTENS, since=datetime.min))
        return answer

    return start


# Who may read


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic bmFzOg=="},
        bearer("sh_wrong"),
        bearer("x" * 5000),
    ],
)
def test_without_a_valid_token_the_feed_is_closed(http: httpx.Client, headers: dict[str, str]) -> None:
    response = http.get("/api/feed", headers=headers)
    problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


def test_a_revoked_token_reads_no_more(http: httpx.Client, token: str) -> None:
    assert http.get("/api/feed", headers=bearer(token)).status_code == 200
    Subscriber.objects.update(revoked_at=timezone.now())
    problem(http.get("/api/feed", headers=bearer(token)), 401, "unauthorized")


def test_the_scheme_of_a_token_may_be_written_in_any_case(http: httpx.Client, token: str) -> None:
    assert http.get("/api/feed", headers={"Authorization": f"bearer   {token}"}).status_code == 200


def test_a_subscriber_sees_its_own_learner_and_nobody_else(http: httpx.Client) -> None:
    """Row 27."""
    mine, other = UserFactory.create_batch(2)
    publish(1)
    publish(2, kind="card_progress", learner_id=mine.pk)
    publish(3, kind="card_progress", learner_id=other.pk)
    seen = {}
    for name, options in {
        "shared": {},
        "mine": {"learner_id": mine.pk},
        "other": {"learner_id": other.pk},
        "all": {"all_learners": True},
        "cards": {"all_learners": True, "kinds": ["card"]},
    }.items():
        _subscriber, token = create_subscriber(name=name, **options)  # type: ignore[arg-type]
        items = http.get("/api/feed", headers=bearer(token)).json()["items"]
        seen[name] = [item["id"] for item in items]
    assert seen == {"shared": [1], "mine": [1, 2], "other": [1, 3], "all": [1, 2, 3], "cards": [1]}


# What may be asked


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_feed_is_only_read(http: httpx.Client, token: str, method: str) -> None:
    response = http.request(method, "/api/feed", headers=bearer(token))
    problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("field", "value", "slug"),
    [
        ("limit", "0", "invalid"),
        ("limit", "10001", "invalid"),
        ("limit", "1.5", "invalid"),
        ("limit", "many", "invalid"),
        ("limit", "", "invalid"),
        ("limit", "9" * 5000, "invalid"),
        ("wait", "-1", "invalid"),
        ("wait", "61", "invalid"),
        ("wait", "nan", "invalid"),
        ("wait", "inf", "invalid"),
        ("after", "garbage", "malformed-cursor"),
        ("after", "-1", "malformed-cursor"),
        ("after", str(2**63), "malformed-cursor"),
        ("after", "\0", "malformed-cursor"),
        ("kinds", "card,deck", "unknown-kind"),
    ],
)
def test_a_parameter_that_cannot_be_accepted_is_named(
    http: httpx.Client, token: str, field: str, value: str, slug: str
) -> None:
    """Row 17."""
    body = problem(http.get("/api/feed", params={field: value}, headers=bearer(token)), 422, slug)
    assert body["errors"] == {field: [body["detail"]]}


def test_a_cursor_that_cannot_go_on_is_told_to_start_over(http: httpx.Client, token: str) -> None:
    """Row 17. Another epoch, beyond the head, below the tombstone floor."""
    publish(1, 2)
    FeedState.objects.update(tombstone_floor=2)
    epoch = FeedState.objects.get().epoch
    for cursor in (
        Cursor(epoch=uuid.uuid4(), seq=1, scan_head=2),
        Cursor(epoch=epoch, seq=3, scan_head=3),
        Cursor(epoch=epoch, seq=1, scan_head=1),
    ):
        response = http.get("/api/feed", params={"after": cursor.encode()}, headers=bearer(token))
        assert problem(response, 410, "cursor-expired")["resync"] is True


def test_pages_follow_each_other_by_the_cursor(http: httpx.Client, token: str) -> None:
    publish(1, 2, 3)
    first = http.get("/api/feed", params={"limit": 2}, headers=bearer(token)).json()
    assert ([item["id"] for item in first["items"]], first["head"], first["has_more"]) == ([1, 2], 3, True)
    second = http.get("/api/feed", params={"limit": 2, "after": first["cursor"]}, headers=bearer(token)).json()
    assert ([item["id"] for item in second["items"]], second["head"], second["has_more"]) == ([3], 3, False)
    third = http.get("/api/feed", params={"after": second["cursor"]}, headers=bearer(token)).json()
    assert (third["items"], third["cursor"], third["has_more"]) == ([], second["cursor"], False)


def test_a_page_names_the_hub_the_subscriber_and_the_request_that_it_answers(http: httpx.Client, db: None) -> None:
    learner_id = UserFactory.create().pk
    subscriber, token = create_subscriber(name="phone", learner_id=learner_id)
    publish(1)
    first = http.get("/api/feed", params={"request_id": "first"}, headers=bearer(token)).json()
    second = http.get("/api/feed", params={"after": first["cursor"]}, headers=bearer(token)).json()
    assert {first["hub"], second["hub"]} == {str(FeedState.objects.get().hub)}
    assert {(page["subscriber"], page["learner_id"]) for page in (first, second)} == {(subscriber.pk, learner_id)}
    assert (first["after"], first["request_id"]) == ("", "first")
    assert (second["after"], second["request_id"]) == (first["cursor"], None)


def test_a_refusal_names_the_request_that_it_answers(http: httpx.Client, token: str) -> None:
    publish(1)
    after = Cursor(epoch=uuid.uuid4(), seq=1, scan_head=2).encode()
    response = http.get("/api/feed", params={"after": after, "request_id": "first"}, headers=bearer(token))
    refusal = problem(response, 410, "cursor-expired")
    assert (refusal["after"], refusal["request_id"]) == (after, "first")


@pytest.mark.parametrize(
    ("parameters", "headers", "after"),
    [
        ({"after": "garbage"}, {}, "garbage"),
        ({"after": "가\0"}, {}, "가\0"),
        ({"after": "garbage"}, {"Last-Event-ID": "another"}, "another"),
        ({"limit": "0"}, {}, ""),
    ],
)
def test_a_refusal_names_a_request_too_that_cannot_be_read(
    http: httpx.Client, client: Client, token: str, parameters: dict[str, str], headers: dict[str, str], after: str
) -> None:
    named = {**parameters, "request_id": "first"}
    refusal = http.get("/api/feed", params=named, headers={**bearer(token), **headers}).json()
    assert (refusal["status"], refusal["after"], refusal["request_id"]) == (422, after, "first")
    if "limit" not in parameters and not headers:
        under_wsgi = client.get("/api/feed", named, headers=bearer(token)).json()
        assert (under_wsgi["type"], under_wsgi["after"]) == ("urn:studyhub:problem:malformed-cursor", after)
        assert under_wsgi["request_id"] == "first"


def test_the_token_of_an_erased_learner_says_so_and_opens_nothing(http: httpx.Client, client: Client) -> None:
    learner = UserFactory.create()
    subscriber, token = create_subscriber(name="phone", learner_id=learner.pk)
    publish(1)
    after = http.get("/api/feed", headers=bearer(token)).json()["cursor"]
    assert revoke_tokens_of_erased(learner.pk) == 1
    expected = {
        "hub": str(FeedState.objects.get().hub),
        "subscriber": subscriber.pk,
        "learner_id": learner.pk,
        "after": after,
        "request_id": "first",
    }
    asked = {"after": after, "request_id": "first"}
    for answer in (
        http.get("/api/feed", params=asked, headers=bearer(token)),
        http.get("/api/feed", params={**asked, "wait": 20}, headers={**bearer(token), "Accept": "text/event-stream"}),
        client.get("/api/feed", asked, headers=bearer(token)),
    ):
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["type"] == "urn:studyhub:problem:learner-erased"
        assert {name: body[name] for name in expected} == expected
    card = http.get("/api/study-cards/due", headers=bearer(token))
    assert (card.status_code, card.json()["type"]) == (403, "urn:studyhub:problem:learner-erased")
    # The account's end changes nothing about it; a wrong end of the token does.
    learner.delete()
    assert http.get("/api/feed", headers=bearer(token)).status_code == 403
    assert http.get("/api/feed", headers=bearer(token + "x")).status_code == 401


@pytest.mark.parametrize("word", ["", " ", "a b", "가", "x" * 65, "a\n"])
def test_a_request_id_is_a_short_word(http: httpx.Client, token: str, word: str) -> None:
    response = http.get("/api/feed", params={"request_id": word}, headers=bearer(token))
    assert list(problem(response, 422, "invalid")["errors"]) == ["request_id"]


def test_a_page_is_not_to_be_stored_by_caches(http: httpx.Client, token: str) -> None:
    assert http.get("/api/feed", headers=bearer(token)).headers["cache-control"] == "no-store"


def test_kinds_are_separated_by_commas(http: httpx.Client, token: str) -> None:
    publish(1, kind="card")
    publish(2, kind="topic")
    publish(3, kind="question")
    page = http.get("/api/feed", params={"kinds": "card,question"}, headers=bearer(token)).json()
    assert [item["id"] for item in page["items"]] == [1, 3]


def test_a_page_is_lines_for_who_accepts_ndjson(http: httpx.Client, token: str) -> None:
    publish(1, 2)
    headers = {**bearer(token), "Accept": "application/x-ndjson"}
    response = http.get("/api/feed", headers=headers)
    assert response.headers["content-type"] == "application/x-ndjson"
    *items, position = [json.loads(line) for line in response.text.splitlines()]
    page = http.get("/api/feed", headers=bearer(token)).json()
    assert items == page["items"]
    assert position == {key: value for key, value in page.items() if key != "items"}


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip", "gzip"), ("gzip, zstd", "zstd"), ("zstd;q=0", None)])
def test_a_large_page_is_compressed_as_far_as_accepted(
    http: httpx.Client, token: str, accepted: str, encoding: str | None
) -> None:
    publish(1, payload={"front": "가" * 5000})
    with http.stream("GET", "/api/feed", headers={**bearer(token), "Accept-Encoding": accepted}) as response:
        body = b"".join(response.iter_raw())
    assert response.headers.get("content-encoding") == encoding
    if encoding == "gzip":
        body = gzip.decompress(body)
    elif encoding == "zstd":
        body = zstandard.ZstdDecompressor().decompress(body)
    assert json.loads(body)["items"][0]["payload"] == {"front": "가" * 5000}


# Waiting for news


def test_without_wait_an_empty_page_comes_at_once(http: httpx.Client, token: str) -> None:
    started = time.monotonic()
    assert http.get("/api/feed", headers=bearer(token)).json()["items"] == []
    assert http.get("/api/feed", params={"wait": 0}, headers=bearer(token)).json()["items"] == []
    assert time.monotonic() - started < 3


def test_a_wait_without_news_ends_with_an_empty_page(http: httpx.Client, token: str) -> None:
    started = time.monotonic()
    assert http.get("/api/feed", params={"wait": 0.3}, headers=bearer(token)).json()["items"] == []
    assert time.monotonic() - started >= 0.3


def test_a_page_with_items_does_not_wait(http: httpx.Client, token: str) -> None:
    publish(1)
    started = time.monotonic()
    assert http.get("/api/feed", params={"wait": LONG}, headers=bearer(token)).json()["items"]
    assert time.monotonic() - started < POLL_SECONDS


def test_a_long_poll_wakes_with_the_batch(poll: Callable[..., Future[httpx.Response]]) -> None:
    answer = poll()
    started = time.monotonic()
    publish(1)
    page = answer.result().json()
    assert ([item["id"] for item in page["items"]], page["head"]) == ([1], 1)
    # Sooner than by the look that it takes now and then in any case.
    assert time.monotonic() - started < POLL_SECONDS / 2


def test_news_that_a_consumer_does_not_see_leaves_it_waiting_and_costs_no_read(
    poll: Callable[..., Future[httpx.Response]], until: Any
) -> None:
    """Row 27. Not even that there was something is shown."""
    # From here on the server knows where this test's feed stands.
    answer = poll(kinds="card,card_progress")
    before = database_now()
    until(lambda: has_worked(LISTENS, since=before))
    before = database_now()
    publish(1, kind="card_progress", learner_id=77)
    publish(2, kind="topic")
    until(lambda: has_worked(LISTENS, since=before))
    assert not has_worked(READS, since=before)
    assert not answer.done()
    publish(3)
    assert [item["id"] for item in answer.result().json()["items"]] == [3]


def test_a_commit_at_any_moment_of_a_long_poll_is_not_slept_through(
    http: httpx.Client, token: str, in_thread: InThread
) -> None:
    """Row 21. Before its look, between the look and the wait, or while it waits."""
    cursor = ""
    started = time.monotonic()
    for turn in range(1, 26):
        answer = in_thread(http.get, "/api/feed", params={"wait": LONG, "after": cursor}, headers=bearer(token))
        publish(turn)
        page = answer.result().json()
        assert [item["id"] for item in page["items"]] == [turn]
        cursor = page["cursor"]
    assert time.monotonic() - started < POLL_SECONDS


def test_a_lost_listen_connection_costs_a_waiter_little(
    poll: Callable[..., Future[httpx.Response]], connect: Callable[..., psycopg.Connection[Any]], until: Any
) -> None:
    """Row 21. Killed while somebody waits: the news comes all the same, and soon."""
    answer = poll()
    killed = connect(autocommit=True).execute(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND {LISTENS}"
    )
    assert killed.fetchall()
    started = time.monotonic()
    publish(1)
    assert [item["id"] for item in answer.result().json()["items"]] == [1]
    assert time.monotonic() - started < POLL_SECONDS
    again = poll(after=answer.result().json()["cursor"])
    started = time.monotonic()
    publish(2)
    assert [item["id"] for item in again.result().json()["items"]] == [2]
    assert time.monotonic() - started < POLL_SECONDS / 2


def test_lost_page_connections_are_replaced(
    http: httpx.Client, token: str, connect: Callable[..., psycopg.Connection[Any]]
) -> None:
    """Row 25."""
    publish(1)
    assert http.get("/api/feed", headers=bearer(token)).status_code == 200
    killed = connect(autocommit=True).execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid NOT IN (pg_backend_pid(), %s) AND query LIKE '%%publish_item%%'",
        [connection.connection.info.backend_pid],
    )
    assert killed.fetchall()
    assert [item["id"] for item in http.get("/api/feed", headers=bearer(token)).json()["items"]] == [1]


def test_a_token_revoked_while_it_waits_ends_the_wait_at_its_next_look(
    poll: Callable[..., Future[httpx.Response]],
) -> None:
    answer = poll()
    Subscriber.objects.update(revoked_at=timezone.now())
    publish(1)
    problem(answer.result(), 401, "unauthorized")


def test_a_learner_who_is_erased_while_their_viewer_waits_is_told_as_erased(
    poll: Callable[..., Future[httpx.Response]],
) -> None:
    learner = UserFactory.create()
    Subscriber.objects.update(learner=learner)
    answer = poll(request_id="mine")
    revoke_tokens_of_erased(learner.pk)
    publish(1)
    body = problem(answer.result(), 403, "learner-erased")
    assert (body["learner_id"], body["after"], body["request_id"]) == (learner.pk, "", "mine")


@pytest.mark.parametrize(("before", "after"), [(1, 500), (500, 1)], ids=["falls silent", "works again"])
def test_an_empty_page_says_how_long_no_relay_has_worked_when_its_wait_ends(
    poll: Callable[..., Future[httpx.Response]], until: Any, before: int, after: int
) -> None:
    def worked(seconds_ago: int) -> None:
        moment = timezone.now() - timedelta(seconds=seconds_ago)
        RelayHeartbeat.objects.update_or_create(pk=1, defaults={"worked_at": moment})

    worked(before)
    answer = poll(wait=1.5)
    worked(after)
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")
    assert answer.result().json()["relay_silent_seconds"] == pytest.approx(after, abs=30)


def test_an_epoch_that_ends_while_a_consumer_waits_is_told(poll: Callable[..., Future[httpx.Response]]) -> None:
    publish(1)
    state = FeedState.objects.get()
    answer = poll(after=Cursor(epoch=state.epoch, seq=1, scan_head=1).encode())
    FeedState.objects.update(epoch=uuid.uuid4())
    publish(2)
    assert problem(answer.result(), 410, "cursor-expired")["resync"] is True


def test_a_hundred_waiters_hold_no_connections_and_are_all_woken(
    server: str, token: str, until: Any, in_thread: InThread
) -> None:
    sent: list[str] = []

    async def note(event: str, _info: Any) -> None:
        if event == "http11.receive_response_headers.started":
            sent.append(event)

    async def wait_all() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server, timeout=LONG + 10, limits=limits) as client:
            return await asyncio.gather(
                *(
                    client.get("/api/feed", params={"wait": LONG}, headers=bearer(token), extensions={"trace": note})
                    for _ in range(100)
                )
            )

    before = database_now()
    answers = in_thread(asyncio.run, wait_all())
    until(lambda: len(sent) == 100 and has_worked(READS, since=before))
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        # The pool's four, the one that listens, Django's few, and the test's own.
        assert cursor.fetchone()[0] <= 12
    publish(1)
    assert [[item["id"] for item in response.json()["items"]] for response in answers.result()] == [[1]] * 100


# A stream of events


class Events:
    """A consumer of server-sent events: parses what comes, field by field."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> dict[str, str]:
        event: dict[str, str] = {}
        for line in self._lines:
            if not line and event:
                return event
            name, _colon, value = line.partition(": ")
            if name:
                event[name] = value
        raise AssertionError("The stream has ended.")


def test_events_carry_items_and_their_ids_are_cursors(http: httpx.Client, token: str) -> None:
    publish(1, 2)
    headers = {**bearer(token), "Accept": "text/event-stream"}
    with http.stream("GET", "/api/feed", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = Events(response)
        first, second, head = events.next(), events.next(), events.next()
        assert [event["event"] for event in (first, second, head)] == ["item", "item", "head"]
        assert [json.loads(event["data"])["id"] for event in (first, second)] == [1, 2]
        assert json.loads(head["data"])["head"] == 2
        publish(3)
        assert json.loads(events.next()["data"])["id"] == 3
    with http.stream("GET", "/api/feed", headers={**headers, "Last-Event-ID": first["id"]}) as response:
        assert json.loads(Events(response).next()["data"])["id"] == 2
    page = http.get("/api/feed", params={"after": first["id"]}, headers=bearer(token)).json()
    assert [item["id"] for item in page["items"]] == [2, 3]


def test_an_event_stream_says_why_it_ends(http: httpx.Client, token: str) -> None:
    headers = {**bearer(token), "Accept": "text/event-stream"}
    with http.stream("GET", "/api/feed", headers=headers) as response:
        events = Events(response)
        assert events.next()["event"] == "head"
        FeedState.objects.update(epoch=uuid.uuid4())
        publish(1)
        resync = events.next()
        assert (resync["event"], json.loads(resync["data"])["resync"]) == ("resync", True)
    with http.stream("GET", "/api/feed", headers=headers) as response:
        events = Events(response)
        assert [events.next()["event"] for _ in range(2)] == ["item", "head"]
        Subscriber.objects.update(revoked_at=timezone.now())
        publish(2)
        refused = events.next()
        assert (refused["event"], json.loads(refused["data"])["status"]) == ("problem", 401)


# The rest of the hub at the same port


def test_the_documentation_lists_the_feed(http: httpx.Client) -> None:
    document = http.get("/api/openapi.json").json()
    operation = document["paths"]["/api/feed"]["get"]
    assert {parameter["name"] for parameter in operation["parameters"]} == {
        "after",
        "kinds",
        "limit",
        "wait",
        "request_id",
    }
    assert set(operation["responses"]) >= {"200", "401", "410", "422", "503"}
    assert operation["security"]


def test_an_unknown_address_below_the_api_is_a_problem(http: httpx.Client) -> None:
    problem(http.get("/api/feeds"), 404, "not-found")


def test_without_asgi_the_feed_is_the_same_page_and_the_same_refusals(
    http: httpx.Client, token: str, client: Client
) -> None:
    publish(1, 2)
    native = http.get("/api/feed", headers=bearer(token))
    plain = client.get("/api/feed", headers=bearer(token))
    differs = {"relay_silent_seconds": None}
    assert {**plain.json(), **differs} == {**native.json(), **differs}
    for parameters, sent in (
        ({}, {}),
        ({}, bearer("sh_wrong")),
        ({"after": "garbage"}, bearer(token)),
        ({"kinds": "deck"}, bearer(token)),
        ({"after": Cursor(epoch=uuid.uuid4(), seq=1, scan_head=1).encode()}, bearer(token)),
    ):
        native = http.get("/api/feed", params=parameters, headers=sent)
        plain = client.get("/api/feed", parameters, headers=sent)
        assert plain.status_code == native.status_code
        assert plain.json() == native.json()
        assert plain["Content-Type"] == native.headers["content-type"]
    assert PublishedItem.objects.count() == 2


def test_whoever_reads_to_the_head_now_and_then_stands_there_and_not_a_page_before(
    http: httpx.Client, token: str
) -> None:
    publish(1, 2, 3)
    first = http.get("/api/feed", params={"limit": 2}, headers=bearer(token)).json()
    http.get("/api/feed", params={"after": first["cursor"]}, headers=bearer(token))
    deadline = time.monotonic() + LONG
    while Subscriber.objects.get().last_seq != 3:
        assert time.monotonic() < deadline, "the position was not written"
        time.sleep(0.05)
