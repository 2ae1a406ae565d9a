"""Every answer has the headers of a page, and the feed's own route has the guards of every other."""

from collections.abc import Iterator

import httpx
import pytest

from publish.subscribers import create_subscriber
from tests.attack.conftest import serve
from tests.attack.victim import Victim, closing, status_of

pytestmark = pytest.mark.django_db(transaction=True)

ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
OF_PAGES = {**ALWAYS, "x-frame-options": "DENY"}


@pytest.fixture(scope="module")
def https_victim(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """The hub behind a proxy that speaks HTTPS."""
    yield from serve(tmp_path_factory, HTTPS="true")


@pytest.mark.parametrize(
    ("status", "method", "path", "headers"),
    [
        (200, "GET", "/login/", {}),
        (200, "GET", "/static/studyhub/icon.svg", {}),
        (302, "GET", "/admin/", {}),
        (400, "GET", "/login/", {"Host": "elsewhere.example"}),
        (400, "GET", "/api/settings", {"Host": "elsewhere.example"}),
        (401, "GET", "/api/settings", {}),
        (403, "POST", "/login/", {}),
        (404, "GET", "/nothing", {}),
        (404, "GET", "/api/nothing", {}),
        (404, "GET", "/static/nothing", {}),
        (413, "POST", "/login/", {"X-Large": "yes"}),
        (413, "POST", "/api/reviews", {"X-Large": "yes"}),
    ],
)
def test_refusals_have_the_headers_of_pages(
    victim: Victim, status: int, method: str, path: str, headers: dict[str, str]
) -> None:
    body = b"a" * 9_000_000 if "X-Large" in headers else None
    answer = httpx.request(method, f"{victim.url}{path}", headers=headers, content=body)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in OF_PAGES} == OF_PAGES
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("status", "query", "headers"),
    [
        (200, "", {}),
        (401, "", {"Authorization": "Bearer sh_wrong"}),
        (422, "limit=x", {}),
        (400, "", {"Host": "elsewhere.example"}),
        (200, "", {"Accept": "text/event-stream"}),
    ],
)
def test_the_feeds_own_route_has_the_same_guards(
    victim: Victim, token: str, status: int, query: str, headers: dict[str, str]
) -> None:
    sent_headers = {"Authorization": f"Bearer {token}", **headers}
    with httpx.stream("GET", f"{victim.url}/api/feed?{query}", headers=sent_headers) as answer:
        assert answer.status_code == status
        assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS
        assert answer.headers["cache-control"] == "no-store"
        if status >= 400:
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/api/openapi.json", "/api/settings", "/api/nothing", "/api/stats"])
def test_nothing_below_the_api_is_stored(victim: Victim, token: str, path: str) -> None:
    answer = httpx.get(f"{victim.url}{path}", headers={"Authorization": f"Bearer {token}"})
    assert "no-store" in answer.headers["cache-control"]


def test_of_two_tokens_none_counts(victim: Victim, token: str) -> None:
    other = create_subscriber(name="other")[1]
    for path in ("/api/feed", "/api/settings"):
        both = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {other}")]
        assert httpx.get(f"{victim.url}{path}", headers=both).status_code == 401


def test_of_two_hosts_none_counts(victim: Victim, token: str) -> None:
    for path in ("/api/feed", "/login/"):
        head = f"GET {path} HTTP/1.1\nHost: localhost\nHost: evil.example\nAuthorization: Bearer {token}\n\n"
        with closing([victim.connect(head)]) as [client]:
            assert status_of(client) == 400


@pytest.mark.parametrize("path", ["/api/feed?limit=1", "/login/"])
def test_with_https_every_route_wants_it(https_victim: Victim, token: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    plain = httpx.get(f"{https_victim.url}{path}", headers=headers)
    assert plain.status_code == 301
    assert plain.headers["location"] == f"https://127.0.0.1:{https_victim.port}{path}"
    forged = httpx.get(f"{https_victim.url}{path}", headers={**headers, "X_Forwarded_Proto": "https"})
    assert forged.status_code == 301
    secure = httpx.get(f"{https_victim.url}{path}", headers={**headers, "X-Forwarded-Proto": "https"})
    assert secure.status_code == 200
    assert secure.headers["strict-transport-security"] == "max-age=31536000"
    unknown = httpx.get(f"{https_victim.url}{path}", headers={**headers, "Host": "elsewhere.example"})
    assert unknown.status_code == 400
    assert {name: unknown.headers.get(name) for name in OF_PAGES} == OF_PAGES


def test_cookies_have_the_strictest_flags_that_work(victim: Victim, https_victim: Victim) -> None:
    cookie = httpx.get(f"{victim.url}/login/").headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    cookie = httpx.get(f"{https_victim.url}/login/", headers={"X-Forwarded-Proto": "https"}).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Secure"} <= set(cookie.split("; "))
