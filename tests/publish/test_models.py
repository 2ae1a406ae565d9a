import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, DataError, IntegrityError, connection, transaction

from publish.models import PAYLOAD_LIMIT_BYTES, BackfillPosition, FeedState, PublishedItem, PublishOutbox, SetAside
from tests.factories import (
    CardProgressFactory,
    LearnerSettingsFactory,
    MemoCardFactory,
    PublishedItemFactory,
    PublishOutboxFactory,
    QuestionFactory,
    ReviewFactory,
    SubscriberFactory,
    TopicFactory,
    UserFactory,
)

DIGEST = hashlib.sha256(b"{}").digest()


def insert(**values: Any) -> None:
    """A raw insert into the outbox, past every model and service."""
    row = {
        "kind": "card",
        "source_id": 1,
        "payload": "{}",
        "payload_hash": DIGEST,
        "schema_version": 1,
        "deleted": False,
        **values,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO publish_outbox ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", list(row.values())
        )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"kind": "deck-1"}, "outbox_kind_form"),
        ({"kind": ""}, "outbox_kind_form"),
        ({"kind": "Card"}, "outbox_kind_form"),
        ({"payload": "[]"}, "outbox_payload_is_object"),
        ({"payload": "null"}, "outbox_payload_is_object"),
        ({"payload": '"text"'}, "outbox_payload_is_object"),
        ({"payload": "1"}, "outbox_payload_is_object"),
        ({"payload": '{"a":"' + "x" * 2**20 + '"}'}, "outbox_payload_size"),
        ({"payload": '{"a":"' + "한" * (PAYLOAD_LIMIT_BYTES // 3) + '"}'}, "outbox_payload_size"),
        ({"payload": r'{"a":"\u0000"}'}, "outbox_payload_decodable"),
        ({"payload": r'{"\u0000":1}'}, "outbox_payload_decodable"),
        ({"payload": r'{"a":"\\\u0000"}'}, "outbox_payload_decodable"),
        ({"payload": r'{"a":"\\\\\u0000"}'}, "outbox_payload_decodable"),
        ({"payload": r'{"a":"x\u0000"}'}, "outbox_payload_decodable"),
        ({"payload": r'{"a":"\n\u0000"}'}, "outbox_payload_decodable"),
        ({"payload": r'{"a":"\"\u0000"}'}, "outbox_payload_decodable"),
        ({"payload": r'{"a":"\u0041\u0000"}'}, "outbox_payload_decodable"),
        ({"payload": r'{"a":"\ud800"}'}, "outbox_payload_decodable"),
        ({"payload": r'{"a":"\uDFFF"}'}, "outbox_payload_decodable"),
        ({"payload": r'{"a":"\uDc00\ud800"}'}, "outbox_payload_decodable"),
        ({"payload": '{"a":\n1}'}, "outbox_payload_decodable"),
        ({"payload": '{"a":1}\r'}, "outbox_payload_decodable"),
        ({"payload_hash": b""}, "outbox_hash_is_sha256"),
        ({"payload_hash": DIGEST[:-1]}, "outbox_hash_is_sha256"),
        ({"payload_hash": DIGEST + b"\0"}, "outbox_hash_is_sha256"),
        ({"schema_version": 0}, "outbox_schema_version"),
    ],
)
def test_the_outbox_refuses_poison_from_raw_sql(values: dict[str, Any], constraint: str) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        insert(**values)


@pytest.mark.django_db
@pytest.mark.parametrize("payload", ["", "{", "{'a': 1}", '{"a":NaN}', '{"a":"\t"}'])
def test_the_outbox_refuses_what_is_not_json(payload: str) -> None:
    with pytest.raises(DataError):
        insert(payload=payload)


@pytest.mark.django_db
@pytest.mark.parametrize("missing", ["kind", "source_id", "payload", "payload_hash", "schema_version", "deleted"])
def test_the_outbox_refuses_a_row_with_a_hole(missing: str) -> None:
    with pytest.raises(IntegrityError, match=missing):
        insert(**{missing: None})


@pytest.mark.django_db
@pytest.mark.parametrize(
    "payload",
    [
        r'{"a":"\\u0000"}',
        r'{"a":"\\\\ud800"}',
        r'{"\\u0000":"text about \\\\u0000 and \\udfff"}',
        r'{"a":"\u0001\u001f\ue000\ud7ff"}',
        r'{"a":"\n\r\t\"\\"}',
        r'{"a":"u0000 ud800"}',
        '{"a":"한글 😀 \u2028"}',
        "{ }",
        '{"a":"' + "x" * (PAYLOAD_LIMIT_BYTES - len('{"a":""}')) + '"}',
    ],
)
def test_the_outbox_takes_whatever_a_consumer_can_read(payload: str) -> None:
    insert(payload=payload)
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload::text FROM publish_outbox")
        assert cursor.fetchone() == (payload,)


@pytest.mark.django_db
def test_a_payload_keeps_the_order_of_its_keys_and_is_read_as_python() -> None:
    insert(payload='{"z": 1, "a": {"y": null, "b": []}}')
    assert list(PublishOutbox.objects.get().payload) == ["z", "a"]
    assert PublishOutbox.objects.get().payload["a"] == {"y": None, "b": []}


@pytest.mark.django_db
def test_ids_and_moments_come_from_the_database() -> None:
    insert()
    insert()
    first, second = PublishOutbox.objects.order_by("id")
    assert second.pk > first.pk
    assert first.created_at is not None


REFUSED: list[tuple[str, Callable[[], Any]]] = [
    ("item_key_unique", lambda: [PublishedItemFactory.create(source_id=1) for _ in range(2)]),
    ("seq", lambda: [PublishedItemFactory.create(seq=1) for _ in range(2)]),
    ("item_seq_positive", lambda: PublishedItemFactory.create(seq=0)),
    ("feed_state_is_one_row", lambda: FeedState.objects.create(id=2, epoch="0" * 32, system_identifier=1)),
    ("publish_feed_state_pkey", lambda: FeedState.objects.create(id=1, epoch="0" * 32, system_identifier=1)),
    ("feed_state_floor_below_head", lambda: FeedState.objects.update(tombstone_floor=1)),
    ("feed_state_floor_below_head", lambda: FeedState.objects.update(tombstone_floor=-1)),
    ("publish_backfill_position_pkey", lambda: [BackfillPosition.objects.create(kind="card") for _ in range(2)]),
    ("set_aside_key_unique", lambda: [SetAside.objects.create(kind="card", source_id=1, outbox_id=n) for n in (1, 2)]),
    ("name", lambda: [SubscriberFactory.create(name="nas") for _ in range(2)]),
    ("token_prefix", lambda: [SubscriberFactory.create(token="sh_same_token") for _ in range(2)]),
    ("subscriber_name_not_blank", lambda: SubscriberFactory.create(name=" \t")),
    (
        "subscriber_one_learner_or_all",
        lambda: SubscriberFactory.create(learner=UserFactory.create(), all_learners=True),
    ),
    ("topic_name_unique_among_live", lambda: [TopicFactory.create(name="one") for _ in range(2)]),
    ("topic_name_not_blank", lambda: TopicFactory.create(name=" ")),
    ("topic_description_short", lambda: TopicFactory.create(description="x" * 20_001)),
    ("topic_scheduler_form", lambda: TopicFactory.create(scheduler="black magic")),
    ("learner_rollover_hour", lambda: LearnerSettingsFactory.create(rollover_hour=24)),
    ("learner_desired_retention", lambda: LearnerSettingsFactory.create(desired_retention=0.69)),
    ("learner_desired_retention", lambda: LearnerSettingsFactory.create(desired_retention=1.0)),
    ("learner_desired_retention", lambda: LearnerSettingsFactory.create(desired_retention=float("nan"))),
    ("question_stem_not_blank", lambda: QuestionFactory.create(stem="\n")),
    ("question_stem_short", lambda: QuestionFactory.create(stem="x" * 20_001)),
    ("question_explanation_short", lambda: QuestionFactory.create(explanation="x" * 20_001)),
    ("question_choices_two_to_ten", lambda: QuestionFactory.create(choices=["one"])),
    ("question_choices_two_to_ten", lambda: QuestionFactory.create(choices=["x"] * 11)),
    ("question_choices_two_to_ten|question_answer", lambda: QuestionFactory.create(choices=[])),
    ("question_choices_not_empty", lambda: QuestionFactory.create(choices=["one", ""])),
    ("question_choices_short", lambda: QuestionFactory.create(choices=["x" * 10_000, "y" * 10_001])),
    ("question_answer_is_a_choice", lambda: QuestionFactory.create(answer=0)),
    ("question_answer_is_a_choice", lambda: QuestionFactory.create(answer=3)),
    ("question_explanation_status_known", lambda: QuestionFactory.create(explanation_status="soon")),
    ("question_ready_explanation_has_text", lambda: QuestionFactory.create(explanation_status="ready")),
    (
        "question_external_id_unique",
        lambda: QuestionFactory.create_batch(2, topic=TopicFactory.create(), external_id="a"),
    ),
    ("card_external_id_unique", lambda: MemoCardFactory.create_batch(2, topic=TopicFactory.create(), external_id="a")),
    ("card_front_not_blank", lambda: MemoCardFactory.create(front="")),
    ("card_back_not_blank", lambda: MemoCardFactory.create(back="  ")),
    ("card_front_short", lambda: MemoCardFactory.create(front="x" * 20_001)),
    ("card_back_short", lambda: MemoCardFactory.create(back="x" * 20_001)),
    ("card_tags_at_most_50", lambda: MemoCardFactory.create(tags=["x"] * 51)),
    ("progress_outcome_known", lambda: CardProgressFactory.create(last_outcome="maybe"[:5])),
    ("progress_lapses_at_most_reviews", lambda: CardProgressFactory.create(review_count=1, lapse_count=2)),
    ("review_outcome_known", lambda: ReviewFactory.create(outcome="meh")),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("constraint", "write"), REFUSED, ids=[f"{n} {entry[0]}" for n, entry in enumerate(REFUSED)])
def test_a_constraint_refuses_what_it_should(constraint: str, write: Callable[[], Any]) -> None:
    with pytest.raises(DatabaseError, match=constraint), transaction.atomic():
        write()


@pytest.mark.django_db
def test_a_choice_may_not_be_null() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        QuestionFactory.create(choices=["one", None])


@pytest.mark.django_db
def test_a_learner_has_one_progress_row_a_card() -> None:
    row = CardProgressFactory.create()
    with pytest.raises(IntegrityError, match="progress_learner_card_unique"):
        CardProgressFactory.create(learner=row.learner, card=row.card)


@pytest.mark.django_db
def test_what_the_constraints_leave_open_is_welcome() -> None:
    """A deleted topic's name is free again; rows without an external id do not collide; ids are per topic."""
    topic = TopicFactory.create(name="one", deleted_at="2026-01-01T00:00Z")
    TopicFactory.create(name="one")
    QuestionFactory.create_batch(2, topic=topic, external_id="")
    MemoCardFactory.create(topic=topic, external_id="a")
    MemoCardFactory.create(external_id="a")
    PublishedItemFactory.create(kind="card", source_id=1)
    PublishedItemFactory.create(kind="topic", source_id=1)
    assert PublishedItem.objects.count() == 2


@pytest.mark.django_db
def test_rows_name_themselves() -> None:
    assert str(PublishOutboxFactory.create(source_id=5)).startswith("card 5 (outbox ")
    assert str(PublishedItemFactory.create(source_id=5, seq=9)) == "card 5 (seq 9)"
    assert str(FeedState.objects.get()).endswith(" at 0")
    assert str(BackfillPosition(kind="card", last_id=4)) == "card at 4"
