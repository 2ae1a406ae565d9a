"""What the tests say about following: pages made by hand, and reading to the head."""

from typing import Any
from uuid import UUID

from viewer.feed_client import FeedClient
from viewer.hub_responses import Item, Page
from viewer.identity import Identity
from viewer.owner import confirm
from viewer.state import current_state
from viewer.sync import Step, apply_page, sync_once
from viewer.tests.hub import LEARNER, feed_item

OWNER = Identity(hub=UUID(int=1), subscriber_id=3, learner_id=LEARNER)


def page(*items: dict[str, Any], cursor: str = "next", has_more: bool = False, after: str | None = None) -> Page:
    """A page for the state's own cursor, unless `after` says otherwise; for the database's owner."""
    confirm(OWNER)
    fields = set(Item.model_fields)
    parsed = [Item(**{key: value for key, value in raw.items() if key in fields}) for raw in items]
    head = max((item.seq for item in parsed), default=0)
    asked_with = current_state().cursor if after is None else after
    return Page(after=asked_with, items=parsed, cursor=cursor, head=head, has_more=has_more, identity=OWNER)


def apply(page: Page) -> Step:
    """Apply a page that was asked for just now."""
    return apply_page(page, generation=current_state().generation)


def read_to_head(client: FeedClient) -> list[Step]:
    """The steps that read, without the one that asks who the token is."""
    steps = [sync_once(client)]
    while steps[-1].has_more:
        steps.append(sync_once(client))
    return [step for step in steps if not step.confirmed]


__all__ = ["OWNER", "apply", "feed_item", "page", "read_to_head"]
