"""What the tests say about following: pages made by hand, and reading to the head."""

from typing import Any

from viewer.feed_client import FeedClient, Item, Page
from viewer.sync import Step, current_state, sync_once
from viewer.tests.hub import feed_item


def page(*items: dict[str, Any], cursor: str = "next", has_more: bool = False, after: str | None = None) -> Page:
    """A page for the state's own cursor, unless `after` says otherwise."""
    fields = set(Item.__dataclass_fields__)
    parsed = [Item(**{key: value for key, value in raw.items() if key in fields}) for raw in items]
    head = max((item.seq for item in parsed), default=0)
    asked_with = current_state().cursor if after is None else after
    return Page(after=asked_with, items=parsed, cursor=cursor, head=head, has_more=has_more)


def read_to_head(client: FeedClient) -> list[Step]:
    steps = [sync_once(client)]
    while steps[-1].has_more:
        steps.append(sync_once(client))
    return steps


__all__ = ["feed_item", "page", "read_to_head"]
