"""Guessing passwords at a real hub: what a name is, how many guesses there are, and what others notice of it."""

import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import cycle, islice
from typing import NamedTuple

import httpx
import pytest

from kit.attempts import PER_ACCOUNT, PER_ADDRESS
from tests.attack.browsing import Visitor
from tests.process.processes import OwnDatabase, free_port, own_database, say

Visit = Callable[..., Visitor]

WRONG, REFUSED = 200, 429
PASSWORD = "correct horse battery"
NAMES = ("spelled", "guessed", "crowded", "timed")
USERS = f"""
from django.contrib.auth.models import User
for name in {NAMES}:
    User.objects.create_superuser(name, password={PASSWORD!r})
"""


class Hubs(NamedTuple):
    """Two processes of one hub."""

    installation: OwnDatabase
    urls: list[str]


@pytest.fixture(scope="module")
def hubs() -> Iterator[Hubs]:
    with own_database() as installation:
        installation.prepare(USERS)
        urls = []
        for _ in range(2):
            installation.port = free_port()
            installation.hub()
            urls.append(installation.url)
        yield Hubs(installation, urls)


def is_locked(answer: httpx.Response) -> bool:
    return answer.status_code == REFUSED and "Too many failed logins" in answer.text


def is_put_off(answer: httpx.Response) -> bool:
    return answer.status_code == REFUSED and "Many people are logging in" in answer.text


def test_one_account_has_its_guesses_whatever_the_spelling_the_page_and_the_process(hubs: Hubs, visit: Visit) -> None:
    visitors = cycle([visit(url, address="127.0.1.1") for url in hubs.urls])
    pages = cycle(["/login/", "/admin/login/", "/admin/login/?next=/admin/"])
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in "spelled")
    spellings = islice(cycle(["spelled", " spelled", "spelled   ", wide, f"\u3000{wide[0]}pelled", "\tspelled"]), 30)
    guesses = [
        next(visitors).log_in(name, f"guess {number}", path=next(pages)) for number, name in enumerate(spellings)
    ]
    assert [guess.status_code for guess in guesses] == [WRONG] * PER_ACCOUNT + [REFUSED] * (30 - PER_ACCOUNT)
    for name in ("spelled", "              spelled", wide):
        for page in ("/login/", "/admin/login/"):
            refused = next(visitors).log_in(name, PASSWORD, path=page)
            assert is_locked(refused)
            assert 0 < int(refused.headers["Retry-After"]) <= 300
    forwarded = visit(hubs.urls[0], headers={"X-Forwarded-For": "198.51.100.7"})
    assert is_locked(forwarded.log_in("spelled", PASSWORD))
    assert not any(is_locked(next(visitors).log_in(name, "x")) for name in ("spelled\0", ""))


def test_of_sixty_guesses_at_once_exactly_the_allowed_number_reach_the_password(hubs: Hubs, visit: Visit) -> None:
    visitors = [visit(url, address="127.0.1.2") for url in hubs.urls]
    reached = 0
    for attack in range(20):
        with ThreadPoolExecutor(60) as pool:
            futures = [
                pool.submit(visitors[number % 2].log_in, " " * (number % 7) + "guessed", f"guess {attack} {number}")
                for number in range(60 if attack == 0 else 6)
            ]
            answers = [future.result() for future in futures]
        reached += sum(answer.status_code == WRONG for answer in answers)
        assert all(answer.status_code == WRONG or is_locked(answer) or is_put_off(answer) for answer in answers)
        if all(map(is_locked, answers)):
            break
    else:
        pytest.fail("It is never locked.")
    assert reached == PER_ACCOUNT


@pytest.mark.slow
def test_a_flood_of_other_names_pushes_no_count_out(hubs: Hubs, visit: Visit) -> None:
    victim = visit(hubs.urls[0], address="127.0.1.3")
    for number in range(PER_ACCOUNT):
        assert victim.log_in("crowded", f"guess {number}").status_code == WRONG
    answers: Counter[int] = Counter()
    for block in range(1, 5):
        visitor = visit(hubs.urls[block % 2], address=f"127.0.2.{block}")
        for _ in range(80):
            answers[visitor.log_in(uuid.uuid4().hex, "x").status_code] += 1
    assert answers == {WRONG: 320}
    assert is_locked(victim.log_in("crowded", PASSWORD))


@pytest.mark.slow
def test_a_flood_of_logins_keeps_nobody_waiting(hubs: Hubs, visit: Visit) -> None:
    """Twenty at a time, each with another name and password, first unhindered and then stopped by address."""
    url = hubs.urls[0]
    addresses = [f"127.0.3.{number}" for number in range(1, 5)]
    visitors = [visit(url, address=address) for address in addresses]
    end = time.monotonic() + 12
    answers: Counter[str] = Counter()

    def flood(visitor: Visitor) -> None:
        while time.monotonic() < end:
            answer = visitor.log_in(uuid.uuid4().hex, "x")
            answers["checked" if answer.status_code == WRONG else "locked" if is_locked(answer) else "put off"] += 1
            assert answer.status_code == WRONG or (answer.status_code == REFUSED and answer.headers["Retry-After"])

    seconds = []
    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(flood, visitors[number % 4]) for number in range(20)]
        with httpx.Client(base_url=url, timeout=30) as other:
            while time.monotonic() < end:
                began = time.monotonic()
                assert other.get("/login/").status_code == WRONG
                seconds.append(time.monotonic() - began)
                time.sleep(0.2)
        for future in wait(futures).done:
            future.result()
    say(f"GET /login/: median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s; {dict(answers)}")
    assert answers["put off"] > 0
    assert answers["checked"] <= len(addresses) * PER_ADDRESS
    # On an idle machine a fifth of it; this one also runs the flood, and perhaps other tests.
    assert statistics.median(seconds) < 0.5
    assert max(seconds) < 2


@pytest.mark.slow
def test_a_known_name_takes_as_long_as_an_unknown_one_and_a_locked_one_no_time(hubs: Hubs, visit: Visit) -> None:
    times: dict[str, list[float]] = {"known": [], "unknown": [], "locked": []}

    def seconds(visitor: Visitor, name: str) -> float:
        began = time.monotonic()
        visitor.log_in(name, "x")
        return time.monotonic() - began

    visitor = visit(hubs.urls[0], address="127.0.4.1")
    for _ in range(PER_ACCOUNT):  # by turns, so that what else runs here strikes both
        times["known"].append(seconds(visitor, "timed"))
        times["unknown"].append(seconds(visitor, "nobody"))
    for name in ("timed", "nobody"):
        times["locked"].append(seconds(visitor, name))
    known, unknown, locked = (statistics.median(times[name]) for name in ("known", "unknown", "locked"))
    say(f"known {known:.3f} s, unknown {unknown:.3f} s, locked {locked:.3f} s")
    assert 0.5 < known / unknown < 2
    assert locked < known / 3
