"""Requests that come slowly, or are far too large: nobody else waits, and nothing is written for nobody."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from django.test import Client

from memocards.admin.importing.forms import MOST_BYTES
from tests.attack.victim import Victim, closing, status_of
from tests.factories import UserFactory
from tests.process.processes import say

pytestmark = pytest.mark.django_db(transaction=True)

SLOW_POST = "POST {path} HTTP/1.1\nHost: localhost\nContent-Type: text/plain\nContent-Length: 50000\n\nx"
HALF_A_HEAD = "GET /login/ HTTP/1.1\nHost: localhost\nX-Half: "
MEGABYTE = 1_000_000


@contextmanager
def slow_posts(victim: Victim, path: str, *, count: int) -> Iterator[list[socket.socket]]:
    """Meanwhile so many requests send a byte a second."""
    stop = threading.Event()
    with closing([victim.connect(SLOW_POST.format(path=path)) for _ in range(count)]) as clients:

        def drip() -> None:
            while not stop.wait(1):
                for client in clients:
                    try:
                        client.send(b"x")
                    except OSError:
                        continue

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            yield clients
        finally:
            stop.set()
            dripping.join()


@pytest.mark.parametrize("path", ["/login/", "/api/reviews"])
def test_slow_bodies_do_not_hold_up_anybody(victim: Victim, path: str) -> None:
    memory = victim.memory
    with slow_posts(victim, path, count=40):
        victim.tell(f"40 slow POSTs to {path}", before=memory)
        assert victim.best_latency() < 1


def test_one_address_cannot_send_any_number_of_slow_bodies(victim: Victim) -> None:
    with closing([victim.connect(SLOW_POST.format(path="/login/")) for _ in range(settings.BODIES_PER_ADDRESS)]):
        time.sleep(0.5)
        refused = httpx.post(f"{victim.url}/api/reviews", content=b"{}")
        assert refused.status_code == 429
        assert refused.headers["retry-after"]
        with closing([victim.connect(SLOW_POST.format(path="/login/"), address="127.0.0.2")]) as [elsewhere]:
            elsewhere.settimeout(0.5)
            with pytest.raises(TimeoutError):
                status_of(elsewhere)
    assert victim.latency() < 5


@pytest.mark.slow
def test_a_body_that_comes_too_slowly_is_not_waited_for(victim: Victim) -> None:
    started = time.monotonic()
    with slow_posts(victim, "/login/", count=8) as clients:
        assert victim.best_latency() < 1
        for client in clients:
            client.settimeout(60)
        assert {status_of(client) for client in clients} == {408}
    with closing([victim.connect(SLOW_POST.format(path="/api/reviews"))]) as [silent]:
        silent.settimeout(15)
        answer = silent.recv(4096)
    assert b" 408 " in answer
    assert b"application/problem+json" in answer
    say(f"slow bodies were refused after {time.monotonic() - started:.0f} s in all")


@pytest.mark.slow
def test_half_sent_heads_are_dropped_and_do_not_close_the_hub(victim: Victim) -> None:
    memory, files = victim.memory, victim.files
    with closing([victim.connect(HALF_A_HEAD) for _ in range(1500)]) as clients:
        victim.tell("1,500 half-sent heads", before=memory)
        assert victim.best_latency() < 1
        time.sleep(12)
        assert {status_of(client) for client in clients} == {0}
    assert victim.files < files + 50


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", ["/login/", "/admin/memocards/memocard/import/", "/api/reviews", "/nothing"])
def test_nobody_can_make_the_hub_write_a_file(victim: Victim, path: str, chunked: bool) -> None:
    sent = 0

    def parts() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(40):
            sent += MEGABYTE
            yield b"a" * MEGABYTE

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    if not chunked:
        headers["Content-Length"] = str(40 * MEGABYTE)
    refused = httpx.post(f"{victim.url}{path}", content=parts(), headers=headers, timeout=30)
    assert refused.status_code == 413
    assert sent < 40 * MEGABYTE
    assert _files_of(victim) == []
    if path.startswith("/api/"):
        assert refused.json()["type"] == "urn:studyhub:problem:too-large"
    else:
        assert refused.headers["content-type"].startswith("text/html")
        assert "larger than is accepted" in refused.text


@pytest.mark.parametrize(("is_staff", "path"), [(True, "/login/"), (False, "/admin/memocards/memocard/import/")])
def test_a_login_is_not_enough_for_a_large_body(victim: Victim, is_staff: bool, path: str) -> None:
    cookies = _cookies(is_staff=is_staff)
    small = httpx.post(f"{victim.url}{path}", content=b"a" * MEGABYTE, cookies=cookies)
    assert small.status_code == 403  # received, and refused for want of a CSRF token
    large = httpx.post(f"{victim.url}{path}", content=b"a" * 5 * MEGABYTE, cookies=cookies)
    assert large.status_code == 413


def test_staff_can_send_a_file_to_import(victim: Victim) -> None:
    assert settings.UPLOAD_BYTES > MOST_BYTES
    cookies = _cookies(is_staff=True)
    with httpx.Client(base_url=victim.url, cookies=cookies, timeout=60) as browser:
        path = "/admin/memocards/memocard/import/"
        csrf = browser.get(path).text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        answer = browser.post(
            path,
            data={"csrfmiddlewaretoken": csrf, "format": "0", "encoding": "utf-8"},
            files={"import_file": ("cards.csv", b"front,back\n" + b"x" * 8 * MEGABYTE)},
            headers={"Referer": f"{victim.url}{path}"},
        )
    # Django has read the whole form, and says what is wrong with the file.
    assert answer.status_code == 200
    assert "cards.csv" in answer.text or "errorlist" in answer.text
    assert _files_of(victim) == []


def _cookies(*, is_staff: bool) -> dict[str, str]:
    client = Client()
    client.force_login(UserFactory.create(is_staff=is_staff, is_superuser=is_staff))
    return {settings.SESSION_COOKIE_NAME: client.cookies[settings.SESSION_COOKIE_NAME].value}


def _files_of(victim: Victim) -> list[str]:
    """What the hub has open or has left of bodies that it received."""
    opened = [str(path.readlink()) for path in Path(f"/proc/{victim.worker}/fd").iterdir() if path.is_symlink()]
    incoming = settings.DATA_DIR / "incoming"
    return [name for name in opened if str(incoming) in name or ("/tmp/" in name and "deleted" in name)] + [
        path.name for path in incoming.iterdir()
    ]
