"""Relays that are killed with SIGKILL: nothing is lost, nothing comes twice, nobody waits for the dead."""

import random
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from django.db import connection

from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from publish.models import FeedState, PublishedItem, PublishOutbox
from publish.relay import outbox_is_empty, relay_batch
from tests.process.consuming import Consuming
from tests.process.processes import Installation, say, wait_until
from tests.process.writing import Writing, state

GATE = 7411


def _kill_relays_under_load(hub: Installation, token: str, *, seconds: float, seed: int) -> None:
    """Rows 4 and 6. Three relays, killed at random moments, while 8 writers hold their transactions open."""
    chance = random.Random(seed)
    hub.hub()

    relays = [hub.relay("--batch-size", "20", "--interval", "0.01", wait=False) for _ in range(3)]
    kills = kills_at_work = 0
    with Consuming(hub.url, token, followers=2) as consuming:
        relays[0].says("Relay: started.")
        with Writing(threads=8, seed=seed) as writing:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                victim = chance.randrange(3)
                relays[victim].says("Relay: started.")
                # A random moment: often one in which the relay holds the feed's lock.
                time.sleep(chance.uniform(0, 0.15))
                kills_at_work += not outbox_is_empty()
                relays[victim].kill()
                kills += 1
                relays[victim] = hub.relay("--batch-size", "20", "--interval", "0.01", wait=False)
        wait_until(outbox_is_empty, what="An empty outbox")
        present = state()
        wrong = consuming.mismatches(present) + writing.written.lost(dict(present["fronts"]))
        assert wrong == []
        items = consuming.items
        assert consuming.failures == 0
        assert all(follower.restarts == 0 for follower in consuming.followers)
    assert kills >= seconds / 3
    say(
        f"{writing.written.writes} writes, {writing.written.rolled_back} rolled back, {kills} kills, {kills_at_work} "
        f"of them with a backlog, {present['head']} events, {items} items followed, {len(wrong)} mismatches"
    )


def test_relays_killed_at_random_lose_nothing(hub_here: Installation, subscribe: Callable[..., str]) -> None:
    _kill_relays_under_load(hub_here, subscribe(all_learners=True), seconds=4, seed=1)


@pytest.mark.slow
def test_relays_killed_for_long_lose_nothing(hub_here: Installation, subscribe: Callable[..., str]) -> None:
    _kill_relays_under_load(hub_here, subscribe(all_learners=True), seconds=90, seed=random.randrange(1000))


@pytest.fixture
def elsewhere(transactional_db: None) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Another connection, whose locks stop a relay where the test wants it."""
    parameters = connection.get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    with psycopg.connect(**parameters) as other:
        yield other


@pytest.fixture
def gates(transactional_db: None) -> Iterator[Callable[[str], None]]:
    """Have whoever does this wait for an advisory lock: `gates("BEFORE UPDATE ON publish_feed_state")`."""
    shut: list[str] = []

    def shut_gate(event: str) -> None:
        deferred = "DEFERRABLE INITIALLY DEFERRED" if event.startswith("AFTER") else ""
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE FUNCTION test_stop() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN PERFORM pg_advisory_xact_lock({GATE}); RETURN NEW; END $$"
            )
            cursor.execute(
                f"CREATE {'CONSTRAINT' if deferred else ''} TRIGGER test_stop {event} {deferred}"
                " FOR EACH ROW EXECUTE FUNCTION test_stop()"
            )
        shut.append(event)

    yield shut_gate
    with connection.cursor() as cursor:
        if shut:
            cursor.execute("DROP FUNCTION test_stop CASCADE")


# Point → the lock that a relay comes to there, and the gate by which it does.
POINTS = {
    "before the drain": ("LOCK TABLE publish_outbox IN SHARE MODE", None),
    "after the drain": ("SELECT 1 FROM publish_item WHERE kind = 'topic' FOR UPDATE", None),
    "after the upsert": (f"SELECT pg_advisory_xact_lock({GATE})", "BEFORE UPDATE ON publish_feed_state"),
    "before the commit": (f"SELECT pg_advisory_xact_lock({GATE})", "AFTER INSERT OR UPDATE ON publish_item"),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_relay_killed_at_any_point_leaves_nothing_and_another_takes_over(
    point: str,
    gates: Callable[[str], None],
    elsewhere: psycopg.Connection[tuple[object, ...]],
    hub_here: Installation,
) -> None:
    """Row 4. The dead relay's backend holds the feed's lock until PostgreSQL notices that nobody is there."""
    topic = topics.create_topic(name="Published before", editor=SYSTEM)
    relay_batch()
    before = FeedState.objects.get().last_seq
    lock, gate = POINTS[point]
    if gate:
        gates(gate)
    topics.update_topic(topic_id=topic.pk, changes={"description": "Touched"}, editor=SYSTEM)
    fresh = [
        cards.create(topic_id=topic.pk, front="F", back="B", needs_review=False, editor=SYSTEM).pk for _ in range(5)
    ]
    elsewhere.execute(lock)

    def stopped_here() -> set[int]:
        """The backends that wait for the test's lock; relays that wait for each other are not among them."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))", [elsewhere.info.backend_pid]
            )
            return {pid for (pid,) in cursor.fetchall()}

    def nothing_happened() -> bool:
        return (FeedState.objects.get().last_seq, PublishOutbox.objects.filter(kind="card").count()) == (before, 5)

    victim = hub_here.relay()
    wait_until(stopped_here, what="A relay that is stopped at this point")
    [backend] = stopped_here()
    hub_here.relay()
    assert nothing_happened()
    victim.kill()
    killed_at = time.monotonic()
    wait_until(lambda: stopped_here() - {backend}, seconds=2, what="Another relay at the same point")
    took_over_after = time.monotonic() - killed_at
    assert nothing_happened()
    elsewhere.rollback()
    wait_until(outbox_is_empty, seconds=5, what="The other relay's batch")
    published = list(PublishedItem.objects.order_by("seq").values_list("kind", "source_id", "seq"))
    assert [seq for _kind, _key, seq in published] == list(range(before + 1, before + 7))
    assert {key for kind, key, _seq in published if kind == "card"} == set(fresh)
    say(f"killed {point}: another relay was there {took_over_after:.2f} s later")
