"""What consumers live through: rows 18, 19, 21, 23, 24 and 26 with a real hub, a real relay and a real viewer."""

import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from kit.scheduling import Outcome
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.models import MemoCard, Review
from publish.backfill import backfill_page
from publish.models import PublishedItem, SetAside
from publish.news import APPLICATION_NAME
from publish.relay import outbox_is_empty, relay_batch
from publish.retention import prune_tombstones
from publish.setting_aside import requeue
from publish.status import publish_status
from publish.subscribers import Reader
from publish.verify import Problem
from tests.factories import UserFactory
from tests.oracles.expected import drift, expected, seen_by
from tests.oracles.following import Follower, Page, StartOver, over_http
from tests.oracles.test_histories import TEXTS, History
from tests.process.processes import Installation, Process, Viewer, say, wait_until

Subscribe = Callable[..., str]
Viewers = Callable[..., Viewer]


def _publish_cards(number: int) -> list[int]:
    topic = topics.create_topic(name=f"Topic of {number}", editor=SYSTEM)
    keys = [
        cards.create(topic_id=topic.pk, front=f"{n}", back="B", needs_review=False, editor=SYSTEM).pk
        for n in range(number)
    ]
    relay_batch()
    return keys


@pytest.fixture
def client(hub_here: Installation) -> Any:
    """HTTP to a hub that is up, and has published one topic."""
    hub_here.hub()
    topics.create_topic(name="First", editor=SYSTEM)
    relay_batch()
    with httpx.Client(base_url=hub_here.url, timeout=30) as client:
        yield client


def test_after_a_random_history_every_subscriber_gets_its_rows_over_http(
    hub_here: Installation, subscribe: Subscribe
) -> None:
    """Row 27, and the oracles of tests/oracles once more, through everything that stands before the feed."""
    history = History()
    chance = random.Random(7)

    def number() -> int:
        return chance.randrange(12)

    actions: list[Callable[[], None]] = [
        lambda: history.create_card(number(), number(), chance.choice(TEXTS), waits=chance.random() < 0.3),
        lambda: history.create_question(number(), chance.choice(TEXTS), waits=False),
        lambda: history.edit_card(number(), chance.choice(TEXTS)),
        lambda: history.move_card(number(), number()),
        lambda: history.explain(number(), chance.choice([None, *TEXTS])),
        lambda: history.change_cards(
            [number(), number()], chance.choice(["approve", "unapprove", "delete", "restore"])
        ),
        lambda: history.rate(chance.randrange(3), number(), chance.choice(list(Outcome)), chance.randrange(2000)),
        lambda: history.undo(number(), last=True),
        lambda: history.delete_for_good([number()]),
        lambda: history.relay_some_steps(2),
    ]
    for _ in range(250):
        chance.choice(actions)()
    history.teardown()
    hub_here.hub()
    everything = expected()
    with httpx.Client(base_url=hub_here.url, timeout=30) as http:
        for reader in history.readers:
            token = subscribe(learner_id=reader.learner_id, all_learners=reader.all_learners, kinds=reader.kinds)
            follower = Follower(over_http(http, token), limit=7)
            follower.catch_up()
            assert follower.rows == seen_by(reader, everything)
            assert follower.rows or reader.kinds == ("explanation",)
    say(f"{len(everything)} rows, read by {len(history.readers)} subscribers")


def test_a_first_sync_finishes_while_tombstones_are_pruned_and_a_late_consumer_is_told(
    client: httpx.Client, subscribe: Subscribe
) -> None:
    """Row 18."""
    keys = _publish_cards(30)
    fetch = over_http(client, subscribe())
    slow, late = Follower(fetch, limit=3), Follower(fetch)
    late.catch_up()
    cards.delete(keys=keys[:5], editor=SYSTEM)
    relay_batch()
    slow.read()  # its scan began after these deletions, whose tombstones it need not see
    assert prune_tombstones(published_before=timezone.now()).deleted == 5
    cards.delete(keys=keys[5:8], editor=SYSTEM)  # after it began: it must see these
    relay_batch()
    slow.catch_up()
    assert slow.restarts == 0
    with pytest.raises(StartOver):
        fetch(late.cursor, 1)
    late.catch_up()
    assert late.restarts == 1
    reader = Reader(0, learner_id=None, all_learners=False, kinds=())
    assert slow.rows == late.rows == seen_by(reader, expected())


def test_a_consumer_that_is_mid_scan_is_told_of_a_deletion_it_could_miss(
    client: httpx.Client, subscribe: Subscribe
) -> None:
    """Row 18. The row was read alive, deleted, and its tombstone pruned before the scan came to it."""
    keys = _publish_cards(10)
    follower = Follower(over_http(client, subscribe()), limit=4)
    follower.read()
    cards.delete(keys=keys[:1], editor=SYSTEM)
    relay_batch()
    prune_tombstones(published_before=timezone.now())
    follower.catch_up()
    assert follower.restarts == 1
    assert ("card", keys[0]) not in follower.rows


def test_a_viewer_that_missed_pruned_tombstones_drops_the_rows_all_the_same(
    hub_here: Installation, client: httpx.Client, subscribe: Subscribe, viewers: Viewers
) -> None:
    """Row 18, by a real viewer: 410, start over, sweep."""
    keys = _publish_cards(5)
    viewer = viewers(hub_url=hub_here.url, token=subscribe())
    viewer.sync_once()
    cards.delete(keys=keys[:2], editor=SYSTEM)
    relay_batch()
    prune_tombstones(published_before=timezone.now())
    assert "begins anew" in viewer.sync_once()
    assert viewer.rows("SELECT id FROM viewer_card ORDER BY id") == [(key,) for key in keys[2:]]


def test_a_viewer_killed_again_and_again_ends_with_what_the_hub_has(
    hub_here: Installation, client: httpx.Client, subscribe: Subscribe, viewers: Viewers
) -> None:
    """Row 19. Pages of 1000: each kill leaves a whole page and its cursor, or neither."""
    topic = topics.create_topic(name="Large", editor=SYSTEM)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO memocards_memocard (topic_id, front, back, tags, external_id, needs_review, updated_at)"
            " SELECT %s, 'front ' || n, repeat('text ', 40), '{}', '', false, now() FROM generate_series(1, 20000) n",
            [topic.pk],
        )
    assert backfill_page("card", limit=20_000).enqueued == 20_000
    while relay_batch().drained:
        pass
    viewer = viewers(hub_url=hub_here.url, token=subscribe())

    def cards_there() -> int:
        return sum(number for (number,) in viewer.rows("SELECT count(*) FROM viewer_card"))

    seen: list[int] = []
    for patience in (0.0, 0.02, 0.04):
        victim = viewer.sync()
        before = sum(seen[-1:])
        wait_until(lambda before=before: cards_there() > before)  # type: ignore[misc]
        time.sleep(patience)
        victim.kill()
        rows = cards_there()
        [(seq,)] = viewer.rows("SELECT coalesce(max(seq), 0) FROM viewer_syncstate") or [(0,)]
        [(highest,)] = viewer.rows("SELECT coalesce(max(seq), 0) FROM viewer_card")
        assert highest <= seq
        seen.append(rows)
    assert seen[0] < 20_000
    viewer.sync_once()
    live = set(MemoCard.objects.values_list("pk", flat=True))
    assert {key for (key,) in viewer.rows("SELECT id FROM viewer_card")} == live
    say(f"killed with {seen} of {len(live)} rows, ended with all")


def _wait_for_news(client: httpx.Client, token: str, cursor: str) -> tuple[Page, float]:
    page = over_http(client, token, wait=50)(cursor, 10)
    return page, time.monotonic()


def _listening() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
            " AND query NOT LIKE 'LISTEN%%'",  # it has looked since
            [APPLICATION_NAME],
        )
        return [pid for (pid,) in cursor.fetchall()]


def test_a_lost_listen_connection_delays_nobody_for_long(client: httpx.Client, subscribe: Subscribe) -> None:
    """Row 21."""
    token = subscribe()
    follower = Follower(over_http(client, token))
    follower.catch_up()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(_wait_for_news, client, token, follower.cursor)
        [listener] = wait_until(_listening, what="A LISTEN connection")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [listener])
        topics.create_topic(name="News", editor=SYSTEM)
        relay_batch()
        published_at = time.monotonic()
        page, answered_at = waiting.result()
        assert [item["payload"]["name"] for item in page.items] == ["News"]
        assert answered_at - published_at < 5
        # It listens again, and the next news comes by it.
        wait_until(lambda: set(_listening()) - {listener}, what="Another LISTEN connection")


def test_a_commit_between_the_look_and_the_wait_is_not_slept_through(
    client: httpx.Client, subscribe: Subscribe
) -> None:
    """Row 21. Published at every moment relative to the consumer's request; nobody waits for the next poll."""
    token = subscribe()
    follower = Follower(over_http(client, token))
    follower.catch_up()
    # The first wait opens the LISTEN connection.
    over_http(client, token, wait=0.1)(follower.cursor, 1)
    wait_until(_listening)
    slowest = 0.0
    with ThreadPoolExecutor() as pool:
        for number in range(40):
            waiting = pool.submit(_wait_for_news, client, token, follower.cursor)
            time.sleep(number / 40 * 0.02)
            topics.create_topic(name=f"News {number}", editor=SYSTEM)
            relay_batch()
            published_at = time.monotonic()
            page, answered_at = waiting.result()
            assert len(page.items) == 1
            slowest = max(slowest, answered_at - published_at)
            follower.move(page)
    # A wake-up that was lost would cost the five seconds until the hub looks all the same.
    assert slowest < 2.5
    say(f"40 long polls, the slowest answered {slowest * 1000:.0f} ms after its news")


def test_with_nothing_to_do_nobody_raises_an_alarm(
    hub_here: Installation, client: httpx.Client, subscribe: Subscribe, viewers: Viewers
) -> None:
    """Row 23."""
    token = subscribe()
    relay = hub_here.relay()
    viewer = viewers(hub_url=hub_here.url, token=token)
    sync = viewer.sync()
    wait_until(lambda: viewer.rows("SELECT at_head FROM viewer_syncstate") == [(1,)])
    follower = Follower(over_http(client, token))
    follower.catch_up()
    cursor = follower.cursor
    begin = time.monotonic()
    page = over_http(client, token, wait=1)(cursor, 10)
    assert (page.items, page.cursor, page.has_more) == ([], cursor, False)
    assert time.monotonic() - begin >= 1
    status = publish_status()
    assert status["outbox"] == {"depth": 0, "oldest_seconds": 0}
    assert status["set_aside"] == []
    assert [subscriber["must_start_over"] for subscriber in status["subscribers"]] == [False]
    assert not any(
        word in process.output for process in hub_here.processes for word in ("WARNING", "ERROR", "Traceback")
    )
    assert viewer.rows("SELECT failure, failure_sentence FROM viewer_syncstate") == [("", "")]
    # Stopped, they end at once and without complaint.
    begin = time.monotonic()
    assert [process.stop() for process in (relay, sync)] == [0, 0]
    assert time.monotonic() - begin < 5


def test_what_a_viewer_does_not_understand_is_kept_and_the_rest_goes_on(
    hub_here: Installation, client: httpx.Client, subscribe: Subscribe, viewers: Viewers
) -> None:
    """Row 24."""
    keys = _publish_cards(3)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE publish_item SET schema_version = 99 WHERE kind = 'card' AND source_id = %s", [keys[0]])
        cursor.execute("UPDATE publish_item SET kind = 'hologram' WHERE kind = 'card' AND source_id = %s", [keys[1]])
    viewer = viewers(hub_url=hub_here.url, token=subscribe())
    assert "2 rows are newer than this version understands" in viewer.sync_once()
    assert viewer.rows("SELECT kind, source_id, schema_version FROM viewer_unknownitem ORDER BY source_id") == [
        ("card", keys[0], 99),
        ("hologram", keys[1], 1),
    ]
    assert viewer.rows("SELECT id FROM viewer_card") == [(keys[2],)]
    assert viewer.rows("SELECT at_head FROM viewer_syncstate") == [(1,)]


def _rate_in_the_viewer(pages: httpx.Client, outcome: str) -> None:
    page = pages.get("/study/unseen/").text
    form = dict(re.findall(r'name="(review_id|shown_at|card_id|queue|csrfmiddlewaretoken)" value="([^"]*)"', page))
    assert pages.post("/rate/", data={**form, "outcome": outcome}).status_code == httpx.codes.FOUND


def test_ratings_made_while_the_hub_is_away_wait_and_arrive_once(
    hub_here: Installation, subscribe: Subscribe, viewers: Viewers
) -> None:
    """Row 26. The viewer's sync is killed meanwhile, too."""
    learner: User = UserFactory.create()
    keys = _publish_cards(4)
    hub = hub_here.hub()
    relay = hub_here.relay(wait=False)
    viewer = viewers(hub_url=hub_here.url, token=subscribe(learner_id=learner.pk))
    sync: Process = viewer.sync()
    viewer.pages()
    wait_until(lambda: len(viewer.rows("SELECT id FROM viewer_card")) == 4)
    hub.kill()
    with httpx.Client(base_url=viewer.url, timeout=30) as pages:
        for outcome in ("good", "again", "easy"):
            _rate_in_the_viewer(pages, outcome)
    assert viewer.rows("SELECT DISTINCT state FROM viewer_rating") == [("waiting",)]
    assert Review.objects.count() == 0
    sync.kill()
    relay.says("Relay: started.")
    hub = hub_here.hub()
    sync = viewer.sync()
    wait_until(lambda: Review.objects.count() == 3, what="The ratings at the hub")
    # Killed again, so that what was perhaps sent and not noted is sent again.
    sync.kill()
    viewer.sync()
    wait_until(lambda: viewer.rows("SELECT DISTINCT state FROM viewer_rating") == [("accepted",)])
    wait_until(lambda: len(viewer.rows("SELECT id FROM viewer_cardprogress")) == 3, what="The results in the viewer")
    assert dict(Review.objects.values_list("card_id", "outcome")) == dict(
        zip(keys, ("good", "again", "easy"), strict=False)
    )
    assert Review.objects.count() == 3


POISONED = "publish_item_refuses_poison"


@pytest.fixture
def poison(transactional_db: None) -> Any:
    """A published payload may not speak of poison: only the relay notices."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER TABLE publish_item ADD CONSTRAINT {POISONED} CHECK (payload::text NOT LIKE '%%poison%%')"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM publish_set_aside")
        cursor.execute(f"ALTER TABLE publish_item DROP CONSTRAINT IF EXISTS {POISONED}")


def test_a_row_that_cannot_be_published_is_set_aside_named_and_published_once_mended(
    poison: None, hub_here: Installation
) -> None:
    topic = topics.create_topic(name="Topic", editor=SYSTEM)
    keys = [
        cards.create(
            topic_id=topic.pk, front="poison" if n in {100, 101} else "F", back="B", needs_review=False, editor=SYSTEM
        ).pk
        for n in range(200)
    ]
    poisoned = keys[100:102]
    relay = hub_here.relay()
    wait_until(lambda: PublishedItem.objects.filter(kind="card").count() == 198, what="All the other cards")
    wait_until(lambda: SetAside.objects.count() == 2, what="Both set aside")
    cards.update(key=keys[0], changes={"front": "It goes on"}, editor=SYSTEM)
    wait_until(lambda: PublishedItem.objects.get(kind="card", source_id=keys[0]).payload["front"] == "It goes on")
    status = hub_here.manage("publish_status")
    assert all(f"card {key}" in status and POISONED in status for key in poisoned)
    assert f"card {poisoned[0]} cannot be published and was set aside" in relay.output
    assert relay.is_running
    # The sources' drift is found as well: what was set aside is neither published nor pending.
    assert [(found.source_id, found.problem) for found in drift()] == [(key, Problem.MISSING) for key in poisoned]
    # One is mended in its source, past the services; what is published is the source's present state.
    MemoCard.objects.filter(pk=poisoned[0]).update(front="mended")
    held = dict(SetAside.objects.values_list("source_id", "pk"))
    assert requeue([held[poisoned[0]], held[poisoned[1]]]) == 2
    wait_until(lambda: PublishedItem.objects.filter(kind="card", source_id=poisoned[0]).exists())
    assert PublishedItem.objects.get(kind="card", source_id=poisoned[0]).payload["front"] == "mended"
    wait_until(
        lambda: list(SetAside.objects.values_list("source_id", flat=True)) == poisoned[1:], what="Set aside again"
    )
    with transaction.atomic():
        cards.delete(keys=poisoned[1:], editor=SYSTEM)
    wait_until(outbox_is_empty, what="An empty outbox")
    assert drift() == []
