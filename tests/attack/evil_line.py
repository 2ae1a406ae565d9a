"""A line between a viewer and its hub that cuts, keeps, repeats, mixes and invents answers."""

import gzip
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP_BY_HOP = {"host", "connection", "accept-encoding", "content-length"}
_PROBLEM = {"content-type": "application/problem+json"}
_HTML = {"content-type": "text/html"}


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes
    # How much of the body is sent before the connection ends.
    sent: int | None = None
    seconds_late: float = 0.0


@dataclass
class EvilLine:
    """Listens on a port of its own and passes requests on to `hub_url`. Only while `is_evil` it does harm."""

    hub_url: str
    seed: int
    is_evil: bool = False
    # How often which harm was done.
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()
        # What the hub has answered, by path: to be told again.
        self._kept: dict[str, list[Response]] = {}

        class Handler(_Handler):
            line = self

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def harm(self, url: str, answer: Response) -> Response:
        """What is told instead of the hub's answer; about half of the time the answer itself."""
        parts = urlsplit(url)
        with self._lock:
            kept = self._kept.setdefault(parts.path, [])
            before = list(kept)
            kept.append(answer)
            del kept[:-200]
            if not self.is_evil or self._random.random() < 0.5:
                self.done["none"] += 1
                return answer
            name = self._random.choice(_HARMS)
            if "after=&" in parts.query and self._random.random() < 0.5:
                # A scan begins: that is when it hurts most.
                name = "a_short_last_page_told_again"
            harmed: Response = getattr(self, f"_{name}")(answer, before)
            self.done[name] += 1
            return harmed

    def _cut(self, answer: Response, kept: list[Response]) -> Response:
        return Response(answer.status, answer.headers, answer.body, sent=len(answer.body) // 2)

    def _late(self, answer: Response, kept: list[Response]) -> Response:
        return Response(answer.status, answer.headers, answer.body, seconds_late=self._random.random() * 2)

    def _told_again(self, answer: Response, kept: list[Response]) -> Response:
        return self._random.choice(kept) if kept else answer

    def _the_first_told_again(self, answer: Response, kept: list[Response]) -> Response:
        return kept[0] if kept else answer

    def _a_short_last_page_told_again(self, answer: Response, kept: list[Response]) -> Response:
        """What ends a scan, and has the viewer sweep away whatever the scan did not bring."""
        ends = [old for old in kept if old.status == 200 and b'"has_more": false' in old.body]
        return min(ends, key=lambda old: len(old.body), default=answer)

    def _a_refusal_told_again(self, answer: Response, kept: list[Response]) -> Response:
        refusals = [old for old in kept if old.status >= 400]
        return self._random.choice(refusals) if refusals else answer

    def _shuffled(self, answer: Response, kept: list[Response]) -> Response:
        return self._with_items(answer, lambda items: self._random.sample(items, len(items)))

    def _doubled(self, answer: Response, kept: list[Response]) -> Response:
        return self._with_items(answer, lambda items: items + items)

    def _said_twice(self, answer: Response, kept: list[Response]) -> Response:
        return Response(answer.status, answer.headers, answer.body * 2)

    def _mixed_with_another(self, answer: Response, kept: list[Response]) -> Response:
        """The items of one page under the name of another."""
        pages = [old for old in kept if old.status == 200 and b'"items"' in old.body]
        if not pages:
            return answer
        others = json.loads(self._random.choice(pages).body)["items"]
        return self._with_items(answer, lambda items: others + items) if others else answer

    def _not_gzip(self, answer: Response, kept: list[Response]) -> Response:
        return Response(answer.status, {**answer.headers, "content-encoding": "gzip"}, answer.body)

    def _half_a_gzip(self, answer: Response, kept: list[Response]) -> Response:
        packed = gzip.compress(answer.body)
        return Response(answer.status, {**answer.headers, "content-encoding": "gzip"}, packed[: len(packed) // 2])

    def _a_login_page(self, answer: Response, kept: list[Response]) -> Response:
        return Response(200, _HTML, b"<html>Welcome to the hotel. Please log in.</html>")

    def _elsewhere(self, answer: Response, kept: list[Response]) -> Response:
        return Response(self._random.choice([301, 302, 307, 308]), {"location": f"{self.url}/elsewhere"}, b"")

    def _trouble(self, answer: Response, kept: list[Response]) -> Response:
        rest = self._random.choice(["1", "0", "-1", "soon", "Wed, 01 Jan 2020 00:00:00 GMT", ""])
        return Response(self._random.choice([429, 500, 502, 503, 504]), {"retry-after": rest}, b"x")

    def _a_refusal_of_its_own(self, answer: Response, kept: list[Response]) -> Response:
        status, slug = self._random.choice(
            [(410, "cursor-expired"), (422, "malformed-cursor"), (403, "learner-erased"), (410, "card-deleted")]
        )
        problem: dict[str, Any] = {"status": status, "detail": "No.", "resync": True, "request_id": "another"}
        named = json.loads(answer.body) if answer.body.startswith(b"{") else {}
        problem |= {name: named.get(name) for name in ("hub", "subscriber", "learner_id", "after")}
        kind = self._random.choice([f"urn:studyhub:problem:{slug}", "about:blank"])
        headers = self._random.choice([_PROBLEM, _HTML]) if slug != "card-deleted" else _HTML
        return Response(status, dict(headers), json.dumps({**problem, "type": kind}).encode())

    def _an_empty_word(self, answer: Response, kept: list[Response]) -> Response:
        body = self._random.choice([b"", b"{}", b"[]", b"null", b'{"items": [], "cursor": "x", "head": 1}'])
        return Response(200, {"content-type": "application/json"}, body)

    def _with_items(self, answer: Response, change: Any) -> Response:
        if answer.status != 200 or b'"items"' not in answer.body:
            return answer
        page = json.loads(answer.body)
        page["items"] = change(page["items"])
        return Response(answer.status, answer.headers, json.dumps(page).encode())


_HARMS = [
    "cut",
    "late",
    "told_again",
    "the_first_told_again",
    "a_short_last_page_told_again",
    "a_refusal_told_again",
    "shuffled",
    "doubled",
    "said_twice",
    "mixed_with_another",
    "not_gzip",
    "half_a_gzip",
    "a_login_page",
    "elsewhere",
    "trouble",
    "a_refusal_of_its_own",
    "an_empty_word",
]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer that was killed in the middle of a request is no news."""


class _Handler(BaseHTTPRequestHandler):
    line: EvilLine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_POST(self) -> None:
        self._pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _pass_on(self, body: bytes) -> None:
        answer = self.line.harm(self.path, self._ask_hub(body))
        time.sleep(answer.seconds_late)
        try:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.sent])
        except OSError:
            self.close_connection = True
        if answer.sent is not None:
            self.close_connection = True

    def _ask_hub(self, body: bytes) -> Response:
        hub = urlsplit(self.line.hub_url)
        connection = http.client.HTTPConnection(str(hub.hostname), hub.port, timeout=60)
        headers: Mapping[str, str] = {
            name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP
        }
        try:
            connection.request(self.command, self.path, body, dict(headers))
            response = connection.getresponse()
            kept = {"content-type": response.headers.get("content-type", "")}
            if rest := response.headers.get("retry-after"):
                kept["retry-after"] = rest
            return Response(response.status, kept, response.read())
        except OSError:
            return Response(502, {}, b"")
        finally:
            connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        pass
