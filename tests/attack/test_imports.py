"""Files made to cost a lot, uploaded to a real hub: it goes on answering, and gives back what they took."""

import html
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.attack.hostile import COSTLY, LARGE, SMALL
from tests.process.processes import OwnDatabase, Process, wait_until

IMPORT = "/admin/memocards/memocard/import/"
# What the hub may hold more after an import than before: what Python keeps of any request.
GROWTH_MEBIBYTES = 24
PASSWORD = "a-password-of-the-tests"
SCENE = f"""
from django.contrib.auth.models import Permission, User
from memocards.content.topics import create_topic
create_topic(name="World")
may = Permission.objects.filter(codename__in=[f"{{verb}}_memocard" for verb in ("add", "change", "view")])
for name in ("author", "another"):
    user = User.objects.create_user(name, password="{PASSWORD}", is_staff=True)
    user.user_permissions.set(may)
"""


@pytest.fixture
def hub(own_hub: OwnDatabase) -> OwnDatabase:
    own_hub.prepare(SCENE)
    return own_hub


class Author:
    """Somebody with a browser, who logs in."""

    def __init__(self, client: httpx.Client, username: str) -> None:
        self._client = client
        self._client.get("/login/")
        form = {"username": username, "password": PASSWORD}
        assert self._send("/login/", form).status_code == httpx.codes.OK

    def upload(self, name: str, content: bytes) -> str:
        """Returns the address of the import's own page."""
        topic = re.findall(r'<option value="(\d+)"[^>]*>World', self._client.get(IMPORT).text)[0]
        answer = self._send(IMPORT, {"topic": topic}, files={"import_file": (name, content)})
        assert answer.status_code == httpx.codes.OK
        return str(answer.url.path)

    def ending(self, page: str, *, seconds: float) -> str:
        """What its page says once nothing more goes on, tags left out."""

        def text() -> str:
            answer = self._client.get(page)
            assert answer.status_code == httpx.codes.OK
            return "" if 'id="import-progress"' in answer.text else _words(answer.text)

        return wait_until(text, seconds=seconds, what=f"An end of {page}")

    def page(self, address: str) -> str:
        return _words(self._client.get(address).text)

    def say_yes(self, page: str) -> None:
        at_stake = re.findall(r'name="at_stake" value="([^"]+)"', self._client.get(page).text)[0]
        self._send(f"{page}store/", {"at_stake": at_stake})

    def _send(self, address: str, form: dict[str, str], **options: Any) -> httpx.Response:
        form = {**form, "csrfmiddlewaretoken": self._client.cookies["csrftoken"]}
        return self._client.post(address, data=form, headers={"Referer": str(self._client.base_url)}, **options)


@pytest.fixture
def log_in(hub: OwnDatabase) -> Iterator[Callable[[str], Author]]:
    with ExitStack() as stack:

        def log_in(username: str) -> Author:
            client = httpx.Client(base_url=hub.url, timeout=60, follow_redirects=True)
            return Author(stack.enter_context(client), username)

        yield log_in


class Visitor:
    """Asks for the page of the login all the time, and keeps how long the slowest answer took."""

    def __init__(self, hub: OwnDatabase) -> None:
        self._url, self._is_over = f"{hub.url}/login/", False
        self.seconds: list[float] = []
        self._thread = threading.Thread(target=self._visit)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_over = True
        self._thread.join()

    def _visit(self) -> None:
        while not self._is_over:
            begun = time.monotonic()
            assert httpx.get(self._url, timeout=60).status_code == httpx.codes.OK
            self.seconds.append(time.monotonic() - begun)
            time.sleep(0.05)


def _words(text: str) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", text).split()))


def mebibytes(hub: Process) -> float:
    """What the hub's processes hold, but for those that read files."""
    return sum(_resident(pid) for pid in (hub.pid, *_children(hub.pid)))


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _resident(pid: int) -> float:
    memory = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(memory[1]) / 1024 if memory else 0


def workers(hub: Process) -> list[int]:
    """The processes that work on imports, and their readers."""
    at_work = [child for pid in _children(hub.pid) for child in _children(pid) if _runs(child, b"importing.work")]
    return [*at_work, *(reader for pid in at_work for reader in _children(pid) if _runs(reader, b"importing.reader"))]


def _runs(pid: int, program: bytes) -> bool:
    try:
        return program in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _all_at_once(hub: OwnDatabase, authors: list[Author], files: list[Any], *, seconds: float) -> None:
    contents = [(make(), name, said) for make, name, said in files]
    server = hub.processes[-1]
    # Once for what is loaded on first use.
    authors[0].ending(authors[0].upload("warm.csv", b"front,back\nf,b\n"), seconds=60)
    before = mebibytes(server)
    with Visitor(hub) as undisturbed:
        wait_until(lambda: len(undisturbed.seconds) > 20, seconds=60)
    with Visitor(hub) as visitor:
        begun = [
            (authors[number % 2], authors[number % 2].upload(name, content), said)
            for number, (content, name, said) in enumerate(contents)
        ]
        assert wait_until(lambda: workers(server), what="A process that reads")
        for author, page, said in begun:
            assert said in author.ending(page, seconds=seconds)
    assert max(visitor.seconds) < 1 + 2 * max(undisturbed.seconds)
    assert mebibytes(server) - before < GROWTH_MEBIBYTES
    wait_until(lambda: not any(map(_is_running, workers(server))), what="An end of the processes")


@pytest.mark.slow
def test_four_files_that_cost_a_lot_do_not_stop_the_hub(hub: OwnDatabase, log_in: Callable[[str], Author]) -> None:
    hub.hub()
    _all_at_once(hub, [log_in("author"), log_in("another")], SMALL, seconds=120)


@pytest.mark.slow
def test_large_files_that_cost_a_lot_do_not_stop_the_hub(hub: OwnDatabase, log_in: Callable[[str], Author]) -> None:
    hub.hub()
    _all_at_once(hub, [log_in("author"), log_in("another")], LARGE, seconds=600)


@pytest.mark.slow
def test_a_large_import_leaves_no_memory_behind(hub: OwnDatabase, log_in: Callable[[str], Author]) -> None:
    server = hub.hub()
    author = log_in("author")
    author.ending(author.upload("warm.csv", b"front,back\nf,b\n"), seconds=60)
    before = mebibytes(server)
    rows = b"".join(b"f%d,%s\n" % (number, b"b" * 1_500) for number in range(10_000))
    page = author.upload("large.csv", b"front,back\n" + rows)
    assert "10000 rows are new." in author.ending(page, seconds=120)
    author.say_yes(page)
    assert "10000 new, 0 changed. They wait for review." in author.ending(page, seconds=120)
    assert mebibytes(server) - before < GROWTH_MEBIBYTES


@pytest.mark.slow
def test_an_import_ends_with_the_hub_and_goes_on_with_the_next_one(
    hub: OwnDatabase, log_in: Callable[[str], Author]
) -> None:
    server = hub.hub()
    author = log_in("author")
    lines = "".join(f'{{"front": "f{number}", "back": "{number}{COSTLY}"}}\n' for number in range(4))
    page = author.upload("a.jsonl", lines.encode())
    wait_until(lambda: len(workers(server)) == 2, what="A process that reads")
    begun = workers(server)
    assert "The file is being read" in author.page(page)
    server.kill()
    wait_until(lambda: not any(map(_is_running, begun)), seconds=10, what="An end of what the hub had started")
    again = hub.hub()
    assert "The file waits to be read." in author.page(page) or workers(again)
    assert "4 rows are new." in author.ending(page, seconds=120)
