import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from publish import feed
from publish.cursor import Cursor, CursorExpired, MalformedCursor
from publish.feed import FeedNotBegun
from publish.kinds import UnknownKind
from publish.models import FeedState, PublishedItem
from publish.relay import relay_batch
from publish.retention import prune_tombstones
from publish.subscribers import Reader
from tests.factories import PublishedItemFactory, PublishOutboxFactory

SHARED_ONLY = Reader(subscriber_id=1, learner_id=None, all_learners=False, kinds=())
EVERYTHING = Reader(subscriber_id=1, learner_id=None, all_learners=True, kinds=())
CARDS_ONLY = Reader(subscriber_id=1, learner_id=None, all_learners=False, kinds=("card",))


def of_learner(key: int, *kinds: str) -> Reader:
    return Reader(subscriber_id=1, learner_id=key, all_learners=False, kinds=kinds)


def publish(*items: tuple[str, int, int | None]) -> None:
    """Publish (kind, source id, learner) in this order."""
    for kind, source_id, learner_id in items:
        PublishOutboxFactory.create(kind=kind, source_id=source_id, learner_id=learner_id)
    relay_batch()


def items_of(page: feed.Page) -> list[dict[str, Any]]:
    return list(json.loads(f"[{page.items}]"))


def keys_of(page: feed.Page) -> list[tuple[str, int]]:
    return [(item["kind"], item["id"]) for item in items_of(page)]


def read_all(reader: Reader, **options: Any) -> list[tuple[str, int]]:
    """Page after page, to the head."""
    keys: list[tuple[str, int]] = []
    cursor, more = "", True
    while more:
        page = feed.page(reader, after=cursor, **options)
        keys += keys_of(page)
        cursor, more = page.cursor, page.has_more
    return keys


@pytest.mark.django_db
def test_an_item_carries_all_that_a_consumer_needs() -> None:
    row = PublishOutboxFactory.create(
        kind="card_progress", source_id=42, learner_id=7, payload={"due_at": None, "한": 1}
    )
    relay_batch()
    when = datetime(2026, 1, 5, 9, 0, 0, 5, tzinfo=UTC)
    PublishedItem.objects.update(published_at=when)
    assert items_of(feed.page(of_learner(7))) == [
        {
            "seq": 1,
            "kind": "card_progress",
            "id": 42,
            "learner_id": 7,
            "schema_version": 1,
            "deleted": False,
            "hash": bytes(row.payload_hash).hex(),
            "published_at": "2026-01-05T09:00:00.000005Z",
            "payload": {"due_at": None, "한": 1},
        }
    ]


@pytest.mark.django_db
def test_a_tombstone_is_an_item_without_a_payload() -> None:
    publish(("card", 1, None))
    PublishOutboxFactory.create(source_id=1, deleted=True)
    relay_batch()
    [item] = items_of(feed.page(SHARED_ONLY))
    assert (item["deleted"], item["payload"], item["learner_id"], item["seq"]) == (True, {}, None, 2)


@pytest.mark.django_db
def test_published_moments_are_utc_in_any_session_time_zone() -> None:
    publish(("card", 1, None))
    [before] = items_of(feed.page(SHARED_ONLY))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL TimeZone TO 'Asia/Seoul'")
        assert items_of(feed.page(SHARED_ONLY)) == [before]


@pytest.mark.django_db
def test_an_empty_feed_is_an_empty_page() -> None:
    page = feed.page(SHARED_ONLY)
    assert (page.items, page.count, page.head, page.has_more) == ("", 0, 0, False)
    assert feed.page(SHARED_ONLY, after=page.cursor).count == 0


@pytest.mark.django_db
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
def test_pages_of_any_size_give_every_item_once_in_order(limit: int) -> None:
    publish(*[("card", key, None) for key in range(1, 8)])
    assert read_all(SHARED_ONLY, limit=limit) == [("card", key) for key in range(1, 8)]


@pytest.mark.django_db
def test_has_more_says_whether_to_read_on_at_once() -> None:
    publish(*[("card", key, None) for key in range(1, 5)])
    assert feed.page(SHARED_ONLY, limit=3).has_more
    exact = feed.page(SHARED_ONLY, limit=4)
    assert (exact.count, exact.has_more) == (4, False)


@pytest.mark.django_db
def test_a_page_that_is_not_full_moves_the_cursor_to_the_head() -> None:
    """A consumer of one kind keeps up, however little of it is published."""
    publish(("card", 1, None), *[("topic", key, None) for key in range(1, 6)])
    page = feed.page(CARDS_ONLY)
    assert (page.count, page.head) == (1, 6)
    assert Cursor.decode(page.cursor).seq == 6


@pytest.mark.django_db
def test_a_full_page_moves_the_cursor_to_its_last_item() -> None:
    publish(("card", 1, None), ("topic", 1, None), ("card", 2, None))
    page = feed.page(CARDS_ONLY, limit=1)
    assert Cursor.decode(page.cursor).seq == 1
    assert keys_of(feed.page(CARDS_ONLY, after=page.cursor)) == [("card", 2)]


@pytest.mark.django_db
def test_the_cursor_keeps_the_head_at_which_the_scan_began() -> None:
    publish(("card", 1, None), ("card", 2, None))
    page = feed.page(SHARED_ONLY, limit=1)
    publish(("card", 3, None))
    page = feed.page(SHARED_ONLY, after=page.cursor, limit=1)
    cursor = Cursor.decode(page.cursor)
    assert (cursor.seq, cursor.scan_head, page.head) == (2, 2, 3)


@pytest.mark.django_db
def test_a_page_ends_before_it_grows_too_large_and_goes_on_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PAGE_BYTES", 1000)
    for key, size in enumerate([400, 400, 400, 5000, 100], start=1):
        PublishOutboxFactory.create(source_id=key, payload={"front": "x" * size})
    relay_batch()
    counts = []
    cursor, more = "", True
    while more:
        page = feed.page(SHARED_ONLY, after=cursor)
        counts.append([key for _kind, key in keys_of(page)])
        cursor, more = page.cursor, page.has_more
    assert counts == [[1, 2], [3], [4], [5]]


# Who sees what


@pytest.mark.django_db
def test_another_learners_progress_never_reaches_a_subscriber() -> None:
    """Row 27."""
    publish(("card", 1, None), ("card_progress", 1, 7), ("card_progress", 2, 8), ("topic", 1, None))
    shared = [("card", 1), ("topic", 1)]
    assert read_all(SHARED_ONLY) == shared
    assert read_all(of_learner(7)) == [("card", 1), ("card_progress", 1), ("topic", 1)]
    assert read_all(of_learner(8)) == [("card", 1), ("card_progress", 2), ("topic", 1)]
    assert read_all(of_learner(9)) == shared
    assert read_all(EVERYTHING) == [("card", 1), ("card_progress", 1), ("card_progress", 2), ("topic", 1)]


@pytest.mark.django_db
def test_another_learners_tombstone_never_reaches_a_subscriber() -> None:
    """Row 27."""
    publish(("card_progress", 1, 7))
    PublishOutboxFactory.create(kind="card_progress", source_id=1, learner_id=7, deleted=True)
    relay_batch()
    assert read_all(SHARED_ONLY) == read_all(of_learner(8)) == []
    assert read_all(of_learner(7)) == [("card_progress", 1)]


@pytest.mark.django_db
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_shared_rows_and_a_learners_own_are_merged_in_order(limit: int) -> None:
    order: list[tuple[str, int, int | None]] = [
        ("card", 1, None),
        ("card_progress", 1, 7),
        ("card_progress", 2, 7),
        ("card_progress", 3, 8),
        ("card", 2, None),
        ("card", 3, None),
        ("card_progress", 4, 7),
    ]
    publish(*order)
    assert read_all(of_learner(7), limit=limit) == [(kind, key) for kind, key, learner in order if learner != 8]


@pytest.mark.django_db
def test_kinds_narrow_a_page_and_a_subscribers_own_kinds_narrow_it_further() -> None:
    publish(("card", 1, None), ("topic", 1, None), ("question", 1, None), ("card_progress", 1, 7))
    assert read_all(SHARED_ONLY, kinds=["topic", "card"]) == [("card", 1), ("topic", 1)]
    assert read_all(CARDS_ONLY) == [("card", 1)]
    assert read_all(CARDS_ONLY, kinds=["card", "topic"]) == [("card", 1)]
    assert read_all(CARDS_ONLY, kinds=["topic"]) == []
    assert read_all(of_learner(7, "card"), kinds=["card_progress"]) == []


@pytest.mark.django_db
def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UnknownKind, match="deck"):
        feed.page(SHARED_ONLY, kinds=["card", "deck"])


# Cursors that cannot go on


def cursor_at(seq: int, *, scan_head: int = 0, epoch: uuid.UUID | None = None) -> str:
    return Cursor(epoch=epoch or FeedState.objects.get().epoch, seq=seq, scan_head=scan_head).encode()


@pytest.mark.django_db
def test_a_cursor_at_the_head_gets_an_empty_page_and_goes_on_from_there() -> None:
    """Row 17."""
    publish(("card", 1, None))
    page = feed.page(SHARED_ONLY, after=cursor_at(1))
    assert (page.count, page.has_more) == (0, False)
    publish(("card", 2, None))
    assert keys_of(feed.page(SHARED_ONLY, after=page.cursor)) == [("card", 2)]


@pytest.mark.django_db
@pytest.mark.parametrize("seq", [2, 2**63 - 1])
def test_a_cursor_beyond_the_head_must_start_over(seq: int) -> None:
    """Row 17."""
    publish(("card", 1, None))
    with pytest.raises(CursorExpired, match="Start over"):
        feed.page(SHARED_ONLY, after=cursor_at(seq))


@pytest.mark.django_db
@pytest.mark.parametrize("seq", [0, 1])
def test_a_cursor_of_another_epoch_must_start_over(seq: int) -> None:
    """Row 17."""
    publish(("card", 1, None))
    with pytest.raises(CursorExpired, match="another history"):
        feed.page(SHARED_ONLY, after=cursor_at(seq, epoch=uuid.uuid4()))


@pytest.mark.django_db
@pytest.mark.parametrize("after", ["garbage", "-1", str(2**63), "1"])
def test_what_is_no_cursor_is_refused(after: str) -> None:
    """Row 17."""
    with pytest.raises(MalformedCursor):
        feed.page(SHARED_ONLY, after=after)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("seq", "scan_head", "expired"),
    [(2, 0, True), (2, 2, True), (3, 0, False), (2, 3, False), (0, 0, True), (0, 3, False), (4, 0, False)],
)
def test_a_cursor_below_the_tombstone_floor_must_start_over_unless_its_scan_began_above(
    seq: int, scan_head: int, expired: bool
) -> None:
    """Row 17, and row 18: a slow first sync always finishes."""
    publish(*[("card", key, None) for key in range(1, 6)])
    FeedState.objects.update(tombstone_floor=3)
    after = cursor_at(seq, scan_head=scan_head)
    if expired:
        with pytest.raises(CursorExpired, match="pruned"):
            feed.page(SHARED_ONLY, after=after)
    else:
        assert feed.page(SHARED_ONLY, after=after).count == 5 - seq


@pytest.mark.django_db
def test_the_top_tombstone_pruned_leaves_who_has_read_it_in_peace() -> None:
    """Row 17. Who had not read it is told; who begins now is not."""
    publish(("card", 1, None), ("card", 2, None))
    behind = feed.page(SHARED_ONLY).cursor
    PublishOutboxFactory.create(source_id=2, deleted=True)
    relay_batch()
    at_head = feed.page(SHARED_ONLY, after=behind).cursor
    assert prune_tombstones(published_before=timezone.now()).deleted == 1
    assert feed.page(SHARED_ONLY, after=at_head).count == 0
    with pytest.raises(CursorExpired):
        feed.page(SHARED_ONLY, after=behind)
    assert read_all(SHARED_ONLY) == [("card", 1)]


@pytest.mark.django_db
def test_a_feed_that_has_not_begun_says_how_to_begin() -> None:
    FeedState.objects.all().delete()
    with pytest.raises(FeedNotBegun, match="run_relay"):
        feed.page(SHARED_ONLY)


# What a page costs


@pytest.mark.django_db
def test_a_page_is_one_statement(django_assert_num_queries: Any) -> None:
    """Items, head, floor and epoch are of one moment: read apart, a page could skip a row."""
    publish(("card", 1, None))
    with django_assert_num_queries(1):
        feed.page(of_learner(7), kinds=["card"])


@pytest.fixture
def many_learners(db: None) -> None:
    """20 shared rows, 20 of learner 7, and 6,000 of others between them; the planner knows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO publish_item (kind, source_id, learner_id, payload, payload_hash, schema_version, deleted,"
            " seq, outbox_id)"
            " SELECT CASE WHEN n %% 302 IN (0, 1) THEN 'card' ELSE 'card_progress' END, n,"
            " CASE n %% 302 WHEN 0 THEN NULL WHEN 1 THEN 7 ELSE 1000 + n %% 50 END,"
            " '{}', sha256('{}'), 1, false, n, n FROM generate_series(1, %s) AS n",
            [302 * 20],
        )
        cursor.execute("UPDATE publish_feed_state SET last_seq = %s", [302 * 20])
        cursor.execute("ANALYZE publish_item")


def plan(reader: Reader, **options: Any) -> list[dict[str, Any]]:
    """The plan's nodes, each with what it really did."""
    sql, params = feed.page_statement(
        reader, **{"cursor": None, "kinds": (), "limit": 1000, "separator": ",", **options}
    )
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
        [top] = cursor.fetchone()[0]
    nodes, nodes_seen = [top["Plan"]], []
    while nodes:
        node = nodes.pop()
        nodes_seen.append(node)
        nodes += node.get("Plans", [])
    return nodes_seen


@pytest.mark.django_db
@pytest.mark.parametrize("limit", [1, 10, 1000])
def test_other_learners_rows_cost_a_page_nothing(many_learners: None, limit: int) -> None:
    """Two indexes, and not a single row read that is not returned."""
    nodes = plan(of_learner(7), limit=limit)
    scans = [node for node in nodes if node.get("Relation Name") == "publish_item"]
    indexes = {node["Index Name"] for node in nodes if "Index Name" in node} - {"publish_relay_heartbeat_pkey"}
    assert indexes == {"item_shared", "item_of_learner"}
    assert "Seq Scan" not in {node["Node Type"] for node in scans}
    assert sum(node.get("Rows Removed by Filter", 0) for node in scans) == 0
    assert sum(node["Actual Rows"] for node in scans) <= 2 * min(limit + 1, 20)


@pytest.mark.django_db
def test_a_page_begins_at_its_cursor_and_not_before(many_learners: None) -> None:
    cursor = Cursor(epoch=FeedState.objects.get().epoch, seq=302 * 18, scan_head=0)
    for reader in (SHARED_ONLY, of_learner(7), EVERYTHING):
        scans = [node for node in plan(reader, cursor=cursor, limit=5) if node.get("Relation Name") == "publish_item"]
        assert sum(node.get("Rows Removed by Filter", 0) for node in scans) == 0
        assert sum(node["Actual Rows"] for node in scans) <= 6 * len(scans)


@pytest.mark.django_db(transaction=True)
def test_a_page_read_while_a_batch_commits_is_of_one_moment(
    connect: Callable[..., psycopg.Connection[Any]],
) -> None:
    """What is not committed is neither in the items nor in the head."""
    publish(("card", 1, None))
    other = connect()
    other.execute("UPDATE publish_item SET seq = 2")
    other.execute("UPDATE publish_feed_state SET last_seq = 2")
    page = feed.page(SHARED_ONLY)
    assert (page.head, [item["seq"] for item in items_of(page)]) == (1, [1])
    other.commit()
    page = feed.page(SHARED_ONLY, after=page.cursor)
    assert (page.head, [item["seq"] for item in items_of(page)]) == (2, [2])


@pytest.mark.django_db
def test_items_may_be_joined_by_lines() -> None:
    PublishedItemFactory.create_batch(3, payload={"front": "line\nbreak \u2028 \x0b"})
    FeedState.objects.update(last_seq=PublishedItem.objects.latest("seq").seq)
    lines = feed.page(SHARED_ONLY, separator="\n").items.split("\n")
    assert [json.loads(line)["payload"]["front"] for line in lines] == ["line\nbreak \u2028 \x0b"] * 3
