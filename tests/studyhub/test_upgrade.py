"""A hub of the first release, with rows in every table, is brought to the present tables: nothing of it is lost."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

from memocards.models import Review
from publish import feed, relay, subscribers
from publish.kinds import CATALOGUE
from publish.verify import compare
from studyhub.backup.contents import contents
from studyhub.backup.databases import default_connection_to

FIRST_RELEASE = [("publish", "0003_payload_limit"), ("memocards", "0005_explanation_job"), ("studyhub", None)]
MOMENT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TOKEN = "sh_of-a-viewer-of-the-first-release"
# A new migration notes itself, and new models come with their types and permissions.
GROWING = {"public.django_migrations", "public.django_content_type", "public.auth_permission"}
# The operators may see the relay's heartbeat.
GRANTED = 1


@pytest.fixture
def first_release(django_db_blocker: Any, django_db_setup: None) -> Iterator[Any]:
    """The default connection is to a database of its own, as the first release made it. Its models, as they were."""
    name = f"{connection.settings_dict['NAME']}_upgrade"
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with django_db_blocker.unblock():
        with connection._nodb_cursor() as cursor:
            cursor.execute(drop)
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            with default_connection_to(name):
                executor = MigrationExecutor(connection)
                leaves = [leaf for leaf in executor.loader.graph.leaf_nodes() if leaf[0] not in dict(FIRST_RELEASE)]
                yield executor.migrate([*leaves, *(target for target in FIRST_RELEASE if target[1])]).apps
        finally:
            with connection._nodb_cursor() as cursor:
                cursor.execute(drop)


def _fill(apps: Any) -> SimpleNamespace:
    """Rows in every table, written as the first release had them. Returns those that are looked at again."""

    def create(label: str, **values: Any) -> Any:
        return apps.get_model(label).objects.create(**values)

    user = create("auth.User", username="mina", password="!", email="mina@example.org", is_staff=True)
    user.groups.add(apps.get_model("auth.Group").objects.get(name="operator"))
    user.user_permissions.add(apps.get_model("auth.Permission").objects.first())
    content_type = apps.get_model("contenttypes.ContentType").objects.get(model="memocard")
    create("admin.LogEntry", user=user, content_type=content_type, object_id="1", object_repr="Card", action_flag=1)
    create("sessions.Session", session_key="k" * 32, session_data="{}", expire_date=MOMENT)

    people = {"author": user, "reviewed_by": user, "claimed_by": user, "sent_back_by": user}
    topic = create("memocards.Topic", name="Rivers", scheduler="fsrs", exam_date=MOMENT.date())
    question = create(
        "memocards.Question",
        topic=topic, stem="Which?", choices=["Han", "Nakdong"], answer=2, explanation="So.",
        explanation_status="ready", external_id="q1", **people,
    )  # fmt: skip
    card = create(
        "memocards.MemoCard",
        topic=topic, question=question, front="F", back="B", tags=["a", "나"], needs_review=False, **people,
    )  # fmt: skip
    create("memocards.MemoCard", topic=topic, front="Waits", back="B", source="a book")
    create("memocards.LearnerSettings", learner=user, time_zone="Asia/Seoul", rollover_hour=3)
    progress = create(
        "memocards.CardProgress",
        learner=user, card=card, topic=topic, last_outcome="good", last_reviewed_at=MOMENT, due_at=MOMENT,
        review_count=1, scheduler_state={"stability": 2.5},
    )  # fmt: skip
    create("memocards.Review", learner=user, card=card, outcome="good", reviewed_at=MOMENT, stage_after=0)

    snapshot: dict[str, Any] = {"schema_version": 1, "deleted": True, "payload_hash": hashlib.sha256(b"{}").digest()}
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO publish_outbox (kind, source_id, payload, payload_hash, schema_version, deleted)"
            " VALUES ('card', 4711, '{}', %(payload_hash)s, %(schema_version)s, %(deleted)s)",
            snapshot,
        )
        cursor.execute(
            "INSERT INTO publish_item (kind, source_id, payload, payload_hash, schema_version, deleted, seq, outbox_id)"
            " VALUES ('card', 4712, '{}', %(payload_hash)s, %(schema_version)s, %(deleted)s, 7, 70)",
            snapshot,
        )
        cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('explanations', 'write', %s)",
            [json.dumps({"question_id": question.pk})],
        )
        cursor.execute("INSERT INTO procrastinate_periodic_defers (task_name, defer_timestamp) VALUES ('nightly', 1)")
        cursor.execute("SELECT system_identifier FROM pg_control_system()")
        (cluster,) = cursor.fetchone()
    state = {"epoch": uuid.uuid4(), "last_seq": 7, "tombstone_floor": 2, "system_identifier": cluster}
    apps.get_model("publish.FeedState").objects.update_or_create(pk=1, defaults=state)
    create("publish.BackfillPosition", kind="card", last_id=3)
    create("publish.SetAside", kind="card", source_id=4713, outbox_id=71, error="It was so.")
    token = {"token_prefix": TOKEN[:12], "token_hash": hashlib.sha256(TOKEN.encode()).digest()}
    subscriber = create("publish.Subscriber", name="a viewer", learner=user, last_seq=5, scan_head=4, **token)
    return SimpleNamespace(user=user, progress=progress, subscriber=subscriber, epoch=state["epoch"])


def _rows(columns: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Every table's rows, of these columns, as text."""
    rows = {}
    with connection.cursor() as cursor:
        for table, names in columns.items():
            listed = sql.SQL(", ").join(map(sql.Identifier, names))
            statement = sql.SQL("SELECT ({})::text FROM {} ORDER BY 1")
            cursor.execute(statement.format(sql.SQL("ROW({})").format(listed), sql.Identifier(*table.split("."))))
            rows[table] = [text for (text,) in cursor.fetchall()]
    return rows


def _columns() -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    with connection.cursor() as cursor:
        for table in contents().rows:
            cursor.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
                [table],
            )
            columns[table] = [name for (name,) in cursor.fetchall()]
    return columns


def test_every_row_of_a_hub_of_the_first_release_is_there_after_the_upgrade(first_release: Any) -> None:
    former = _fill(first_release)
    columns = _columns()
    before = _rows(columns)
    assert [table for table, rows in before.items() if not rows] == [], "tables without a row would show nothing"

    call_command("migrate", verbosity=0, interactive=False)

    after = _rows(columns)
    for table in columns:
        lost = set(before[table]) - set(after[table])
        assert not lost, f"{table} has lost {lost}"
        more = len(after[table]) - len(before[table])
        assert more == (GRANTED if table == "public.auth_group_permissions" else 0) or table in GROWING, table

    # What was there is not only kept, but goes on: the token reads the feed from where it stood.
    reader = subscribers.authenticate(TOKEN)
    assert reader is not None
    assert (reader.subscriber_id, reader.learner_id) == (former.subscriber.pk, former.user.pk)
    assert relay.relay_batch().drained == 1
    page = feed.page(reader)
    assert page.head == 7
    assert page.relay_silent_seconds is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT hub, epoch FROM publish_feed_state")
        assert cursor.fetchall() == [(page.hub, former.epoch)]
    drifting = {kind.name: sum(len(page.drift) for page in compare(kind)) for kind in CATALOGUE.values()}
    assert drifting["card_progress"] == 1, "what the first release had not enqueued is found, not lost"


def test_a_review_of_the_first_release_says_itself_whether_it_was_clamped(first_release: Any) -> None:
    """It was clamped where the time of receipt stood for the time that was claimed."""
    former = _fill(first_release)
    later = MOMENT + timedelta(days=1)
    expected = {}
    for claimed_at, reviewed_at, received_at, clamped in (
        (later, MOMENT, MOMENT, True),
        (MOMENT, MOMENT, later, False),
        (None, MOMENT, MOMENT, False),
    ):
        review = first_release.get_model("memocards.Review").objects.create(
            learner=former.user, card=former.progress.card, outcome="good", stage_after=0,
            claimed_at=claimed_at, reviewed_at=reviewed_at, received_at=received_at,
        )  # fmt: skip
        expected[review.pk] = clamped
    call_command("migrate", verbosity=0, interactive=False)
    assert dict(Review.objects.filter(pk__in=expected).values_list("pk", "clamped")) == expected


def test_the_upgrade_asks_for_no_further_migration(first_release: Any) -> None:
    call_command("migrate", verbosity=0, interactive=False)
    executor = MigrationExecutor(connection)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []
