"""The database has no connection left, is killed, or is silent: every address of the hub says 503, and recovers."""

import contextlib
import re
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from tests.attack.scene import Scene, scene
from tests.process.processes import OwnDatabase, say, wait_until

OK, UNAVAILABLE = 200, 503
# What stands in files, or leads elsewhere.
NEEDS_NO_DATABASE = {"/", "/favicon.ico", "/api/", "/api/docs", "/api/openapi.json"}
VALUES = {"uuid": "00000000-0000-4000-8000-000000000000", "url": "nowhere"}


def addresses() -> list[str]:
    """An address for each pattern of the URLconf, its parameters filled in."""
    return sorted({path for path in _addresses(get_resolver().url_patterns, "/") if "static" not in path})


def _addresses(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        path = prefix + _filled(str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from _addresses(pattern.url_patterns, path)
        else:
            yield path


def _filled(pattern: str) -> str:
    """`<int:id>/change/` → `1/change/`; of a regular expression the first alternative."""
    pattern = re.sub(r"\(\?P<url>[^)]*\)", VALUES["url"], pattern)
    pattern = re.sub(r"\(\?P<\w+>([^|)]+)[^)]*\)", r"\1", pattern).removeprefix("^").removesuffix("$")
    return re.sub(r"<(?:(\w+):)?\w+>", lambda found: VALUES.get(found[1] or "", "1"), pattern)


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    with scene() as running:
        yield running


@contextlib.contextmanager
def every_connection_taken(stage: Scene) -> Iterator[None]:
    """Inside, the hub has no connection and gets none."""
    with contextlib.ExitStack() as taken:
        first = taken.enter_context(contextlib.closing(stage.connect("crowd")))

        def fill() -> None:
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    taken.enter_context(contextlib.closing(stage.connect("crowd")))

        fill()
        first.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND application_name <> 'crowd'"
        )
        fill()
        yield


@pytest.mark.slow
def test_without_a_free_connection_every_address_says_503_and_all_comes_back(stage: Scene) -> None:
    paths = addresses()
    assert len(paths) > 80
    assert {"/admin/memocards/memocard/", "/api/study-cards/1/rate", "/login/", "/admin/review/"} <= set(paths)
    with stage.as_staff() as staff, stage.as_learner() as learner, ThreadPoolExecutor(8) as pool:

        def ask(method: str, path: str) -> httpx.Response:
            return (learner if path == "/api/feed" else staff).request(method, path)

        def statuses() -> dict[str, int]:
            return {path: answer.status_code for path, answer in zip(paths, pool.map(ask, gets, paths), strict=True)}

        gets = ["GET"] * len(paths)
        usual = statuses()
        assert UNAVAILABLE not in usual.values()
        with every_connection_taken(stage):
            began = time.monotonic()
            requests = [(method, path) for path in paths for method in ("GET", "POST")]
            answers = dict(zip(requests, pool.map(ask, *zip(*requests, strict=True)), strict=True))
            say(f"{len(answers)} requests without a connection in {time.monotonic() - began:.1f} s")
            lost = str(uuid.uuid4())
            rating = {"review_id": lost, "outcome": "good"}
            assert learner.post(f"/api/study-cards/{stage.card}/rate", json=rating).status_code == UNAVAILABLE
        wrong = [
            f"{method} {path}: {answer.status_code}"
            for (method, path), answer in answers.items()
            if not (_says_so(path, answer) or _needs_none(path, answer, usual[path]))
        ]
        assert not wrong, "\n".join(wrong)
        wait_until(lambda: statuses() == usual, what="The usual answers")
        assert learner.post(f"/api/study-cards/{stage.card}/rate", json=rating).status_code == OK
    log = stage.hub.processes[-1].output
    assert "Traceback" not in log, log[log.index("Traceback") :][:6000]


def _says_so(path: str, answer: httpx.Response) -> bool:
    media_type = "application/problem+json" if path.startswith("/api/") else "text/html; charset=utf-8"
    return (
        answer.status_code == UNAVAILABLE
        and answer.headers["Retry-After"] == "5"
        and answer.headers["Content-Type"] == media_type
        and "The database cannot be reached just now." in answer.text
        and (path == "/api/feed" or answer.headers["X-Frame-Options"] == "DENY")
    )


def _needs_none(path: str, answer: httpx.Response, usual: int) -> bool:
    """Refused for its method, as it always is, or one of the few that ask the database nothing."""
    return answer.status_code == httpx.codes.METHOD_NOT_ALLOWED or (
        path in NEEDS_NO_DATABASE and answer.status_code == usual
    )


def test_a_session_that_cannot_be_stored_is_not_the_callers_fault(stage: Scene) -> None:
    with stage.as_staff() as staff, stage.held("LOCK TABLE django_session IN EXCLUSIVE MODE"):
        # Which rows were skipped is kept in the session, which is stored when the page is done.
        answer = staff.post("/admin/review/", data={"action": "skip", "key": f"card-{stage.card}"})
        assert answer.status_code == UNAVAILABLE
        assert answer.headers["Retry-After"] == "5"


PAGES_THAT_READ_MUCH = [
    "/admin/",
    "/admin/review/",
    *(f"/admin/memocards/{model}/" for model in ("topic", "question", "memocard")),
    "/admin/memocards/topic/1/change/",
    "/admin/publish/subscriber/",
    "/api/study-cards/due",
    "/api/topics",
]


@pytest.mark.slow
def test_a_page_whose_tables_are_locked_half_way_says_so_too(stage: Scene) -> None:
    """Past the login, so that the error comes from inside a list, a form or a template."""
    tables = "memocards_topic, memocards_question, memocards_memocard, publish_subscriber, memocards_cardprogress"
    with (
        stage.as_staff() as staff,
        ThreadPoolExecutor(4) as pool,
        stage.held(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"),
    ):
        answers = list(pool.map(staff.get, PAGES_THAT_READ_MUCH))
        assert {(answer.status_code, answer.headers["Retry-After"]) for answer in answers} == {(UNAVAILABLE, "5")}


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        url = f"postgres://nobody:x@127.0.0.1:{silent.getsockname()[1]}/nothing"

        def start(hub: OwnDatabase) -> None:
            hub.environment["DATABASE_URL"] = url
            hub.hub()

        with scene(start) as stage, stage.as_staff() as staff:
            began = time.monotonic()
            answer = staff.get("/admin/")
            assert (answer.status_code, answer.headers["Retry-After"]) == (UNAVAILABLE, "5")
            assert time.monotonic() - began < 15
