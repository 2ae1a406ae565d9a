"""A real HTTP server that speaks the feed's contract, and fails in the ways a hub can fail."""

import contextlib
import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from viewer.identity import Identity

TOKEN = "token-of-the-learner"
LEARNER = 7

PAYLOADS: dict[str, dict[str, Any]] = {
    "topic": {"name": "Capitals", "description": "", "position": 1},
    "question": {"topic_id": 1, "stem": "Capital of Peru?", "choices": ["Lima", "Cusco"], "answer": 1, "source": ""},
    "explanation": {"question_id": 1, "body": "Lima was founded in 1535."},
    "card": {"topic_id": 1, "question_id": None, "front": "Peru", "back": "Lima", "tags": []},
    "card_progress": {
        "card_id": 1,
        "topic_id": 1,
        "last_outcome": "good",
        "last_reviewed_at": "2026-01-05T09:00:00.000000Z",
        "due_at": "2026-01-06T04:00:00.000000Z",
        "review_stage": 0,
    },
}


def problem_type(slug: str) -> str:
    return f"urn:studyhub:problem:{slug}"


def feed_item(kind: str, source_id: int, seq: int, *, deleted: bool = False, **changes: Any) -> dict[str, Any]:
    """One item as the feed has it; `schema_version`, `learner_id` and the payload's keys may be given."""
    envelope = {
        "seq": seq,
        "kind": kind,
        "id": source_id,
        "learner_id": changes.pop("learner_id", LEARNER if kind == "card_progress" else None),
        "schema_version": changes.pop("schema_version", 1),
        "deleted": deleted,
        "hash": f"{seq:064x}",
        "published_at": "2026-01-05T09:00:00.000000Z",
    }
    payload = {} if deleted else changes.pop("payload", {**PAYLOADS.get(kind, {}), **changes})
    return {**envelope, "payload": payload}


@dataclass
class Response:
    """An answer the hub gives instead of its own. `cut` ends the connection in the middle of the body; one that `drips`
    takes ten seconds, a byte at a time.

    A dictionary as a body is completed by what a hub says in every answer, unless it comes `from_elsewhere`.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    from_elsewhere: bool = False
    drips: bool = False


class FakeHub:
    def __init__(self) -> None:
        self.token = TOKEN
        self.erased = False
        self.identity: dict[str, Any] = {"hub": str(uuid4()), "subscriber": 3, "learner_id": LEARNER}
        self.epoch = "a"
        self.seq = 0
        self.floor = 0
        self.items: dict[tuple[str, int], dict[str, Any]] = {}
        self.instead_of_pages: deque[Response] = deque()
        self.instead_of_ratings: deque[Response] = deque()
        # Every rating request that came in, and the distinct reviews among them, in order of arrival.
        self.posted: list[dict[str, Any]] = []
        self.reviews: dict[str, dict[str, Any]] = {}
        # What was offered again, and what of it is refused: review id → the sentence.
        self.offered: list[dict[str, Any]] = []
        self.refused_reviews: dict[str, str] = {}
        # For how long no relay has published.
        self.relay_silent_seconds: float | None = 0.5
        self.asked: list[dict[str, str]] = []
        self.news = threading.Condition()
        self.connections: list[socket.socket] = []
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def owner(self) -> Identity:
        """Who the token is here."""
        return Identity(UUID(self.identity["hub"]), self.identity["subscriber"], self.identity["learner_id"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Serve; after `stop`, on the same port again."""
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            for connection in self.connections:
                # What a process that ends does to its open connections.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self.connections.clear()

    def publish(self, kind: str, source_id: int, **changes: Any) -> int:
        with self.news:
            self.seq += 1
            self.items[kind, source_id] = feed_item(kind, source_id, self.seq, **changes)
            self.news.notify_all()
        return self.seq

    def withdraw(self, kind: str, source_id: int) -> int:
        return self.publish(kind, source_id, deleted=True)

    def new_epoch(self) -> None:
        """As after a restore from backup: every cursor is of another history, and counting begins anew."""
        self.epoch += "'"
        live = [item for item in self.items.values() if not item["deleted"]]
        self.items = {(item["kind"], item["id"]): {**item, "seq": seq} for seq, item in enumerate(live, start=1)}
        self.seq = len(live)

    def page(self, after: str, limit: int) -> Response:
        epoch, _, position = after.partition(".")
        if after and (epoch != self.epoch or int(position) > self.seq or int(position) < self.floor):
            return Response(410, {"type": problem_type("cursor-expired"), "detail": "Start over.", "resync": True})
        start = int(position or 0)
        items = sorted((item for item in self.items.values() if item["seq"] > start), key=lambda item: item["seq"])
        items, has_more = items[:limit], len(items) > limit
        end = items[-1]["seq"] if has_more else self.seq
        page = {"items": items, "cursor": f"{self.epoch}.{end}", "head": self.seq, "has_more": has_more}
        return Response(200, page | {"relay_silent_seconds": self.relay_silent_seconds})


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"
    # What the request asked for by name, and its answer repeats.
    named: Mapping[str, Any] = {}

    def setup(self) -> None:
        super().setup()
        self.hub.connections.append(self.connection)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if not self._may_enter():
            return
        if parts.path != "/api/feed":
            self._answer(Response(404, {"detail": "There is nothing here."}))
            return
        self.named = {"after": query.get("after", ""), "request_id": query.get("request_id")}
        if query.get("limit") == "1":
            # Who the token is: not what the tests of pages are about.
            erased = Response(403, {"type": problem_type("learner-erased")})
            self._answer(erased if self.hub.erased else self.hub.page("", 1))
            return
        self.hub.asked.append(query)
        if self.hub.instead_of_pages:
            self._answer(self.hub.instead_of_pages.popleft())
            return
        after, limit, wait = query.get("after", ""), int(query.get("limit", 1000)), int(query.get("wait", 0))
        with self.hub.news:
            if wait and after == f"{self.hub.epoch}.{self.hub.seq}":
                self.hub.news.wait(wait)
            answer = self.hub.page(after, limit)
        self._answer(answer)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if not self._may_enter():
            return
        match = re.fullmatch(r"/api/study-cards/(\d+)/rate", self.path)
        if self.path == "/api/reviews":
            instead = self.hub.instead_of_ratings.popleft() if self.hub.instead_of_ratings else None
            self._answer(instead or Response(200, {"results": [self._stored(review) for review in body["reviews"]]}))
            return
        if match is None:
            self._answer(Response(404, {"detail": "There is nothing here."}))
            return
        body["card_id"] = int(match[1])
        self.hub.posted.append(body)
        self.named = {"review_id": body["review_id"]}
        instead = self.hub.instead_of_ratings.popleft() if self.hub.instead_of_ratings else None
        if instead is None or instead.cut:
            self.hub.reviews.setdefault(body["review_id"], body)
        self._answer(instead or Response(200, {}))

    def _stored(self, review: dict[str, Any]) -> dict[str, Any]:
        refusal = self.hub.refused_reviews.get(review["review_id"])
        if refusal is not None:
            problem = {"type": problem_type("not-found"), "detail": refusal}
            return {"review_id": review["review_id"], "status": "refused", "problem": problem}
        self.hub.offered.append(review)
        repeated = self.hub.reviews.setdefault(review["review_id"], review) is not review
        return {"review_id": review["review_id"], "status": "repeated" if repeated else "stored"}

    def _may_enter(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.hub.token}":
            return True
        self._answer(Response(401, {"type": problem_type("unauthorized"), "detail": "This token is not known."}))
        return False

    def _answer(self, answer: Response) -> None:
        completed = answer.body
        content_type = "text/html" if isinstance(completed, bytes) else "application/json"
        if isinstance(completed, dict) and not answer.from_elsewhere:
            said_always: dict[str, Any] = {**self.hub.identity, **self.named}
            if answer.status >= 400:
                content_type = "application/problem+json"
                said_always |= {"type": problem_type("conflict"), "status": answer.status}
            completed = {**said_always, **completed}
        body = completed if isinstance(completed, bytes) else json.dumps(completed).encode()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in {"Content-Type": content_type, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.drips:
            self._drip(body)
            return
        self.wfile.write(body[: len(body) // 2] if answer.cut else body)
        self.close_connection = self.close_connection or answer.cut

    def _drip(self, body: bytes) -> None:
        with contextlib.suppress(OSError):
            for place in range(len(body)):
                self.wfile.write(body[place : place + 1])
                time.sleep(10 / len(body))

    def log_message(self, format: str, *args: Any) -> None:
        pass
