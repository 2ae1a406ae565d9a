import hashlib
import json
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from memocards.models import CardProgress, MemoCard, Topic
from publish.backfill import backfill_page
from publish.kinds import CATALOGUE, UnknownKind
from publish.models import PAYLOAD_LIMIT_BYTES, PublishedItem, PublishOutbox
from publish.relay import Batch
from publish.services import (
    TransactionRequired,
    enqueue_card_progress_publish,
    enqueue_card_publish,
    enqueue_explanation_publish,
    enqueue_publish,
    enqueue_question_publish,
    enqueue_tombstone_publish,
    enqueue_topic_publish,
)
from tests.factories import (
    CardProgressFactory,
    MemoCardFactory,
    PublishedItemFactory,
    PublishOutboxFactory,
    QuestionFactory,
    TopicFactory,
    UserFactory,
)

Connect = Callable[..., psycopg.Connection[Any]]
Drain = Callable[[], Batch]

WHEN = datetime(2026, 1, 5, 9, 0, 0, 123456, tzinfo=UTC)


def texts() -> list[str]:
    """The payloads that wait, as PostgreSQL wrote them, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload::text FROM publish_outbox ORDER BY id")
        return [text for (text,) in cursor.fetchall()]


def hashes() -> list[str]:
    return [
        bytes(digest).hex() for digest in PublishOutbox.objects.order_by("id").values_list("payload_hash", flat=True)
    ]


def rows() -> list[tuple[Any, ...]]:
    """(kind, source id, learner, tombstone) of what waits."""
    return list(PublishOutbox.objects.order_by("id").values_list("kind", "source_id", "learner_id", "deleted"))


# The transaction of the touch


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "enqueue",
    [
        lambda: enqueue_topic_publish(1),
        lambda: enqueue_question_publish(1),
        lambda: enqueue_explanation_publish(1),
        lambda: enqueue_card_publish(1),
        lambda: enqueue_card_progress_publish(1),
        lambda: enqueue_tombstone_publish("card", [1]),
        lambda: enqueue_publish(kind="card", source_id=1, payload={}),
    ],
)
def test_enqueue_outside_a_transaction_is_refused(enqueue: Callable[[], int]) -> None:
    """Row 3."""
    with pytest.raises(TransactionRequired, match="atomic"):
        enqueue()
    assert not PublishOutbox.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_rollback_leaves_nothing() -> None:
    """Row 2."""
    card = MemoCardFactory.create()
    with transaction.atomic():
        MemoCard.objects.filter(pk=card.pk).update(front="never")
        enqueue_card_publish(card)
        transaction.set_rollback(True)
    assert not PublishOutbox.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_savepoint_that_is_rolled_back_leaves_nothing_and_the_rest_stays() -> None:
    """Row 2."""
    kept, undone = MemoCardFactory.create_batch(2)
    with transaction.atomic():
        enqueue_card_publish(kept)
        savepoint = transaction.savepoint()
        enqueue_card_publish(undone)
        transaction.savepoint_rollback(savepoint)
    assert [source_id for _kind, source_id, _learner, _deleted in rows()] == [kept.pk]


# What may be passed


@pytest.mark.django_db
def test_instances_and_primary_keys_may_be_mixed_and_repeated() -> None:
    one, two = MemoCardFactory.create_batch(2)
    assert enqueue_card_publish(two, one.pk, two.pk, one) == 2
    assert [source_id for _kind, source_id, _learner, _deleted in rows()] == [one.pk, two.pk]


@pytest.mark.django_db
def test_a_question_is_enqueued_with_its_explanation_and_the_explanation_alone_too() -> None:
    question = QuestionFactory.create(explanation="Because.", explanation_status="ready")
    assert enqueue_question_publish(question) == 2
    assert enqueue_explanation_publish(question) == 1
    assert [kind for kind, *_rest in rows()] == ["question", "explanation", "explanation"]


@pytest.mark.django_db
def test_nothing_to_enqueue_is_no_error() -> None:
    assert enqueue_card_publish() == 0
    assert enqueue_tombstone_publish("card", []) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("key", [0, -1, 999_999_999, 2**63, -(2**70)])
def test_an_unknown_primary_key_is_ignored(key: int) -> None:
    card = MemoCardFactory.create()
    assert enqueue_card_publish(key, card) == 1


@pytest.mark.django_db
def test_more_rows_than_a_statement_may_have_parameters() -> None:
    card = MemoCardFactory.create()
    assert enqueue_card_publish(card.pk, *range(card.pk + 1, card.pk + 70_000)) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("queryset", [MemoCard.objects.all, lambda: MemoCard.objects.values_list("pk")])
def test_a_queryset_is_refused_and_told_why(queryset: Callable[[], Any]) -> None:
    MemoCardFactory.create()
    with pytest.raises(TypeError, match="after its rows were updated"):
        enqueue_card_publish(queryset())
    assert not PublishOutbox.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", ["1", 1.0, True, None, [1]])
def test_what_is_neither_instance_nor_primary_key_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"MemoCard or primary keys, not {type(wrong).__name__}"):
        enqueue_card_publish(wrong)


@pytest.mark.django_db
def test_an_instance_of_another_model_is_refused_although_its_key_would_fit() -> None:
    card = MemoCardFactory.create()
    with pytest.raises(TypeError, match="instances of Topic"):
        enqueue_topic_publish(card)


@pytest.mark.django_db
def test_an_unsaved_instance_is_refused() -> None:
    with pytest.raises(ValueError, match="not been saved"):
        enqueue_card_publish(MemoCard(front="a", back="b"))


@pytest.mark.django_db
def test_a_stale_instance_cannot_leak() -> None:
    stale = MemoCardFactory.create(front="old", back="b", topic=TopicFactory.create(), needs_review=False)
    MemoCard.objects.filter(pk=stale.pk).update(needs_review=True)
    stale.front = "never saved"
    enqueue_card_publish(stale)
    assert rows() == [("card", stale.pk, None, True)]
    assert texts() == ["{}"]


@pytest.mark.django_db(transaction=True)
def test_enqueue_waits_for_a_writer_in_flight_and_reads_what_it_committed(
    connect: Connect, in_thread: Callable[..., Future[Any]], waiting: Callable[..., Any]
) -> None:
    """The lock comes before the read and before the id: so for one key the order of ids is the order of commits."""
    card = MemoCardFactory.create(front="old")
    writer = connect()
    writer.execute("UPDATE memocards_memocard SET front = 'newest' WHERE id = %s", [card.pk])

    def enqueue() -> int:
        with transaction.atomic():
            return enqueue_card_publish(card.pk)

    enqueueing = in_thread(enqueue)
    waiting()
    [drawn_while_waiting] = writer.execute("SELECT nextval(pg_get_serial_sequence('publish_outbox', 'id'))").fetchone()  # type: ignore[misc]
    writer.commit()
    assert enqueueing.result() == 1
    row = PublishOutbox.objects.get()
    assert row.payload["front"] == "newest"
    assert row.pk > drawn_while_waiting


@pytest.mark.django_db
def test_while_publishing_is_off_nothing_happens_and_a_later_backfill_catches_up(settings: Any, drain: Drain) -> None:
    topic = TopicFactory.create(name="before")
    enqueue_topic_publish(topic)
    drain()
    settings.PUBLISH_ENABLED = False
    Topic.objects.filter(pk=topic.pk).update(name="after")
    assert enqueue_topic_publish(topic) == 0
    assert enqueue_tombstone_publish("topic", [topic.pk]) == 0
    assert enqueue_publish(kind="topic", source_id=1, payload={}) == 0
    assert not PublishOutbox.objects.exists()
    settings.PUBLISH_ENABLED = True
    backfill_page("topic")
    drain()
    assert PublishedItem.objects.get(kind="topic").payload["name"] == "after"


# Payloads


@pytest.mark.django_db
def test_the_payload_of_a_topic() -> None:
    topic = TopicFactory.create(name='한국사 "Ⅰ"', description="줄\n바꿈 & <b>\\", position=3)
    enqueue_topic_publish(topic)
    assert texts() == [r'{"name" : "한국사 \"Ⅰ\"", "description" : "줄\n바꿈 & <b>\\", "position" : 3}']


@pytest.mark.django_db
def test_the_payload_of_a_question_and_of_its_explanation() -> None:
    question = QuestionFactory.create(
        stem="수도는?",
        choices=["서울", 'a "b", {c}'],
        answer=1,
        source="",
        explanation="왜냐하면",
        explanation_status="ready",
    )
    enqueue_question_publish(question)
    assert texts() == [
        f'{{"topic_id" : {question.topic_id}, "stem" : "수도는?", "choices" : ["서울","a \\"b\\", {{c}}"],'
        ' "answer" : 1, "source" : ""}',
        f'{{"question_id" : {question.pk}, "body" : "왜냐하면"}}',
    ]


@pytest.mark.django_db
def test_the_payload_of_a_card_has_null_for_what_is_absent() -> None:
    card = MemoCardFactory.create(front="앞", back="뒤", tags=[])
    enqueue_card_publish(card)
    assert texts() == [
        f'{{"topic_id" : {card.topic_id}, "question_id" : null, "front" : "앞", "back" : "뒤", "tags" : []}}'
    ]


@pytest.mark.django_db
def test_the_payload_of_progress_has_utc_microseconds_and_belongs_to_its_learner() -> None:
    row = CardProgressFactory.create(last_reviewed_at=WHEN, due_at=WHEN.replace(microsecond=0), last_outcome="hard")
    enqueue_card_progress_publish(row)
    assert rows() == [("card_progress", row.pk, row.learner_id, False)]
    assert texts() == [
        f'{{"card_id" : {row.card_id}, "topic_id" : {row.topic_id}, "last_outcome" : "hard",'
        ' "last_reviewed_at" : "2026-01-05T09:00:00.123456Z", "due_at" : "2026-01-05T09:00:00.000000Z",'
        ' "review_stage" : 0}'
    ]


@pytest.mark.django_db
def test_a_sentinel_is_published_with_null_as_its_due_moment() -> None:
    row = CardProgressFactory.create(due_at=None, review_stage=5)
    enqueue_card_progress_publish(row)
    assert json.loads(texts()[0])["due_at"] is None
    assert rows()[0][3] is False


@pytest.mark.django_db
def test_text_that_looks_like_an_escape_is_text() -> None:
    card = MemoCardFactory.create(front=r"\u0000 \ud800 \\u0000", back="\x01\x1f\x7f\u2028😀")
    enqueue_card_publish(card)
    payload = PublishOutbox.objects.get().payload
    assert payload["front"] == r"\u0000 \ud800 \\u0000"
    assert payload["back"] == "\x01\x1f\x7f\u2028😀"


@pytest.mark.django_db
def test_the_largest_card_that_may_be_saved_can_be_published() -> None:
    card = MemoCardFactory.create(front="😀" * 20_000, back="😀" * 20_000, tags=["😀" * 100] * 50)
    assert enqueue_card_publish(card) == 1


@pytest.mark.django_db
def test_the_hash_is_sha256_of_the_payloads_text() -> None:
    progress = CardProgressFactory.create()
    question = QuestionFactory.create(explanation="e", explanation_status="ready")
    waiting_question = QuestionFactory.create(needs_review=True)
    enqueue_topic_publish(progress.topic)
    enqueue_question_publish(question, waiting_question)
    enqueue_card_publish(progress.card)
    enqueue_card_progress_publish(progress)
    enqueue_tombstone_publish("card", [999])
    enqueue_publish(kind="card", source_id=7, payload={"front": "한"})
    assert len(hashes()) == 9
    assert hashes() == [hashlib.sha256(text.encode()).hexdigest() for text in texts()]


@pytest.mark.django_db
@pytest.mark.parametrize("zone", ["Asia/Seoul", "America/St_Johns", "UTC"])
def test_one_moment_has_one_hash_in_every_time_zone_of_session_and_writer(zone: str) -> None:
    """Row 15."""
    row = CardProgressFactory.create(last_reviewed_at=WHEN, due_at=WHEN)
    enqueue_card_progress_publish(row)
    elsewhere = WHEN.astimezone(timezone(timedelta(hours=9)))
    CardProgress.objects.filter(pk=row.pk).update(last_reviewed_at=elsewhere, due_at=elsewhere)
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('TimeZone', %s, true), set_config('DateStyle', 'German', true)", [zone])
        enqueue_card_progress_publish(row)
        cursor.execute("SET LOCAL TimeZone TO 'UTC'")
        cursor.execute("SET LOCAL DateStyle TO 'ISO'")
    first, second = hashes()
    assert first == second


@pytest.mark.django_db
def test_composed_and_decomposed_unicode_are_different_content() -> None:
    """Row 15. Whoever wrote it gets it back as it was written."""
    composed = "각 \u00e9"
    decomposed = unicodedata.normalize("NFD", composed)
    card = MemoCardFactory.create(front=composed)
    enqueue_card_publish(card)
    MemoCard.objects.filter(pk=card.pk).update(front=decomposed)
    enqueue_card_publish(card)
    first, second = hashes()
    assert first != second
    assert json.loads(texts()[1])["front"] == decomposed


# Liveness

DELETED = {"deleted_at": WHEN}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "make", "live"),
    [
        ("topic", TopicFactory.create, True),
        ("topic", lambda: TopicFactory.create(**DELETED), False),
        ("question", QuestionFactory.create, True),
        ("question", lambda: QuestionFactory.create(needs_review=True), False),
        ("question", lambda: QuestionFactory.create(**DELETED), False),
        ("explanation", lambda: QuestionFactory.create(explanation="e", explanation_status="ready"), True),
        *[
            ("explanation", lambda s=s: QuestionFactory.create(explanation="e", explanation_status=s), False)
            for s in ("none", "pending", "running", "failed")
        ],
        (
            "explanation",
            lambda: QuestionFactory.create(explanation="e", explanation_status="ready", needs_review=True),
            False,
        ),
        ("explanation", lambda: QuestionFactory.create(explanation="e", explanation_status="ready", **DELETED), False),
        ("card", MemoCardFactory.create, True),
        ("card", lambda: MemoCardFactory.create(needs_review=True), False),
        ("card", lambda: MemoCardFactory.create(**DELETED), False),
        ("card", lambda: MemoCardFactory.create(topic=TopicFactory.create(**DELETED)), True),
        ("card_progress", CardProgressFactory.create, True),
        ("card_progress", lambda: CardProgressFactory.create(card=MemoCardFactory.create(**DELETED)), True),
    ],
)
def test_a_row_that_is_not_live_is_a_tombstone_decided_by_its_own_columns(
    kind: str, make: Callable[[], Any], live: bool
) -> None:
    source = make()
    enqueue = {
        "topic": enqueue_topic_publish,
        "question": enqueue_question_publish,
        "explanation": enqueue_explanation_publish,
        "card": enqueue_card_publish,
        "card_progress": enqueue_card_progress_publish,
    }[kind]
    enqueue(source)
    row = PublishOutbox.objects.get(kind=kind)
    assert row.deleted is not live
    assert list(row.payload) == (list(CATALOGUE[kind].fields) if live else [])


# Tombstones for what is hard-deleted


@pytest.mark.django_db
def test_a_tombstone_takes_its_owner_from_the_row_that_is_about_to_go(drain: Drain) -> None:
    row = CardProgressFactory.create()
    enqueue_card_progress_publish(row)
    drain()
    assert enqueue_tombstone_publish("card_progress", [row.pk, row.pk]) == 1
    CardProgress.objects.filter(pk=row.pk).delete()
    assert rows() == [("card_progress", row.pk, row.learner_id, True)]


@pytest.mark.django_db
def test_a_tombstone_for_a_row_that_is_gone_takes_its_owner_from_what_is_pending_or_else_published() -> None:
    PublishedItemFactory.create(kind="card_progress", source_id=1, learner_id=10)
    PublishedItemFactory.create(kind="card_progress", source_id=2, learner_id=20)
    PublishOutboxFactory.create(kind="card_progress", source_id=2, learner_id=21)
    PublishOutboxFactory.create(kind="card_progress", source_id=2, learner_id=22)
    PublishOutboxFactory.create(kind="card_progress", source_id=3, learner_id=30)
    assert enqueue_tombstone_publish("card_progress", [3, 2, 1, 4]) == 4
    assert rows()[3:] == [
        ("card_progress", 1, 10, True),
        ("card_progress", 2, 22, True),
        ("card_progress", 3, 30, True),
        ("card_progress", 4, None, True),
    ]
    assert texts()[3:] == ["{}"] * 4


@pytest.mark.django_db
def test_many_tombstones_read_a_deep_outbox_once() -> None:
    PublishOutboxFactory.create_batch(100)
    before = scans_of_the_outbox()
    assert enqueue_tombstone_publish("card_progress", range(10**6, 10**6 + 50)) == 50
    assert scans_of_the_outbox() - before <= 1


def scans_of_the_outbox() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_xact_user_tables WHERE relname = 'publish_outbox'"
        )
        return int(cursor.fetchone()[0])


@pytest.mark.django_db
def test_a_tombstone_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UnknownKind, match=r"cards.*The kinds are: topic, question"):
        enqueue_tombstone_publish("cards", [1])


@pytest.mark.django_db(transaction=True)
def test_a_tombstone_waits_for_a_writer_of_the_row(
    connect: Connect, in_thread: Callable[..., Future[Any]], waiting: Callable[..., Any]
) -> None:
    card = MemoCardFactory.create()
    writer = connect()
    writer.execute("UPDATE memocards_memocard SET front = 'edited' WHERE id = %s", [card.pk])

    def remove() -> None:
        with transaction.atomic():
            enqueue_tombstone_publish("card", [card.pk])
            MemoCard.objects.filter(pk=card.pk).delete()

    removing = in_thread(remove)
    waiting()
    assert not PublishOutbox.objects.exists()
    writer.commit()
    removing.result()
    assert rows() == [("card", card.pk, None, True)]


# A payload of one's own


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("topic", lambda: TopicFactory.create(name='"quoted" \\ 한\t\x01\x7f\u2028😀/', position=7)),
        ("question", lambda: QuestionFactory.create(choices=["a", 'b, "c"', "[]", "한"], source="s")),
        ("explanation", lambda: QuestionFactory.create(explanation="e\r\n\x0b\x0c\x08", explanation_status="ready")),
        ("card", lambda: MemoCardFactory.create(tags=["one", "두"])),
        ("card_progress", lambda: CardProgressFactory.create(due_at=None)),
    ],
)
def test_equal_content_has_an_equal_hash_on_both_paths_in_any_order_of_keys(
    kind: str, make: Callable[[], Any], drain: Drain
) -> None:
    """Row 15."""
    source = make()
    backfill_page(kind)
    row = PublishOutbox.objects.get(kind=kind, source_id=source.pk)
    shuffled = dict(reversed(row.payload.items()))
    enqueue_publish(kind=kind, source_id=source.pk, payload=shuffled, learner_id=row.learner_id)
    mine = PublishOutbox.objects.latest("id")
    assert bytes(mine.payload_hash) == bytes(row.payload_hash)
    assert texts()[-1] in texts()[:-1]
    drain()
    enqueue_publish(kind=kind, source_id=source.pk, payload=row.payload, learner_id=row.learner_id)
    assert drain().published == 0


@pytest.mark.django_db
def test_unknown_keys_come_after_the_known_ones_in_their_own_order() -> None:
    enqueue_publish(kind="topic", source_id=1, payload={"z": {"b": 1, "a": [None]}, "position": 1, "a": 2, "name": "n"})
    assert texts() == ['{"name" : "n", "position" : 1, "a" : 2, "z" : {"a":[null],"b":1}}']


@pytest.mark.django_db
def test_an_empty_payload_and_a_tombstone_are_the_same_text() -> None:
    enqueue_publish(kind="card", source_id=1, payload={})
    enqueue_publish(kind="card", source_id=1, payload={"ignored": 1}, deleted=True)
    assert texts() == ["{}", "{}"]
    assert [deleted for *_rest, deleted in rows()] == [False, True]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({"a": float("nan")}, "cannot be written as JSON"),
        ({"a": [float("inf")]}, "cannot be written as JSON"),
        ({"a": WHEN}, "cannot be written as JSON"),
        ({"a": "\ud800"}, "cannot be written as JSON"),
        ({"\udfff": 1}, "cannot be written as JSON"),
        ({"a": 1, 2: 3}, "cannot be written as JSON"),
        ({"a": "nul \0 here"}, "NUL"),
        ({"a\0": 1}, "NUL"),
        ({"a": {"b": ["\0"]}}, "NUL"),
        (["a"], "object"),
        (None, "object"),
        ({"a": "한" * 120_000}, "320 KiB"),
    ],
)
def test_what_the_feed_cannot_carry_is_refused_in_a_sentence(payload: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        enqueue_publish(kind="card", source_id=1, payload=payload)
    assert not PublishOutbox.objects.exists()


@pytest.mark.django_db
def test_a_payload_of_exactly_the_largest_size_is_taken() -> None:
    frame = len('{"front" : ""}')
    enqueue_publish(kind="card", source_id=1, payload={"front": "x" * (PAYLOAD_LIMIT_BYTES - frame)})
    assert len(texts()[0]) == PAYLOAD_LIMIT_BYTES
    with pytest.raises(ValueError, match="320 KiB"):
        enqueue_publish(kind="card", source_id=1, payload={"front": "x" * (PAYLOAD_LIMIT_BYTES - frame + 1)})


@pytest.mark.django_db
def test_a_payload_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UnknownKind):
        enqueue_publish(kind="deck", source_id=1, payload={})


@pytest.mark.django_db
def test_a_payload_for_one_learner_stays_theirs() -> None:
    learner = UserFactory.create()
    assert enqueue_publish(kind="card_progress", source_id=1, payload={"card_id": 1}, learner_id=learner.pk) == 1
    assert rows() == [("card_progress", 1, learner.pk, False)]


def test_the_catalogue_reads_only_columns_of_its_own_rows() -> None:
    """A join would make a row's lock protect less than what is published."""
    for kind in CATALOGUE.values():
        own = {field.attname for field in kind.model._meta.concrete_fields} | {"pk"}
        query = kind.model._base_manager.filter(kind.live).values(*[v for v in kind.fields.values() if v in own])
        assert "JOIN" not in str(query.query)


@pytest.mark.django_db
def test_enqueueing_is_one_statement_for_any_number_of_rows(django_assert_num_queries: Any) -> None:
    cards = MemoCardFactory.create_batch(30, topic=TopicFactory.create())
    with django_assert_num_queries(1):
        enqueue_card_publish(cards[0])
    with django_assert_num_queries(1):
        assert enqueue_card_publish(*cards) == 30
