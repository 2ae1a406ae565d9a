"""The feed in the API's documentation, and for WSGI servers. The hub's ASGI entry answers it natively (stream.py)."""

from typing import Annotated, Any

from django.db import connection
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from pydantic import Field

from publish import feed
from publish.cursor import Cursor
from publish.positions import WRITE, positions
from publish.stream import LONGEST_WAIT_SECONDS, page_body
from publish.subscribers import Reader
from studyhub.authentication import SubscriberToken
from studyhub.problems import problems

feed_router = Router(auth=[SubscriberToken()], tags=["feed"])


class FeedQuery(Schema):
    after: str = Field("", description="The last page's cursor; empty: from nothing.")
    kinds: str = Field("", description="Kinds, separated by commas; empty: all that the token may see.")
    limit: Annotated[int, Field(ge=1, le=feed.HIGHEST_LIMIT)] = feed.DEFAULT_LIMIT
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT_SECONDS)] = Field(
        0, description="Seconds for which an empty page waits for news. Under a WSGI server it does not wait."
    )


class Item(Schema):
    seq: int
    kind: str
    id: int
    learner_id: int | None
    schema_version: int
    deleted: bool = Field(description="A tombstone: drop what you hold under this kind and id.")
    hash: str
    published_at: str
    payload: dict[str, Any]


class FeedPage(Schema):
    items: list[Item]
    cursor: str = Field(description="Opaque. Send it as `after` once the items are stored.")
    head: int
    has_more: bool


@feed_router.get("", response={200: FeedPage, **problems(401, 410, 422, 503)}, summary="Read the feed")
def read_feed(request: HttpRequest, query: Query[FeedQuery]) -> HttpResponse:
    """What is published, oldest change first. 410 with `"resync": true`: start over with an empty `after`."""
    reader: Reader = request.auth  # type: ignore[attr-defined]
    page = feed.page(
        reader,
        after=query.after,
        kinds=[kind for kind in query.kinds.split(",") if kind],
        limit=query.limit,
    )
    positions.note(reader.subscriber_id, Cursor.decode(query.after) if query.after else None)
    if positions.is_due:
        with connection.cursor() as database:
            database.execute(WRITE, positions.take())
    return HttpResponse(page_body(page), content_type="application/json", headers={"Cache-Control": "no-store"})
