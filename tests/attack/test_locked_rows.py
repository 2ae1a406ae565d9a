"""A transaction that somebody left open holds a row, or a table: what wants it says so soon, and all else goes on."""

import re
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.attack.scene import Scene, scene
from tests.process.processes import Viewer, free_port, say, wait_until

OK, UNAVAILABLE = 200, 503


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    with scene() as running:
        yield running


def rate(client: httpx.Client, card: int, review_id: str = "") -> httpx.Response:
    body = {"review_id": review_id or str(uuid.uuid4()), "outcome": "good"}
    return client.post(f"/api/study-cards/{card}/rate", json=body)


def assert_said(answer: httpx.Response) -> None:
    """503, with a word for programs and a time to come back."""
    assert answer.status_code == UNAVAILABLE, answer.text
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:studyhub:problem:row-locked"
    assert "Somebody else is changing" in answer.json()["detail"]


SETTINGS = "SELECT 1 FROM memocards_learnersettings WHERE learner_id = {learner} FOR UPDATE"
CARD = "SELECT 1 FROM memocards_memocard WHERE id = {card} FOR UPDATE"


@pytest.mark.parametrize(
    "locked",
    [pytest.param(SETTINGS, id="a learner's settings"), pytest.param(CARD, id="a card", marks=pytest.mark.slow)],
)
def test_who_rates_against_a_held_row_holds_up_nobody_else(stage: Scene, locked: str) -> None:
    with stage.as_learner() as learner, stage.as_other() as other, stage.as_staff() as staff:
        assert rate(learner, stage.card).status_code == rate(other, stage.card).status_code == OK
        stop = threading.Event()
        answers: Counter[int] = Counter()

        def go_on_rating() -> None:
            while not stop.is_set():
                answer = rate(learner, stage.card)
                answers[answer.status_code] += 1
                assert_said(answer)
                stop.wait(0.1)

        elsewhere: dict[str, Callable[[], httpx.Response]] = {
            "login": lambda: httpx.get(f"{stage.hub.url}/login/", timeout=30),
            "another learner's settings": lambda: other.patch("/api/settings", json={"new_per_day": 20}),
            "staff's list": lambda: staff.get("/admin/memocards/memocard/"),
            "the feed": lambda: other.get("/api/feed?limit=1"),
        }
        longest = dict.fromkeys(elsewhere, 0.0)
        with stage.held(locked.format(learner=stage.learner, card=stage.card)), ThreadPoolExecutor(8) as pool:
            ratings = [pool.submit(go_on_rating) for _ in range(8)]
            try:
                wait_until(answers.total, what="A refusal")
                for _ in range(6):
                    for name, ask in elsewhere.items():
                        began = time.monotonic()
                        assert ask().status_code == OK, name
                        longest[name] = max(longest[name], time.monotonic() - began)
            finally:
                stop.set()
            for rating in ratings:
                rating.result()
        say(f"{answers[UNAVAILABLE]} refused; meanwhile {', '.join(f'{n}: {s:.2f} s' for n, s in longest.items())}")
        assert max(longest.values()) < 1
        assert rate(learner, stage.card).status_code == OK


def test_a_page_of_staff_says_it_as_a_page(stage: Scene) -> None:
    with stage.as_staff() as staff:
        change = f"/admin/memocards/topic/{stage.topic}/change/"
        form = {"name": "Capital cities", "description": "", "position": "1", "scheduler": "ladder", "_save": "1"}
        with stage.held(f"SELECT 1 FROM memocards_topic WHERE id = {stage.topic} FOR UPDATE"):
            began = time.monotonic()
            answer = staff.post(change, data=form, headers={"Accept-Language": "ko"})
            assert 1 < time.monotonic() - began < 8, "it waits, but not for long"
        usual = staff.get(change)
        assert answer.status_code == UNAVAILABLE
        assert answer.headers["Retry-After"] == "5"
        assert answer.headers["Cache-Control"] == "no-store"
        assert '<html lang="ko"' in answer.text
        for header in ("Content-Type", "Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options"):
            assert answer.headers[header] == usual.headers[header]
        assert "Capital cities" not in usual.text
        assert staff.post(change, data=form).status_code == httpx.codes.FOUND


def test_a_viewer_keeps_a_rating_that_meets_a_held_row_and_sends_it_later(
    stage: Scene, viewers: Callable[..., Viewer]
) -> None:
    stage.hub.relay("--once", wait=False).wait()
    viewer = viewers(hub_url=stage.hub.url, token=stage.others_token)
    viewer.sync_once()
    viewer.pages()
    with httpx.Client(base_url=viewer.url, timeout=30, follow_redirects=True) as pages, stage.connect() as database:
        page = pages.get("/study/unseen/").text
        form = dict(re.findall(r'name="(\w+)"\s+value="([^"]*)"', page))
        with stage.held(SETTINGS.format(learner=stage.other)):
            kept = pages.post("/rate/", data={**form, "outcome": "good"})
            assert "kept here and sent later" in kept.text
        assert "1 ratings sent." in viewer.sync_once()
        rated = database.execute(
            "SELECT id::text FROM memocards_review WHERE card_id = %s", [form["card_id"]]
        ).fetchall()
        assert rated == [(form["review_id"],)]


@pytest.mark.slow
def test_a_statement_that_takes_too_long_is_stopped(stage: Scene) -> None:
    port = free_port()
    hub = stage.hub.start(
        *(str(Path(sys.executable).with_name("granian")), "--interface", "asgi", "--port", str(port), "--no-ws"),
        *("--workers-kill-timeout", "1", "--log-level", "warning", "studyhub.asgi:application"),
        name="impatient hub",
        STATEMENT_TIMEOUT_SECONDS="1",
    )
    url = f"http://127.0.0.1:{port}"
    bearer = {"Authorization": f"Bearer {stage.others_token}"}
    wait_until(lambda: _status(f"{url}/login/") == OK, what="The impatient hub")
    with stage.connect() as database:
        database.execute("ALTER TABLE memocards_learnersettings RENAME TO quick")
        database.execute(
            "CREATE VIEW memocards_learnersettings AS SELECT quick.* FROM quick, LATERAL pg_sleep(4 + quick.id * 0)"
        )
        try:
            began = time.monotonic()
            answer = httpx.get(f"{url}/api/settings", headers=bearer, timeout=30)
            assert time.monotonic() - began < 3.5
            assert httpx.get(f"{stage.hub.url}/api/settings", headers=bearer, timeout=30).status_code == OK
        finally:
            database.execute("DROP VIEW memocards_learnersettings")
            database.execute("ALTER TABLE quick RENAME TO memocards_learnersettings")
    assert (answer.status_code, answer.headers["Retry-After"]) == (UNAVAILABLE, "5")
    assert answer.json()["type"] == "urn:studyhub:problem:took-too-long"
    hub.stop()


STOPS_WITH_THE_FEED_IN_HAND = """
import os, signal
from django.db import connection, transaction
with transaction.atomic(), connection.cursor() as cursor:
    cursor.execute("SELECT last_seq FROM publish_feed_state FOR UPDATE")
    os.kill(os.getpid(), signal.SIGSTOP)
    cursor.execute("SELECT 1")
"""


def test_a_command_that_is_stopped_loses_its_locks(stage: Scene) -> None:
    command = stage.hub.python(
        *("manage.py", "shell", "-v0", "-c", STOPS_WITH_THE_FEED_IN_HAND),
        name="stopped command",
        IDLE_TRANSACTION_TIMEOUT_SECONDS="2",
    )
    with stage.connect() as database:
        wait_until(lambda: not _is_free(database), what="A feed that is locked")
        wait_until(lambda: _is_free(database), seconds=20, what="A feed that is free again")
        usual = database.execute("SHOW idle_in_transaction_session_timeout").fetchone()
        assert usual == ("1min",), "for whoever works by hand"
    command.stop(signal.SIGCONT)
    assert "idle-in-transaction timeout" in command.output


def _is_free(database: "psycopg.Connection[object]") -> bool:
    row = database.execute("SELECT 1 FROM publish_feed_state FOR UPDATE SKIP LOCKED").fetchone()
    return row is not None


def _status(url: str) -> int:
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.TransportError:
        return 0
