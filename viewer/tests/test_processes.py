"""Real processes and real signals: killed mid-page, stopped while waiting, started twice at once."""

import re
import signal
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from viewer.tests.hub import TOKEN, FakeHub, Response
from viewer.tests.installation import Installation, free_port, wait_until


@pytest.fixture
def far_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    yield hub
    hub.stop()


@pytest.fixture
def installed(tmp_path: Path, far_hub: FakeHub) -> Iterator[Installation]:
    installation = Installation(tmp_path / "data of a viewer", {"HUB_URL": far_hub.url, "HUB_TOKEN": TOKEN})
    yield installation
    installation.stop_all()


STOPS_BEFORE_THE_CURSOR = """
import os, sys, time
os.environ["DJANGO_SETTINGS_MODULE"] = "viewer.settings"
import django
django.setup()
from viewer import sync
from viewer.feed_client import FeedClient

def stand_still(state, page):
    print("applied", flush=True)
    time.sleep(60)

sync._move_cursor = stand_still
with FeedClient() as client:
    while True:
        sync.sync_once(client)
"""


def test_killed_between_the_rows_and_the_cursor_it_has_neither(installed: Installation, far_hub: FakeHub) -> None:
    installed.run("sync", "--once")
    (before,) = installed.rows("SELECT cursor FROM viewer_syncstate")
    for number in range(1, 51):
        far_hub.publish("card", number)
    victim = installed.start(code=STOPS_BEFORE_THE_CURSOR)
    assert victim.stdout
    assert victim.stdout.readline() == "applied\n"
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert installed.rows("SELECT count(*) FROM viewer_card") == [(0,)]
    assert installed.rows("SELECT cursor FROM viewer_syncstate") == [before]
    assert installed.run("sync", "--once").returncode == 0
    assert installed.rows("SELECT count(*) FROM viewer_card") == [(50,)]


def test_killed_anywhere_again_and_again_it_ends_with_what_the_hub_has(
    installed: Installation, far_hub: FakeHub
) -> None:
    for number in range(1, 20_001):
        far_hub.publish("card", number)
    for number in range(1, 20_001, 3):
        far_hub.withdraw("card", number)
    for patience in (0.0, 0.03, 0.06, 0.1):
        # A process that has begun to read, killed a little later each time.
        asked = len(far_hub.asked)
        victim = installed.start("sync")
        wait_until(lambda asked=asked: len(far_hub.asked) > asked)  # type: ignore[misc]
        time.sleep(patience)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    assert installed.run("sync", "--once").returncode == 0
    live = {(item["id"], item["seq"]) for item in far_hub.items.values() if not item["deleted"]}
    assert set(installed.rows("SELECT id, seq FROM viewer_card")) == live


def test_once_reads_to_the_head_sends_ratings_and_says_what_is_here(installed: Installation, far_hub: FakeHub) -> None:
    far_hub.publish("topic", 1)
    far_hub.publish("card", 1)
    result = installed.run("sync", "--once")
    assert result.returncode == 0, result.stderr
    assert "At the head, 2: 1 topics, 0 questions, 0 explanations, 1 cards, 0 with progress; 0 ratings waiting." in (
        result.stdout
    )
    assert "\r" not in result.stdout + result.stderr, "no progress bar outside a terminal"


def test_once_without_a_hub_says_so_and_fails(installed: Installation, far_hub: FakeHub) -> None:
    far_hub.stop()
    result = installed.run("sync", "--once")
    assert result.returncode == 1
    assert "cannot be reached" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_long_poll_at_once(installed: Installation, far_hub: FakeHub, number: int) -> None:
    follower = installed.start("sync")
    wait_until(lambda: far_hub.asked and far_hub.asked[-1]["wait"] == "25")
    time.sleep(0.1)
    began = time.monotonic()
    follower.send_signal(number)
    output, _ = follower.communicate(timeout=10)
    assert time.monotonic() - began < 3
    assert follower.returncode == 0
    assert "Stopped at 0 of 0." in output
    assert "Traceback" not in output


def test_news_arrives_while_it_waits(installed: Installation, far_hub: FakeHub) -> None:
    installed.start("sync")
    wait_until(lambda: far_hub.asked and far_hub.asked[-1]["wait"] == "25")
    far_hub.publish("topic", 1)
    wait_until(lambda: installed.rows("SELECT id FROM viewer_topic") == [(1,)])


def test_a_hub_that_goes_away_is_mentioned_once_and_found_again(installed: Installation, far_hub: FakeHub) -> None:
    follower = installed.start("sync")
    wait_until(lambda: far_hub.asked and far_hub.asked[-1]["wait"] == "25")
    far_hub.stop()
    wait_until(lambda: installed.rows("SELECT failure FROM viewer_syncstate") == [("away",)])
    time.sleep(1.5)
    far_hub.publish("topic", 1)
    far_hub.start()
    wait_until(lambda: installed.rows("SELECT id FROM viewer_topic") == [(1,)])
    assert installed.rows("SELECT failure FROM viewer_syncstate") == [("",)]
    follower.send_signal(signal.SIGTERM)
    output, _ = follower.communicate(timeout=10)
    assert output.count("cannot be reached") == 1
    assert output.count("The hub answers again.") == 1


def test_pages_and_sync_may_start_at_the_same_moment(installed: Installation, far_hub: FakeHub) -> None:
    far_hub.publish("topic", 1, name="Capitals")
    port = free_port()
    installed.start("sync")
    server = installed.start("runserver", "--port", str(port))
    installed.start("sync")
    wait_until(lambda: "Capitals" in page_at(port), what="the topic on the home page")
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    output, _ = server.communicate(timeout=10)
    assert time.monotonic() - began < 4
    assert server.returncode == 0
    assert "Traceback" not in output


def test_a_rating_made_while_the_hub_is_away_arrives_once_through_sync(
    installed: Installation, far_hub: FakeHub
) -> None:
    far_hub.publish("topic", 1)
    far_hub.publish("card", 1)
    installed.run("sync", "--once")
    port = free_port()
    installed.start("runserver", "--port", str(port))
    wait_until(lambda: "1 unseen" in re.sub(r"<[^>]+>|\s+", " ", page_at(port)).replace("  ", " "))
    far_hub.stop()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    body = browser.open(f"http://127.0.0.1:{port}/study/unseen/").read().decode()
    form = {name: value for name, value in re.findall(r'name="(\w+)"\s+value="([^"]*)"', body) if name != "outcome"}
    data = urllib.parse.urlencode({**form, "outcome": "good"}).encode()
    answer = browser.open(f"http://127.0.0.1:{port}/rate/", data).read().decode()
    assert "kept here and sent later" in answer
    far_hub.start()
    assert "1 ratings sent." in installed.run("sync", "--once").stdout
    installed.run("sync", "--once")
    assert [review["review_id"] for review in far_hub.posted] == [form["review_id"]]


def test_a_server_that_is_killed_leaves_no_process_on_its_port(installed: Installation) -> None:
    port = free_port()
    server = installed.start("runserver", "--port", str(port))
    wait_until(lambda: page_at(port))
    server.send_signal(signal.SIGKILL)
    server.wait()
    wait_until(lambda: not page_at(port), what="the port is free again")


def test_without_a_password_it_listens_to_this_machine_alone_or_as_it_is_told(installed: Installation) -> None:
    port = str(free_port())
    refused = installed.run("runserver", "--host", "0.0.0.0", "--port", port)
    assert refused.returncode == 1
    assert "Set VIEWER_PASSWORD" in refused.stderr
    assert "--without-password" in refused.stderr
    installed.start("runserver", "--host", "0.0.0.0", "--port", port, "--without-password")
    wait_until(lambda: page_at(int(port)), what="the page, without a password")
    installed.environment["VIEWER_PASSWORD"] = "correct horse"
    port = str(free_port())
    installed.start("runserver", "--host", "0.0.0.0", "--port", port)
    wait_until(lambda: "This viewer is locked" in page_at(int(port)), what="the page that asks for the password")


def test_guesses_are_counted_across_processes_and_restarts(installed: Installation) -> None:
    installed.environment["VIEWER_PASSWORD"] = "correct horse"
    assert [statuses_of_guesses(installed) for _ in range(2)] == [[403] * 5, [429] * 5]


def test_a_forged_host_is_one_line_in_the_log(installed: Installation) -> None:
    port = free_port()
    server = installed.start("runserver", "--port", str(port))
    wait_until(lambda: page_at(port))
    forged = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(forged, timeout=5)
    server.send_signal(signal.SIGTERM)
    output, _ = server.communicate(timeout=10)
    assert output.count("evil.example") >= 1
    assert len([line for line in output.splitlines() if "evil.example" in line]) == 1
    assert "Traceback" not in output


def test_a_taken_port_gets_a_sentence(installed: Installation, far_hub: FakeHub) -> None:
    port = far_hub.url.rsplit(":", 1)[1]
    result = installed.run("runserver", "--port", port)
    assert result.returncode == 1
    assert result.stderr == (
        f"Cannot listen on 127.0.0.1, port {port}: Address already in use. --port chooses another one.\n"
    )


OF_THE_FIRST_VERSION = """
import os, sqlite3, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "viewer.settings"
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
call_command("migrate", "viewer", "0001", verbosity=0)
import hashlib, uuid
database = sqlite3.connect(settings.DATABASES["default"]["NAME"])
source = hashlib.sha256(f"{settings.HUB_URL}\\n{settings.HUB_TOKEN}".encode()).hexdigest()
database.execute(
    "INSERT INTO viewer_syncstate VALUES (1, ?, 1, 0, 1, 1, 1, ?, 7, 0, '2026-01-01 00:00:00', '', '', NULL)",
    (sys.argv[1], source),
)
database.execute("INSERT INTO viewer_topic VALUES (1, 1, 1, '', 1, 'Capitals', '', 1)")
database.execute(
    "INSERT INTO viewer_rating (id, card_id, outcome, reviewed_at, state, problem, hub_failures, holds_card, after_seq)"
    " VALUES (?, 1, 'good', '2026-01-01 00:00:00', 'waiting', '', 0, 1, 0)",
    (uuid.UUID(int=5).hex,),
)
database.commit()
"""


@pytest.fixture
def filled(installed: Installation, far_hub: FakeHub) -> Installation:
    """With the database of a viewer that did not note yet whose it is, and a rating that waits in it."""
    far_hub.publish("topic", 1, name="Capitals")
    process = installed.start("a.1", code=OF_THE_FIRST_VERSION)
    assert process.wait(30) == 0
    return installed


def test_a_database_without_an_owner_gets_the_one_whose_token_filled_it(filled: Installation, far_hub: FakeHub) -> None:
    far_hub.publish("card", 1)
    result = filled.run("sync", "--once")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 ratings sent." in result.stdout
    assert "begins anew" not in result.stdout
    assert [asked["after"] for asked in far_hub.asked] == ["a.1"], "it goes on from where it was"
    assert list(far_hub.reviews) == [str(UUID(int=5))]
    assert filled.rows("SELECT subscriber_id, learner_id FROM viewer_owner") == [(3, 7)]
    assert filled.rows("SELECT id FROM viewer_card") == [(1,)]


def test_a_database_without_an_owner_is_refused_to_another_token(filled: Installation, far_hub: FakeHub) -> None:
    far_hub.token = "another-token"
    result = filled.run("sync", "--once", HUB_TOKEN="another-token")
    assert result.returncode == 1
    assert "was filled with another HUB_URL or HUB_TOKEN" in result.stdout
    assert "such as DATA_DIR=" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert far_hub.reviews == {}
    assert filled.rows("SELECT name FROM viewer_topic") == [("Capitals",)]
    assert filled.rows("SELECT state FROM viewer_rating") == [("waiting",)]


@pytest.mark.parametrize("once", [["--once"], []])
def test_sync_with_another_token_ends_with_a_sentence(
    installed: Installation, far_hub: FakeHub, once: list[str]
) -> None:
    far_hub.publish("topic", 1)
    installed.run("sync", "--once")
    before = installed.rows("SELECT * FROM viewer_syncstate")
    far_hub.identity = {**far_hub.identity, "subscriber": 4, "learner_id": 8}
    far_hub.token = "another-token"
    result = installed.run("sync", *once, HUB_TOKEN="another-token")
    assert result.returncode == 1
    assert result.stdout.startswith("This viewer's database, ")
    assert f"set DATA_DIR, such as DATA_DIR={installed.directory}-2." in result.stdout
    assert result.stdout.count("\n") == 1
    assert installed.rows("SELECT * FROM viewer_syncstate") == before
    elsewhere = {"DATA_DIR": f"{installed.directory}-2", "HUB_TOKEN": "another-token"}
    assert installed.run("sync", "--once", **elsewhere).returncode == 0, "as it was told"


def test_a_database_is_given_to_another_token_on_purpose_only(filled: Installation, far_hub: FakeHub) -> None:
    far_hub.instead_of_ratings.extend([Response(503, {})])
    filled.run("sync", "--once")
    far_hub.identity = {**far_hub.identity, "subscriber": 4, "learner_id": 8}
    far_hub.token = "another-token"
    asked = filled.run("sync", "--adopt", "--once", HUB_TOKEN="another-token")
    assert asked.returncode == 1
    assert "Good   card 1" in asked.stdout
    assert asked.stdout.endswith("There is nobody to ask. Add --yes if it is meant.\nNothing was changed.\n")
    adopted = filled.run("sync", "--adopt", "--yes", "--once", HUB_TOKEN="another-token")
    assert adopted.returncode == 0, adopted.stdout + adopted.stderr
    assert "card 1" in adopted.stdout
    assert filled.rows("SELECT subscriber_id, learner_id FROM viewer_owner") == [(4, 8)]
    assert filled.rows("SELECT state, learner_id FROM viewer_rating") == [("waiting", 7)]
    assert far_hub.reviews == {}
    assert filled.run("sync", "--once", HUB_TOKEN="another-token").returncode == 0
    assert filled.run("sync", "--yes").returncode == 2


def test_help_suffices(installed: Installation) -> None:
    words = installed.run("--help").stdout
    for name in ("sync", "runserver", "HUB_URL", "HUB_TOKEN", "VIEWER_PASSWORD", "DATA_DIR", "VIEWER_DATABASE_URL"):
        assert name in words
    assert not installed.directory.exists(), "asking for help leaves nothing behind"


def test_the_session_key_is_made_once_and_is_its_owners(installed: Installation) -> None:
    installed.run("sync", "--once")
    key = installed.directory / "viewer-secret-key"
    first = key.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(first) > 50
    installed.run("sync", "--once")
    assert key.read_text() == first


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DEBUG", "maybe", "DEBUG is 'maybe'. It may be true or false."),
        ("HTTPS", "2", "HTTPS is '2'. It may be true or false."),
        ("TRUSTED_PROXIES", "proxy", "TRUSTED_PROXIES is 'proxy'. It may be addresses and networks"),
        ("HUB_URL", "hub.example.org", "HUB_URL is 'hub.example.org'. It may be"),
        ("HUB_URL", "ftp://hub", "HUB_URL is 'ftp://hub'. It may be"),
        ("HUB_URL", "http://hub:port", "HUB_URL is 'http://hub:port'. It may be"),
        ("HUB_TOKEN", "two words", "HUB_TOKEN cannot be sent. It may be"),
        ("VIEWER_DATABASE_URL", "mysql://x/y", "VIEWER_DATABASE_URL may be"),
        ("VIEWER_DATABASE_URL", "sqlite://:memory:", "VIEWER_DATABASE_URL may be"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_by_name(
    installed: Installation, name: str, value: str, sentence: str
) -> None:
    result = installed.run("sync", "--once", **{name: value})
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_that_is_none_is_refused(installed: Installation) -> None:
    result = installed.run("runserver", "--port", "99999")
    assert result.returncode == 2
    assert "'99999' is not a port" in result.stderr


def statuses_of_guesses(installed: Installation) -> list[int]:
    """Start the pages, guess five times in parallel, stop them; the statuses of the answers."""
    port = free_port()
    server = installed.start("runserver", "--port", str(port))
    wait_until(lambda: page_at(port))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client, ThreadPoolExecutor(5) as pool:
        client.get("/login/")
        token = client.cookies["viewer_csrf"]

        def guess(number: int) -> int:
            return client.post("/login/", data={"csrfmiddlewaretoken": token, "password": f"{number}"}).status_code

        statuses = list(pool.map(guess, range(5)))
    server.send_signal(signal.SIGTERM)
    server.wait(timeout=10)
    return statuses


def page_at(port: int) -> str:
    """The home page, or nothing where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            body: bytes = answer.read()
            return body.decode()
    except (urllib.error.URLError, ConnectionError):
        return ""
