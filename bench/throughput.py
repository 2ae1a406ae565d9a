"""Rows a second of backfill and relay, beside a bare COPY of the same bytes and beside the ORM, row by row."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.process.processes import own_database, say

TEXT = "Which nerve runs through the carpal tunnel? "


def seconds_of(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measure(cards: int, sample: int) -> None:
    """Runs inside an installation whose database is empty."""
    import django

    django.setup()
    from django.db import connection, transaction

    from memocards.models import MemoCard, Topic
    from publish.backfill import backfill_page
    from publish.models import PublishedItem, PublishOutbox
    from publish.relay import Relay

    def execute(sql: str, *params: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(sql, params or None)
            return cursor.fetchall() if cursor.description else None

    topic = Topic.objects.create(name="Large")
    execute(
        "INSERT INTO memocards_memocard (topic_id, front, back, tags, external_id, needs_review, updated_at)"
        " SELECT %s, %s || n, repeat(%s, 4), '{anatomy,hand}', '', false, now() FROM generate_series(1, %s) n",
        topic.pk,
        TEXT,
        TEXT,
        cards,
    )
    execute("VACUUM ANALYZE memocards_memocard")

    def backfill() -> None:
        after_id = 0
        while (page := backfill_page("card", after_id=after_id, limit=5000)).enqueued:
            after_id = page.last_id

    def drain() -> None:
        relay = Relay()
        while relay.step().drained:
            pass

    def copy_outbox() -> None:
        """The same bytes into a table with the same columns and a primary key, by COPY: what the disk can do."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("CREATE TABLE bare (LIKE publish_outbox INCLUDING DEFAULTS INCLUDING INDEXES)")
            with cursor.copy("COPY bare FROM STDIN") as copy:
                for chunk in chunks:
                    copy.write(chunk)

    backfill_time = seconds_of(backfill)
    with connection.cursor() as cursor, cursor.copy("COPY publish_outbox TO STDOUT") as copy:
        chunks = [bytes(chunk) for chunk in copy]
    copy_time = seconds_of(copy_outbox)
    relay_time = seconds_of(drain)
    execute("VACUUM publish_outbox")
    again_time = seconds_of(backfill)
    unchanged_time = seconds_of(drain)

    # Row by row through the ORM: an object built, serialised, hashed and saved for each; on the relay's side likewise.
    execute("TRUNCATE publish_item")
    rows = list(MemoCard.objects.order_by("pk")[:sample])

    def enqueue_by_orm() -> None:
        import hashlib
        import json

        for card in rows:
            with transaction.atomic():
                locked = MemoCard.objects.select_for_update().get(pk=card.pk)
                payload = {"topic_id": locked.topic_id, "front": locked.front, "back": locked.back, "tags": locked.tags}
                PublishOutbox.objects.create(
                    kind="card",
                    source_id=locked.pk,
                    payload=payload,
                    payload_hash=hashlib.sha256(json.dumps(payload).encode()).digest(),
                    schema_version=1,
                    deleted=False,
                )

    def relay_by_orm() -> None:
        seq = 0
        while row := PublishOutbox.objects.order_by("pk").first():
            with transaction.atomic():
                seq += 1
                PublishedItem.objects.update_or_create(
                    kind=row.kind,
                    source_id=row.source_id,
                    defaults={
                        "payload": row.payload,
                        "payload_hash": row.payload_hash,
                        "schema_version": row.schema_version,
                        "deleted": row.deleted,
                        "seq": seq,
                        "outbox_id": row.pk,
                    },
                )
                row.delete()

    orm_enqueue_time = seconds_of(enqueue_by_orm)
    orm_relay_time = seconds_of(relay_by_orm)

    size = sum(map(len, chunks)) / 1e6
    copied, enqueued, relayed, dropped = (
        cards / taken for taken in (copy_time, backfill_time, relay_time, unchanged_time)
    )
    say(f"{cards:,} cards, {size:.0f} MB in the outbox")
    say(f"bare COPY of the same bytes   {copied:>9,.0f} rows/s")
    say(f"backfill                      {enqueued:>9,.0f} rows/s  {enqueued / copied:.2f} of COPY")
    say(f"backfill again                {cards / again_time:>9,.0f} rows/s")
    say(f"relay, everything new         {relayed:>9,.0f} rows/s  {relayed / copied:.2f} of COPY")
    say(f"relay, nothing changed        {dropped:>9,.0f} rows/s  {dropped / copied:.2f} of COPY")
    for name, taken, ours in (("enqueue", orm_enqueue_time, enqueued), ("relay", orm_relay_time, relayed)):
        rate = sample / taken
        label = f"{name} row by row, ORM"
        say(f"{label:<29} {rate:>9,.0f} rows/s  ours is {ours / rate:,.0f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cards", type=int, default=200_000)
    parser.add_argument("--sample", type=int, default=2_000, help="rows that go through the ORM, which is slow")
    options = parser.parse_args()
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        measure(options.cards, options.sample)
        return
    with own_database() as installation:
        installation.prepare()
        run = installation.python(
            *("-m", "bench.throughput", "--cards", str(options.cards), "--sample", str(options.sample)),
            name="throughput",
        )
        code = run.wait(seconds=3600)
        sys.stdout.write(run.output)
        sys.exit(code)


if __name__ == "__main__":
    main()
