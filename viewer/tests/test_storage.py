"""The viewer's own database locked, full or damaged: what it says, and that no answer is lost."""

import contextlib
import hashlib
import os
import re
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from viewer.tests.hub import TOKEN, FakeHub
from viewer.tests.installation import Installation, free_port, wait_until

Serve = Callable[[Installation], httpx.Client]


@pytest.fixture
def far_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    hub.publish("topic", 1)
    for number in range(1, 400):
        hub.publish("card", number, front="front " * 40)
    yield hub
    hub.stop()


@pytest.fixture
def install(far_hub: FakeHub) -> Iterator[Callable[[Path], Installation]]:
    installations: list[Installation] = []

    def in_directory(directory: Path) -> Installation:
        installation = Installation(directory, {"HUB_URL": far_hub.url, "HUB_TOKEN": TOKEN})
        installations.append(installation)
        assert installation.run("sync", "--once").returncode == 0
        return installation

    yield in_directory
    for installation in installations:
        installation.stop_all()


@pytest.fixture
def installed(tmp_path: Path, install: Callable[[Path], Installation]) -> Installation:
    return install(tmp_path / "viewer")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start the pages of an installation; returns a browser for them."""
    browsers: list[httpx.Client] = []

    def started(installation: Installation) -> httpx.Client:
        port = free_port()
        installation.start("runserver", "--port", str(port))
        browser = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, follow_redirects=True)
        browsers.append(browser)

        def answers() -> bool:
            try:
                return browser.get("/").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(answers, what="the viewer did not serve")
        return browser

    yield started
    for browser in browsers:
        browser.close()


def form_in(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden"\s+name="(\w+)"\s+value="([^"]*)"', page))


def answer(browser: httpx.Client, outcome: str = "good") -> httpx.Response:
    return browser.post("/rate/", data={**form_in(browser.get("/study/unseen/").text), "outcome": outcome})


def database_of(installation: Installation) -> Path:
    return installation.directory / "viewer.sqlite3"


def damage(path: Path) -> str:
    """Overwrite pages on which cards are. Returns the file's hash afterwards."""
    with sqlite3.connect(path) as source:
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    source.close()
    pages = [path.read_bytes()[start : start + 4096] for start in range(0, path.stat().st_size, 4096)]
    damaged = [os.urandom(4096) if b"front front" in page else page for page in pages]
    assert damaged != pages
    # In place: whoever has the file open must meet the damage.
    with path.open("r+b") as file:
        file.write(b"".join(damaged))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_while_it_is_locked_an_answer_stays_in_the_form_and_counts_from_when_it_was_given(
    installed: Installation, serve: Serve
) -> None:
    browser = serve(installed)
    locker = sqlite3.connect(database_of(installed), isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    begun = time.monotonic()
    refusal = answer(browser)
    assert time.monotonic() - begun < 15
    assert refusal.status_code == 503
    assert refusal.headers["retry-after"] == "10"
    assert "Your answer was not kept" in refusal.text
    assert f"keeps the viewer&#x27;s database, {database_of(installed)}, locked" in refusal.text
    assert browser.get("/").status_code == 200
    kept = form_in(refusal.text)
    locker.execute("ROLLBACK")
    locker.close()
    assert browser.post("/rate/", data=kept).status_code == 200
    ((review_id, outcome, reviewed_at),) = installed.rows("SELECT id, outcome, reviewed_at FROM viewer_rating")
    assert (review_id, outcome) == (kept["review_id"].replace("-", ""), "good")
    assert reviewed_at[:19] == time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(int(kept["answered_at"]) / 1000))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_on_a_full_disk_it_goes_on_reading_and_writes_when_there_is_room(
    tmp_path: Path, install: Callable[[Path], Installation], far_hub: FakeHub, serve: Serve
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        installation = install(disk / "viewer")
        browser = serve(installation)
        follower = installation.start("sync")
        filling = disk / "filling"
        with filling.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        for _attempt in range(3):  # what is left in the last block may hold an answer or two
            refusal = answer(browser)
            if refusal.status_code == 503:
                break
        assert refusal.status_code == 503
        assert "no room left" in refusal.text or "Is it full?" in refusal.text
        assert browser.get("/topics/1/").status_code == 200
        kept = form_in(refusal.text)
        for number in range(400, 500):
            far_hub.publish("card", number, front="front " * 40)
        filling.unlink()
        assert browser.post("/rate/", data=kept).status_code == 200
        ids = {review_id for (review_id,) in installation.rows("SELECT id FROM viewer_rating")}
        assert kept["review_id"].replace("-", "") in ids
        wait_until(lambda: installation.rows("SELECT count(*) FROM viewer_card") == [(499,)], seconds=60)
        assert follower.poll() is None
        installation.stop_all()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("command", [["sync", "--once"], ["sync"], ["runserver"]], ids=" ".join)
def test_damage_is_found_at_the_start_and_nothing_is_written_over_it(
    installed: Installation, command: list[str]
) -> None:
    before = damage(database_of(installed))
    ended = installed.run(*command)
    assert ended.returncode == 1
    assert f"database, {database_of(installed)}, is damaged" in ended.stderr
    assert "python -m viewer repair" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert hashlib.sha256(database_of(installed).read_bytes()).hexdigest() == before


def test_a_file_that_is_no_database_is_not_written_over(installed: Installation) -> None:
    database_of(installed).write_bytes(b"not a database " * 1000)
    ended = installed.run("sync", "--once")
    assert ended.returncode == 1
    assert "is damaged" in ended.stderr
    assert database_of(installed).read_bytes() == b"not a database " * 1000


def test_damage_while_it_runs_ends_the_sync_with_a_sentence_and_is_said_on_the_pages(
    installed: Installation, far_hub: FakeHub, serve: Serve
) -> None:
    browser = serve(installed)
    follower = installed.start("sync")
    wait_until(lambda: any(asked["wait"] != "0" for asked in far_hub.asked))
    damage(database_of(installed))
    for number in range(1, 400):
        far_hub.publish("card", number, front="another front " * 40)
    output, _nothing = follower.communicate(timeout=60)
    assert follower.returncode == 1
    assert "is damaged" in output
    assert "Traceback" not in output
    page = browser.get("/topics/1/")
    assert page.status_code == 503
    assert "python -m viewer repair" in page.text


def test_repair_keeps_the_ratings_and_the_damaged_file(installed: Installation, far_hub: FakeHub, serve: Serve) -> None:
    browser = serve(installed)
    far_hub.stop()
    for _number in range(5):
        assert answer(browser).status_code == 200
    assert installed.run("repair").returncode == 1
    installed.stop_all()
    before = installed.rows("SELECT id, card_id, outcome, reviewed_at, state FROM viewer_rating ORDER BY id")
    assert len(before) == 5
    digest = damage(database_of(installed))
    repaired = installed.run("repair")
    assert repaired.returncode == 0
    assert "with the 5 ratings that could be read, of which 5 wait for the hub" in repaired.stdout
    (kept,) = installed.directory.glob("viewer.sqlite3.damaged-????????-??????")
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == digest
    assert installed.rows("SELECT id, card_id, outcome, reviewed_at, state FROM viewer_rating ORDER BY id") == before
    assert installed.rows("SELECT count(*) FROM viewer_owner") == [(1,)]
    far_hub.start()
    assert installed.run("sync", "--once", HUB_URL=far_hub.url).returncode == 0
    assert len(far_hub.reviews) == 5
    assert installed.rows("SELECT count(*) FROM viewer_card") == [(399,)]
    assert "is sound. Nothing was changed" in installed.run("repair").stdout


def test_nothing_is_repaired_under_a_running_viewer(installed: Installation, far_hub: FakeHub) -> None:
    installed.start("sync")
    wait_until(lambda: any(asked["wait"] != "0" for asked in far_hub.asked), what="the viewer did not follow")
    assert "Stop `sync` and `runserver` first" in installed.run("repair").stderr


def test_other_users_of_the_machine_read_nothing(installed: Installation, serve: Serve) -> None:
    serve(installed)
    assert stat.S_IMODE(installed.directory.stat().st_mode) == 0o700
    for path in installed.directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_database_of_an_earlier_version_becomes_private(installed: Installation) -> None:
    database_of(installed).chmod(0o644)
    assert installed.run("sync", "--once").returncode == 0
    assert stat.S_IMODE(database_of(installed).stat().st_mode) == 0o600
