"""The feed in the API's documentation, and for WSGI servers. The hub's ASGI entry answers it natively (stream.py)."""

from typing import Annotated, Any
from uuid import UUID

from django.db import connection
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from pydantic import Field

from kit.problems.rest import problems
from publish import feed
from publish.authentication import SubscriberToken
from publish.cursor import Cursor
from publish.positions import WRITE, positions
from publish.stream import LONGEST_WAIT_SECONDS, REQUEST_ID, page_body, refusal
from publish.subscribers import Reader

feed_router = Router(auth=[SubscriberToken()], tags=["feed"])


class FeedQuery(Schema):
    after: str = Field("", description="The last page's cursor; empty: from nothing.")
    kinds: str = Field("", description="Kinds, separated by commas; empty: all that the token may see.")
    limit: Annotated[int, Field(ge=1, le=feed.HIGHEST_LIMIT)] = feed.DEFAULT_LIMIT
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT_SECONDS)] = Field(
        0, description="Seconds for which an empty page waits for news. Under a WSGI server it does not wait."
    )
    request_id: str | None = Field(
        None,
        description="A word of your own, repeated in the answer: with it an old answer is not taken for this one's.",
        pattern=REQUEST_ID,
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
    hub: UUID = Field(description="Which hub this is. It stays the same after a restore and in another epoch.")
    subscriber: int = Field(description="Whose token asked.")
    learner_id: int | None = Field(description="Whose progress this token sees, besides what everyone sees.")
    relay_silent_seconds: float | None = Field(
        description="How long ago a relay last published, or found nothing to publish. Null: never."
    )
    after: str = Field(description="The cursor that this page answers. Apply it to no other.")
    request_id: str | None = Field(description="The `request_id` that this page answers.")


@feed_router.get("", response={200: FeedPage, **problems(401, 403, 410, 422, 503)}, summary="Read the feed")
def read_feed(request: HttpRequest, query: Query[FeedQuery]) -> HttpResponse:
    """What is published, oldest change first. 410 with `"resync": true`: start over with an empty `after`."""
    reader: Reader = request.auth  # type: ignore[attr-defined]
    named = {"after": query.after, "request_id": query.request_id}
    try:
        cursor = Cursor.decode(query.after) if query.after else None
        page = feed.page(
            reader,
            after=query.after,
            kinds=[kind for kind in query.kinds.split(",") if kind],
            limit=query.limit,
        )
    except Exception as error:
        response = refusal(error, named)
        return HttpResponse(response.body, status=response.status, headers=dict(response.headers))
    positions.note(reader.subscriber_id, cursor if page.has_more else Cursor.decode(page.cursor))
    if positions.is_due:
        with connection.cursor() as database:
            database.execute(WRITE, positions.take())
    body = page_body(page, named)
    return HttpResponse(body, content_type="application/json", headers={"Cache-Control": "no-store"})
