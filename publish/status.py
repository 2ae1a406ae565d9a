"""How publishing stands: what waits, what is published, and how far each subscriber is."""

from typing import Any

from django.conf import settings
from django.db import connection

from publish.heartbeat import SILENT_SECONDS, Silence, silence

# A row of the outbox that waits longer than this waits for something that does not end by itself.
SLOW_SECONDS = 60
_STATUS = f"""
SELECT json_build_object(
    'outbox', (
        SELECT json_build_object(
            'depth', count(*),
            'oldest_seconds', coalesce(round(extract(epoch FROM clock_timestamp() - min(created_at))::numeric, 3), 0)
        ) FROM publish_outbox
    ),
    'feed', (
        SELECT json_build_object('epoch', epoch, 'head', last_seq, 'tombstone_floor', tombstone_floor)
        FROM publish_feed_state
    ),
    'relay', (
        SELECT json_build_object(
            'worked_at', worked_at, 'worker', worker, 'silent_seconds', round({SILENT_SECONDS}::numeric, 3),
            'hindrance', hindrance
        ) FROM publish_relay_heartbeat WHERE id = 1
    ),
    'kinds', (
        SELECT coalesce(json_object_agg(kind, counted ORDER BY kind), '{{}}') FROM (
            SELECT kind, json_build_object(
                'items', count(*) FILTER (WHERE NOT deleted), 'tombstones', count(*) FILTER (WHERE deleted)
            ) AS counted FROM publish_item GROUP BY kind
        ) AS by_kind
    ),
    'set_aside', (
        SELECT coalesce(json_agg(json_build_object(
            'kind', kind, 'source_id', source_id, 'error', error, 'set_aside_at', set_aside_at
        ) ORDER BY id), '[]') FROM publish_set_aside
    ),
    'subscribers', (
        SELECT coalesce(json_agg(json_build_object(
            'name', name, 'last_seq', subscriber.last_seq, 'lag', state.last_seq - subscriber.last_seq,
            'must_start_over', greatest(subscriber.last_seq, subscriber.scan_head) < state.tombstone_floor
                AND last_seen_at IS NOT NULL,
            'last_seen_at', last_seen_at, 'revoked', revoked_at IS NOT NULL
        ) ORDER BY name), '[]')
        FROM publish_subscriber AS subscriber, publish_feed_state AS state
    )
)
"""


def publish_status() -> dict[str, Any]:
    """Outbox, feed, items and tombstones by kind, subscribers: from one statement, hence of one moment."""
    with connection.cursor() as cursor:
        cursor.execute(_STATUS)
        status: dict[str, Any] = cursor.fetchone()[0]
    return {"enabled": settings.PUBLISH_ENABLED, **status}


def troubles(status: dict[str, Any]) -> list[str]:
    """A sentence for each thing in `publish_status()` that needs a person; empty while all is well."""
    silent = silence()
    sentences = [silence_sentence(silent)] if silent else []
    outbox, set_aside = status["outbox"], status["set_aside"]
    if status["enabled"] and not silent and outbox["oldest_seconds"] > SLOW_SECONDS:
        sentences.append(
            f"The relay does not keep up: the oldest of {outbox['depth']:,} rows waits for "
            f"{outbox['oldest_seconds']:,.0f} s."
        )
    if set_aside:
        sentences.append(
            f"{len(set_aside):,} rows could not be published and were set aside. Mend their sources, then requeue them "
            "in the admin."
        )
    return sentences


def silence_sentence(silent: Silence) -> str:
    """Why nothing is published, and what to do."""
    since = f"since {silent.since:%Y-%m-%d %H:%M:%S} UTC" if silent.since else "yet"
    if silent.hindrance:
        return f"Nothing is published {since}: the relay waits for database session {silent.hindrance}. End it."
    return f"Nothing is published {since}: no relay is at work. Start one, manage.py run_relay, or end one that hangs."
