"""A viewer and its hub when one of them is somebody else: another token, an erased learner, a hub put back to a backup,
a hub that is newer. All of it with a real hub and real `viewer` processes.
"""

import dataclasses
import uuid
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F, Q

from kit.scheduling import Outcome
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.learning import rating
from memocards.learning.erasing import erase_learner
from memocards.models import CardProgress, MemoCard, Review
from publish.backfill import backfill_page
from publish.kinds import CATALOGUE
from publish.relay import relay_batch
from publish.services import insert_outbox_rows
from publish.subscribers import create_subscriber
from tests.factories import UserFactory
from tests.process.processes import Installation, Viewer

Viewers = Callable[..., Viewer]

RATES = """
import os, sys, uuid
os.environ["DJANGO_SETTINGS_MODULE"] = "viewer.settings"
import django
django.setup()
from django.utils import timezone
from viewer.models import Outcome
from viewer.ratings import record_rating, try_at_once
for card in sys.argv[1:]:
    review, now = uuid.uuid4(), timezone.now()
    record_rating(review_id=review, card_id=int(card), outcome=Outcome.GOOD, reviewed_at=now, duration_ms=900)
    try_at_once(seconds=5)
    print(review)
"""


@pytest.fixture
def hub(hub_here: Installation) -> Installation:
    """A hub that is up."""
    hub_here.hub()
    return hub_here


@pytest.fixture
def keys(transactional_db: None) -> list[int]:
    """Published cards."""
    topic = topics.create_topic(name="Anatomy", editor=SYSTEM)
    keys = [
        cards.create(topic_id=topic.pk, front=f"F{n}", back="B", needs_review=False, editor=SYSTEM).pk
        for n in range(40)
    ]
    relay_batch()
    return keys


@pytest.fixture
def learners(keys: list[int]) -> list[User]:
    return [UserFactory.create(), UserFactory.create()]


def token_of(learner: User) -> str:
    return create_subscriber(name=f"viewer {uuid.uuid4().hex[:8]}", learner_id=learner.pk)[1]


def rate_in(viewer: Viewer, *card_ids: int, **environment: str) -> list[uuid.UUID]:
    """Rate cards as the viewer's page does, which tries the hub at once. Returns the reviews' ids."""
    process = viewer.python("-c", RATES, *map(str, card_ids), name="rate", **environment)
    assert process.wait() == 0, process.output
    return [uuid.UUID(line) for line in process.output.split()]


def rate_at(hub_learner: User, card_id: int) -> None:
    rating.rate_card(learner_id=hub_learner.pk, card_id=card_id, review_id=uuid.uuid4(), outcome=Outcome.GOOD)
    relay_batch()


def cards_in(viewer: Viewer) -> dict[int, str]:
    return dict(viewer.rows("SELECT id, front FROM viewer_card"))


def test_what_one_learner_answered_is_never_another_learners(
    hub: Installation, viewers: Viewers, learners: list[User], keys: list[int]
) -> None:
    """The viewer is started with another learner's token while an answer of the first one waits."""
    first, second = learners
    viewer = viewers(hub_url=hub.url, token=token_of(first))
    viewer.sync_once()
    rate_in(viewer, keys[0], HUB_URL="http://127.0.0.1:9")
    assert viewer.rows("SELECT state FROM viewer_rating") == [("waiting",)]
    token_of_first, token_of_second = viewer.environment["HUB_TOKEN"], token_of(second)

    viewer.environment["HUB_TOKEN"] = token_of_second
    rate_in(viewer, keys[1])
    for arguments in (["--once"], []):
        refused = viewer.sync(*arguments)
        assert refused.wait() == 1
        assert f"belongs to learner {first.pk} (subscriber" in refused.output
        assert f"that of learner {second.pk} (subscriber" in refused.output
    assert not Review.objects.exists()
    assert len(cards_in(viewer)) == 40

    viewer.environment["HUB_TOKEN"] = token_of_first
    assert "2 ratings sent." in viewer.sync_once()
    assert set(Review.objects.values_list("learner_id", "card_id")) == {(first.pk, keys[0]), (first.pk, keys[1])}


def test_the_viewer_of_an_erased_learner_forgets_them_though_its_token_is_revoked(
    hub: Installation, viewers: Viewers, learners: list[User], keys: list[int]
) -> None:
    """Promise 5, for whom it matters most."""
    learner, other = learners
    rate_at(learner, keys[0])
    rate_at(other, keys[0])
    viewer, revoked, others = [viewers(hub_url=hub.url, token=token_of(who)) for who in (learner, learner, other)]
    for one in (viewer, revoked, others):
        one.sync_once()
    rate_in(viewer, keys[1], HUB_URL="http://127.0.0.1:9")
    erase_learner(learner_id=learner.pk)
    learner.delete()
    for one in (viewer, revoked):
        ended = one.sync("--once")
        assert ended.wait() == 1
        assert "The hub has erased the learner of this HUB_TOKEN" in ended.output
        assert one.rows("SELECT id FROM viewer_cardprogress") == []
        assert one.rows("SELECT id FROM viewer_rating") == []
        assert len(cards_in(one)) == 40
    relay_batch()
    others.sync_once()
    assert len(others.rows("SELECT id FROM viewer_cardprogress")) == 1
    # It neither rates nor reads any more.
    rate_in(viewer, keys[2])
    assert set(Review.objects.values_list("learner_id", flat=True)) == {other.pk}


def take_backup() -> Callable[[], None]:
    """Read this test's whole database. Returns what puts it back to that."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        tables = [table for (table,) in cursor.fetchall()]
        rows = {}
        for table in tables:
            with cursor.copy(f"COPY {table} TO STDOUT") as copy:
                rows[table] = b"".join(copy)

    def put_back() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute("".join(f"DELETE FROM {table};" for table in tables))
            for table in tables:
                with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                    copy.write(rows[table])

    return put_back


def test_a_hub_put_back_to_a_backup_is_given_again_what_it_had_accepted_since(
    hub: Installation, viewers: Viewers, learners: list[User], keys: list[int]
) -> None:
    viewer = viewers(hub_url=hub.url, token=token_of(learners[0]))
    viewer.sync_once()
    before = rate_in(viewer, keys[0])
    relay_batch()
    put_back = take_backup()
    late = cards.create(
        topic_id=MemoCard.objects.get(pk=keys[0]).topic_id, front="Late", back="B", needs_review=False, editor=SYSTEM
    )
    relay_batch()
    viewer.sync_once()
    *since, lost = rate_in(viewer, keys[1], keys[2], late.pk)
    relay_batch()
    viewer.sync_once()
    assert Review.objects.count() == len(viewer.rows("SELECT id FROM viewer_cardprogress")) == 4

    put_back()
    call_command("new_feed_epoch", verbosity=0)
    assert set(Review.objects.values_list("pk", flat=True)) == set(before)
    said = viewer.sync_once()
    assert "begins anew" in said
    assert "3 ratings sent again." in said
    assert "1 ratings refused" in said
    assert set(Review.objects.values_list("pk", flat=True)) == {*before, *since}
    assert viewer.rows("SELECT id, state, problem FROM viewer_rating WHERE state <> 'accepted'") == [
        (lost.hex, "refused", f"There is no card {late.pk}.")
    ]
    assert late.pk not in cards_in(viewer)
    relay_batch()
    assert "sent" not in viewer.sync_once(), "once is enough"
    held = viewer.rows("SELECT id, card_id FROM viewer_cardprogress")
    assert sorted(held) == sorted(CardProgress.objects.values_list("pk", "card_id"))
    assert viewer.rows("SELECT count(*) FROM viewer_rating WHERE holds_card") == [(0,)]


def publish_as_newer(kind: str, ids: list[int]) -> None:
    """What a hub of the next version publishes of these rows: another schema, and a field more."""
    newer = dataclasses.replace(CATALOGUE[kind], schema_version=2, fields={**CATALOGUE[kind].fields, "hint": F("id")})
    with transaction.atomic():
        assert insert_outbox_rows(newer, Q(pk__in=ids))[0] == len(ids)
    relay_batch()


@pytest.mark.slow
def test_a_newer_hub_and_back_shows_nothing_twice_and_loses_nothing(
    hub: Installation, viewers: Viewers, learners: list[User], keys: list[int]
) -> None:
    learner = learners[0]
    viewer = viewers(hub_url=hub.url, token=token_of(learner))
    viewer.sync_once()
    publish_as_newer("card", keys[:10])
    cards.delete(keys=keys[:3], editor=SYSTEM)
    cards.update(key=keys[3], changes={"front": "Edited since"}, editor=SYSTEM)
    publish_as_newer("card", [keys[3]])
    with connection.cursor() as cursor:
        # A kind of the future, which this hub's own outbox would not take.
        cursor.execute("UPDATE publish_item SET kind = 'hologram' WHERE kind = 'card' AND source_id = %s", [keys[4]])
    said = viewer.sync_once()
    assert "rows are newer than this version understands" in said

    def kept() -> set[tuple[str, int]]:
        return set(viewer.rows("SELECT kind, source_id FROM viewer_unknownitem"))

    newer = {("card", key) for key in (keys[3], *keys[5:10])} | {("hologram", keys[4])}
    assert kept() == newer
    fronts = cards_in(viewer)
    assert set(fronts) == set(keys[3:]), "deleted ones are gone, the others show in the form that is understood"
    assert fronts[keys[3]] == "F3"

    # A restart of the scan keeps the ones and the others; a deletion meanwhile is a deletion.
    cards.delete(keys=[keys[5]], editor=SYSTEM)
    relay_batch()
    call_command("new_feed_epoch", verbosity=0)
    viewer.sync_once()
    assert kept() == newer - {("card", keys[5])}
    assert set(cards_in(viewer)) == set(keys[3:]) - {keys[4], keys[5]}

    # The hub goes back: everything is in its old form once, and nothing is kept.
    with connection.cursor() as cursor:
        cursor.execute("UPDATE publish_item SET kind = 'card' WHERE kind = 'hologram'")
    backfill_page("card")
    relay_batch()
    viewer.sync_once()
    live = MemoCard.objects.filter(deleted_at__isnull=True)
    assert cards_in(viewer) == dict(live.values_list("pk", "front"))
    assert kept() <= {("hologram", keys[4])}
    call_command("new_feed_epoch", verbosity=0)
    viewer.sync_once()
    assert kept() == set()


@pytest.mark.slow
def test_a_card_whose_result_cannot_be_read_is_not_offered_twice(
    hub: Installation, viewers: Viewers, learners: list[User], keys: list[int]
) -> None:
    """The hub publishes progress in a newer schema: rated here, the card must not come again as it was before."""
    learner = learners[0]
    viewer = viewers(hub_url=hub.url, token=token_of(learner))
    rate_at(learner, keys[0])
    viewer.sync_once()
    rate_in(viewer, keys[0], keys[1])
    publish_as_newer("card_progress", list(CardProgress.objects.values_list("pk", flat=True)))
    viewer.sync_once()
    a_while_ago = "UPDATE viewer_rating SET accepted_at = datetime(accepted_at, '-5 minutes')"
    viewer.change(a_while_ago)
    viewer.sync_once()
    assert viewer.rows("SELECT card_id FROM viewer_rating WHERE holds_card ORDER BY 1") == [(keys[0],), (keys[1],)]
    # The hub goes back: the results are read, and the cards are free.
    backfill_page("card_progress")
    relay_batch()
    viewer.sync_once()
    assert viewer.rows("SELECT id FROM viewer_rating WHERE holds_card") == []
    assert len(viewer.rows("SELECT id FROM viewer_cardprogress")) == 2
    assert Review.objects.count() == 3
