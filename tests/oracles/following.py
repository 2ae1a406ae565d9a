"""A consumer as docs/guarantees.md asks for: applies by key, moves its cursor after the page, obeys 410."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

if TYPE_CHECKING:
    # A consumer works without Django, as those of the benchmarks do.
    from publish.subscribers import Reader

Key = tuple[str, int]


class Held(NamedTuple):
    """A published row as a consumer holds it."""

    payload: dict[str, Any]
    learner_id: int | None


class StartOver(Exception):
    """410: the cursor is worth nothing any more."""


@dataclass(frozen=True)
class Page:
    items: list[dict[str, Any]]
    cursor: str
    has_more: bool


# (cursor, limit) → the page after the cursor. Raises StartOver.
Fetch = Callable[[str, int], Page]


@dataclass
class Follower:
    """Holds the rows it was told of; `position` is the seq that its cursor stands for."""

    fetch: Fetch
    limit: int = 1000
    cursor: str = ""
    position: int = 0
    rows: dict[Key, Held] = field(default_factory=dict)
    # The seq at which each key was last seen, tombstones included.
    seqs: dict[Key, int] = field(default_factory=dict)
    items: int = 0
    restarts: int = 0

    def read(self) -> Page | None:
        """Fetch the next page and keep it. None: it had to start over."""
        page = self.look()
        if page is not None:
            self.apply(page)
            self.move(page)
        return page

    def look(self) -> Page | None:
        """Fetch the next page and keep nothing of it. None: it had to start over."""
        if not self.cursor:
            # Whoever begins from nothing holds nothing: rows that were stored before a crash, without a cursor, may be
            # of a tombstone that this scan does not bring any more.
            self.rows, self.seqs = {}, {}
        try:
            return self.fetch(self.cursor, self.limit)
        except StartOver:
            assert self.cursor, "The feed refuses to begin."
            self.cursor, self.position, self.rows, self.seqs = "", 0, {}, {}
            self.restarts += 1
            return None

    def apply(self, page: Page) -> None:
        """Keep a page's rows. Doing so twice, or again from an older cursor, must change nothing in the end."""
        before = self.position
        for item in page.items:
            assert item["seq"] > before, f"seq {item['seq']} comes after {before}"
            before = item["seq"]
            key = (item["kind"], item["id"])
            self.seqs[key] = item["seq"]
            if item["deleted"]:
                assert item["payload"] == {}
                self.rows.pop(key, None)
            else:
                self.rows[key] = Held(item["payload"], item["learner_id"])
        self.items += len(page.items)

    def move(self, page: Page) -> None:
        """Store the page's cursor."""
        self.cursor = page.cursor
        if page.items:
            self.position = page.items[-1]["seq"]

    def catch_up(self) -> None:
        """Read to the head."""
        while (page := self.read()) is None or page.has_more:
            pass


def from_database(reader: "Reader") -> Fetch:
    """The pages that the feed has for this reader, without HTTP."""
    from publish import feed
    from publish.cursor import CursorExpired

    def fetch(cursor: str, limit: int) -> Page:
        try:
            page = feed.page(reader, after=cursor, limit=limit)
        except CursorExpired:
            raise StartOver from None
        items = json.loads(f"[{page.items}]")
        assert len(items) == page.count
        return Page(items, page.cursor, page.has_more)

    return fetch


def over_http(client: httpx.Client, token: str, *, wait: float = 0) -> Fetch:
    """The pages that a hub serves. Raises httpx.HTTPStatusError for what is neither a page nor 410."""

    def fetch(cursor: str, limit: int) -> Page:
        answer = client.get(
            "/api/feed",
            params={"after": cursor, "limit": limit, "wait": wait},
            headers={"Authorization": f"Bearer {token}"},
        )
        if answer.status_code == httpx.codes.GONE:
            assert answer.json()["resync"] is True
            raise StartOver
        answer.raise_for_status()
        body = answer.json()
        return Page(body["items"], body["cursor"], body["has_more"])

    return fetch
