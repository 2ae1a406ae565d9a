"""The learner's side of the REST API: who may, what comes back, and batches of answers made offline."""

import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.scheduling import Answer, Outcome, fold
from memocards.learning import progress, rating
from memocards.learning.learners import read_settings
from memocards.learning.rating import Rated, SentAnswer
from memocards.models import CardProgress, LearnerSettings, MemoCard, Review, Topic
from publish.models import PublishOutbox
from studyhub.api import api
from tests.factories import (
    CardProgressFactory,
    LearnerSettingsFactory,
    MemoCardFactory,
    ReviewFactory,
    SubscriberFactory,
    TopicFactory,
    UserFactory,
)
from tests.memocards.outbox import outbox, truth
from tests.memocards.waiting import wait_until_somebody_waits

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


CALLS = [
    Call("GET", "/study-cards/due"),
    Call("GET", "/study-cards/unseen"),
    Call("GET", "/study-cards/{card_id}"),
    Call(
        "POST",
        "/reviews",
        {
            "reviews": [
                {"card_id": 1, "review_id": str(uuid4()), "outcome": "good", "reviewed_at": "2031-05-01T10:00:00Z"}
            ]
        },
    ),
    Call("GET", "/stats"),
    Call("GET", "/settings"),
    Call("PATCH", "/settings", {"new_per_day": 5}),
]
each_call = pytest.mark.parametrize("call", CALLS, ids=str)


@pytest.fixture
def card(db: None) -> MemoCard:
    return MemoCardFactory.create(tags=["rivers"])


def logged_in(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def bearer(learner: User | None, **fields: Any) -> dict[str, str]:
    SubscriberFactory.create(token=(token := f"sh_{uuid4().hex}"), learner=learner, **fields)
    return {"Authorization": f"Bearer {token}"}


def send(client: Client, method: str, path: str, body: Any = None, **options: Any) -> Any:
    data = b"" if body is None else json.dumps(body)
    return client.generic(method, f"/api{path}", data, "application/json", **options)


def make(call: Call, client: Client, card: MemoCard, **options: Any) -> Any:
    return send(client, call.method, call.path.format(card_id=card.pk), call.body, **options)


def get(learner: User, path: str) -> Any:
    response = send(logged_in(learner), "GET", path)
    assert response.status_code == 200, response.content
    return response.json()


def problem(response: Any, status: int, slug: str, *fields: str) -> None:
    assert response["Content-Type"] == "application/problem+json", response.content
    body = response.json()
    assert (response.status_code, body["type"]) == (status, f"urn:studyhub:problem:{slug}")
    assert set(body.get("errors", {})) == set(fields)


# Who may


@each_call
def test_who_is_anonymous_is_asked_to_log_in(call: Call, card: MemoCard) -> None:
    problem(make(call, Client(enforce_csrf_checks=True), card), 401, "unauthorized")


@each_call
def test_a_session_may_and_a_forged_request_may_not_write(call: Call, card: MemoCard, learner: User) -> None:
    assert make(call, logged_in(learner), card).status_code == 200
    forged = make(call, logged_in(learner, enforce_csrf_checks=True), card)
    if call.method == "GET":
        assert forged.status_code == 200
    else:
        problem(forged, 403, "forbidden")


@each_call
def test_a_learners_token_may_and_others_may_not(call: Call, card: MemoCard, learner: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    assert make(call, strict, card, headers=bearer(learner)).status_code == 200
    for headers in (bearer(None), bearer(None, all_learners=True)):
        problem(make(call, strict, card, headers=headers), 403, "forbidden")
    revoked = bearer(learner, revoked_at=datetime(2031, 1, 1, tzinfo=UTC))
    problem(make(call, logged_in(learner), card, headers=revoked), 401, "unauthorized")


def test_nobody_sees_anothers_rows(card: MemoCard, learner: User) -> None:
    other = UserFactory.create()
    CardProgressFactory.create(learner=other, card=card, lapse_count=9, review_count=11, due_at=None)
    ReviewFactory.create(learner=other, card=card)
    LearnerSettingsFactory.create(learner=other, new_per_day=77)
    assert get(learner, f"/study-cards/{card.pk}")["progress"] is None
    assert get(learner, "/stats")["today"]["answered"] == 0
    assert get(learner, "/settings")["new_per_day"] == 20
    assert [entry["id"] for entry in get(learner, "/study-cards/unseen")["items"]] == [card.pk]


def test_each_operation_is_documented_with_its_errors_and_examples() -> None:
    schema = api.get_openapi_schema()
    operations = {
        f"{method.upper()} {path.removeprefix('/api')}": operation
        for path, by_method in schema["paths"].items()
        for method, operation in by_method.items()
        if operation["tags"] == ["learning"]
    }
    assert set(operations) == {str(call) for call in CALLS}
    for operation in operations.values():
        assert operation["summary"]
        assert operation["description"]
        assert {200, 401, 403, 503} <= set(operation["responses"])
        assert len(operation["security"]) == 2
    for name in ("QueueOut", "StudyCardDetailOut", "StatisticsOut", "SettingsOut", "ReviewIn"):
        assert "examples" in json.dumps(schema["components"]["schemas"][name])


# What to study


def test_the_queue_shows_cards_with_their_progress(card: MemoCard, learner: User) -> None:
    row = CardProgressFactory.create(
        learner=learner,
        last_outcome="again",
        last_reviewed_at=datetime(2025, 1, 1, tzinfo=UTC),
        due_at=datetime(2025, 1, 2, 4, tzinfo=UTC),
        review_count=9,
        lapse_count=8,
    )
    body = get(learner, "/study-cards/due")
    assert body["new_left"] == 20
    lapsed, new = body["items"]
    assert lapsed == {
        "id": row.card_id,
        "topic_id": row.topic_id,
        "question_id": None,
        "front": row.card.front,
        "back": row.card.back,
        "tags": [],
        "state": "lapsed",
        "is_leech": True,
        "progress": {
            "last_outcome": "again",
            "last_reviewed_at": "2025-01-01T00:00:00Z",
            "due_at": "2025-01-02T04:00:00Z",
            "review_stage": 0,
            "review_count": 9,
            "lapse_count": 8,
        },
    }
    assert (new["id"], new["state"], new["is_leech"], new["progress"]) == (card.pk, "new", False, None)
    assert [entry["id"] for entry in get(learner, "/study-cards/due?limit=1")["items"]] == [row.card_id]


@pytest.mark.parametrize("path", ["/study-cards/due", "/study-cards/unseen"])
@pytest.mark.parametrize("limit", ["0", "501", "-1", "x", ""])
def test_a_limit_out_of_range_is_refused(learner: User, path: str, limit: str) -> None:
    problem(send(logged_in(learner), "GET", f"{path}?limit={limit}"), 422, "invalid", "limit")


def test_unseen_cards_come_in_pages(learner: User) -> None:
    cards = [MemoCardFactory.create().pk for _ in range(4)]
    first = get(learner, "/study-cards/unseen?limit=3")
    assert [entry["id"] for entry in first["items"]] == cards[:3]
    rest = get(learner, f"/study-cards/unseen?limit=3&after_id={first['next_after_id']}")
    assert ([entry["id"] for entry in rest["items"]], rest["next_after_id"]) == (cards[3:], None)


def test_a_card_shows_what_each_answer_would_do(card: MemoCard, learner: User) -> None:
    body = get(learner, f"/study-cards/{card.pk}")
    assert body["topic"] == {"id": card.topic_id, "name": card.topic.name}
    assert (body["state"], body["tags"], body["progress"]) == ("new", ["rivers"], None)
    assert {outcome: step["days"] for outcome, step in body["next"].items()} == {
        "again": 1,
        "hard": 1,
        "good": 1,
        "easy": None,
    }
    assert body["next"]["easy"]["due_at"] is None


def test_a_card_that_may_not_be_studied_says_why(learner: User) -> None:
    client = logged_in(learner)
    deleted = MemoCardFactory.create(deleted_at=datetime(2024, 1, 1, tzinfo=UTC))
    waiting = MemoCardFactory.create(needs_review=True)
    problem(send(client, "GET", f"/study-cards/{deleted.pk}"), 410, "card-deleted")
    problem(send(client, "GET", f"/study-cards/{waiting.pk}"), 409, "card-waits-for-review")
    problem(send(client, "GET", "/study-cards/999999"), 404, "not-found")
    problem(send(client, "GET", "/study-cards/nothing"), 422, "invalid", "card_id")


def test_before_an_exam_no_answer_puts_a_card_off_beyond_it(learner: User) -> None:
    """The cap is the scheduler's: here it is seen from the outside."""
    exam = datetime.now(UTC).date() + 5 * DAY
    LearnerSettingsFactory.create(learner=learner, time_zone="UTC", rollover_hour=0)
    card = MemoCardFactory.create(topic=TopicFactory.create(scheduler="ladder", exam_date=exam))
    now = datetime.now(UTC)
    answers = [
        {"card_id": card.pk, "review_id": str(uuid4()), "outcome": "good", "reviewed_at": str(now - ago * DAY)}
        for ago in (30, 20, 10)
    ]
    assert send(logged_in(learner), "POST", "/reviews", {"reviews": answers}).status_code == 200
    steps = get(learner, f"/study-cards/{card.pk}")["next"]
    assert steps["good"]["days"] == 4
    assert steps["again"]["days"] == 1
    rated = send(
        logged_in(learner), "POST", f"/study-cards/{card.pk}/rate", {"review_id": str(uuid4()), "outcome": "good"}
    )
    assert rated.json()["due_at"] == steps["good"]["due_at"] == f"{exam - DAY}T00:00:00Z"


def test_statistics(card: MemoCard, learner: User) -> None:
    CardProgressFactory.create(learner=learner, card=card, due_at=datetime(2025, 1, 1, tzinfo=UTC))
    ReviewFactory.create(learner=learner, card=card, due_before=datetime(2025, 1, 1, tzinfo=UTC))
    body = get(learner, "/stats")
    day = body["today"].pop("day")
    assert body["today"] == {"answered": 1, "new": 1, "correct": 1}
    assert (body["streak"], body["heatmap"]) == (1, [{"day": day, "count": 1}])
    assert body["retention"]["last_30_days"] == {"answered": 1, "correct": 1, "share": 1.0}
    assert body["forecast"]["days"][0] == {"day": day, "count": 1}
    assert len(body["forecast"]["days"]) == 30


# Settings


def test_settings_are_the_defaults_until_they_are_changed(learner: User) -> None:
    body = get(learner, "/settings")
    day = body.pop("study_day")
    assert body == {"time_zone": "", "rollover_hour": None, "new_per_day": 20, "desired_retention": 0.9}
    assert (day["time_zone"], day["rollover_hour"]) == ("UTC", 4)
    assert not LearnerSettings.objects.exists()
    changed = send(logged_in(learner), "PATCH", "/settings", {"time_zone": "Asia/Seoul", "rollover_hour": 0}).json()
    day = changed.pop("study_day")
    assert changed == body | {"time_zone": "Asia/Seoul", "rollover_hour": 0}
    assert (day["time_zone"], day["rollover_hour"]) == ("Asia/Seoul", 0)
    back = send(logged_in(learner), "PATCH", "/settings", {"time_zone": "", "rollover_hour": None}).json()
    assert (back["time_zone"], back["rollover_hour"]) == ("", None)


def test_only_what_is_sent_is_changed(learner: User) -> None:
    LearnerSettingsFactory.create(learner=learner, new_per_day=7, desired_retention=0.8)
    body = send(logged_in(learner), "PATCH", "/settings", {"desired_retention": 0.95}).json()
    assert (body["new_per_day"], body["desired_retention"]) == (7, 0.95)
    assert send(logged_in(learner), "PATCH", "/settings", {}).json() == body


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time_zone", "Moon/Tranquility"),
        ("time_zone", "../../etc/passwd"),
        ("time_zone", "Asia"),
        ("time_zone", "A\0B"),
        ("time_zone", "x" * 65),
        ("rollover_hour", 24),
        ("rollover_hour", -1),
        ("rollover_hour", 4.5),
        ("new_per_day", -1),
        ("new_per_day", 10_000),
        ("desired_retention", 0.69),
        ("desired_retention", 1),
        ("time_zone", None),
        ("new_per_day", None),
        ("desired_retention", None),
        ("learner_id", 1),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_a_setting_that_cannot_be_accepted_is_named(learner: User, field: str, value: object) -> None:
    response = send(logged_in(learner), "PATCH", "/settings", {field: value})
    problem(response, 422, "invalid", field)
    assert response.json()["errors"][field][0].strip()
    assert not LearnerSettings.objects.exclude(new_per_day=20, desired_retention=0.9).exists()


# Batches


def item(card_id: int, reviewed_at: datetime, outcome: str = "good", **fields: Any) -> dict[str, Any]:
    return {
        "card_id": card_id,
        "review_id": str(uuid4()),
        "outcome": outcome,
        "reviewed_at": reviewed_at.isoformat(),
        **fields,
    }


def post(learner: User, *reviews: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    response = send(logged_in(learner), "POST", "/reviews", {"reviews": list(reviews), **more})
    assert response.status_code == 200, response.content
    results: list[dict[str, Any]] = response.json()["results"]
    assert [result["review_id"] for result in results] == [review["review_id"] for review in reviews]
    return results


def test_a_batch_is_stored_and_stored_once(card: MemoCard, learner: User) -> None:
    now = datetime.now(UTC)
    reviews = [item(card.pk, now - 3 * DAY), item(card.pk, now - DAY, duration_ms=900), item(card.pk, now - 5 * DAY)]
    first = post(learner, *reviews)
    assert [result["status"] for result in first] == ["stored"] * 3
    assert all(result["problem"] is None for result in first)
    before = list(Review.objects.values()), list(CardProgress.objects.values()), outbox()
    again = post(learner, *reviews)
    assert [result["status"] for result in again] == ["repeated"] * 3
    assert [result["result"] | {"repeated": False} for result in again] == [result["result"] for result in first]
    assert (list(Review.objects.values()), list(CardProgress.objects.values()), outbox()) == before
    assert (
        outbox()["card_progress", CardProgress.objects.get().pk]
        == truth()["card_progress", CardProgress.objects.get().pk]
    )


def test_a_refused_item_stops_none_of_the_others(card: MemoCard, learner: User) -> None:
    now = datetime.now(UTC)
    deleted = MemoCardFactory.create(deleted_at=now - 10 * DAY)
    waiting = MemoCardFactory.create(needs_review=True)
    taken = ReviewFactory.create(card=card)
    good = item(card.pk, now - DAY)
    results = post(
        learner,
        item(deleted.pk, now - DAY),
        item(waiting.pk, now - DAY),
        item(2**62, now - DAY),
        item(card.pk, now - DAY) | {"review_id": str(taken.pk)},
        item(card.pk, datetime(1999, 1, 1, tzinfo=UTC)),
        good | {"outcome": "good"},
        good | {"outcome": "easy"},
        good,
        item(deleted.pk, now - 11 * DAY),
    )
    assert [(result["status"], result["problem"] and result["problem"]["status"]) for result in results] == [
        ("refused", 410),
        ("refused", 409),
        ("refused", 404),
        ("refused", 409),
        ("refused", 422),
        ("stored", None),
        ("refused", 409),
        ("repeated", None),
        ("stored", None),
    ]
    assert results[4]["problem"]["errors"].keys() == {"reviewed_at"}
    assert results[7]["result"] == results[5]["result"] | {"repeated": True}
    assert results[8]["result"]["card_state"] == "deleted"
    assert {(row.learner_id, row.card_id) for row in Review.objects.exclude(pk=taken.pk)} == {
        (learner.pk, card.pk),
        (learner.pk, deleted.pk),
    }
    assert CardProgress.objects.filter(learner=learner).count() == 2


def test_one_offset_corrects_all_times_and_the_future_keeps_its_order(card: MemoCard, learner: User) -> None:
    """The device's clock is a day ahead; by it, the last three answers lie in the future even so."""
    sent = datetime.now(UTC)
    ahead = sent + DAY
    reviews = [
        item(card.pk, ahead - 2 * DAY, "good"),
        item(card.pk, ahead + DAY, "hard"),
        item(card.pk, ahead + 3 * DAY, "again"),
        item(card.pk, ahead + DAY, "easy"),
    ]
    results = [result["result"] for result in post(learner, *reviews, client_now=ahead.isoformat())]
    received = datetime.now(UTC)
    times = [Review.objects.get(pk=review["review_id"]).reviewed_at for review in reviews]
    assert sent - 2 * DAY <= times[0] <= received - 2 * DAY
    assert sent < times[1] < times[3] < times[2] <= received
    assert [result["clamped"] for result in results] == [False, True, True, True]
    assert CardProgress.objects.get().last_outcome == "again"
    again = [result["result"] for result in post(learner, *reviews, client_now=(ahead + DAY).isoformat())]
    assert again == [result | {"repeated": True} for result in results]


def test_an_answer_of_this_very_moment_is_not_called_clamped(card: MemoCard, learner: User) -> None:
    now = datetime.now(UTC) + 99 * DAY
    [result] = post(learner, item(card.pk, now), client_now=now.isoformat())
    assert result["result"]["clamped"] is False


@pytest.mark.parametrize("client_now", ["1999-12-31T23:59:59Z", "3000-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"])
@pytest.mark.django_db(transaction=True)
def test_a_device_whose_clock_cannot_be_right_is_told_so(learner: User, client_now: str) -> None:
    card = MemoCardFactory.create()
    body = {"reviews": [item(card.pk, datetime.now(UTC))], "client_now": client_now}
    problem(send(logged_in(learner), "POST", "/reviews", body), 422, "invalid", "client_now")
    assert not Review.objects.exists()


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"outcome": "perfect"}, "reviews.1.outcome"),
        ({"card_id": 0}, "reviews.1.card_id"),
        ({"review_id": "1"}, "reviews.1.review_id"),
        ({"reviewed_at": None}, "reviews.1.reviewed_at"),
        ({"reviewed_at": "2031-05-01T10:00:00"}, "reviews.1.reviewed_at"),
        ({"duration_ms": -1}, "reviews.1.duration_ms"),
        ({"client_now": "2031-05-01T10:00:00Z"}, "reviews.1.client_now"),
    ],
)
def test_an_item_that_cannot_be_read_is_named_by_its_place(
    card: MemoCard, learner: User, bad: dict[str, Any], field: str
) -> None:
    now = datetime.now(UTC)
    body = {"reviews": [item(card.pk, now), item(card.pk, now) | bad]}
    problem(send(logged_in(learner), "POST", "/reviews", body), 422, "invalid", field)
    assert not Review.objects.exists()


def test_a_batch_has_1_to_1000_items(card: MemoCard, learner: User) -> None:
    now = datetime.now(UTC)
    client = logged_in(learner)
    problem(send(client, "POST", "/reviews", {"reviews": []}), 422, "invalid", "reviews")
    many = [item(card.pk, now - timedelta(minutes=number)) for number in range(1001)]
    problem(send(client, "POST", "/reviews", {"reviews": many}), 422, "invalid", "reviews")
    assert {result["status"] for result in post(learner, *many[:1000])} == {"stored"}
    assert CardProgress.objects.get().review_count == 1000


def test_the_number_of_statements_does_not_depend_on_the_number_of_items(
    learner: User, django_assert_num_queries: Callable[[int], Any]
) -> None:
    now = datetime.now(UTC)
    LearnerSettingsFactory.create(learner=learner)
    cards = [MemoCardFactory.create().pk for _ in range(20)]

    def batch(*ago: int) -> list[SentAnswer]:
        return [SentAnswer(key, uuid4(), Outcome.GOOD, now - days * DAY) for key in cards for days in ago]

    # learner, known ids, cards, topics, progress, reviews, progress, outbox
    with django_assert_num_queries(8):
        rating.rate_cards(learner_id=learner.pk, answers=(sent := batch(9, 5)))
    with django_assert_num_queries(8):
        rating.rate_cards(learner_id=learner.pk, answers=batch(2))
    # What comes late is folded with what was there.
    with django_assert_num_queries(9):
        rating.rate_cards(learner_id=learner.pk, answers=batch(7))
    with django_assert_num_queries(8):
        rating.rate_card(learner_id=learner.pk, card_id=cards[0], review_id=uuid4(), outcome=Outcome.GOOD)
    with django_assert_num_queries(2):
        rating.rate_cards(learner_id=learner.pk, answers=sent)


# (card, minutes ago, outcome), in batches; what comes in one batch may lie before what came in another.
minutes = st.one_of(st.integers(0, 40 * 24 * 60), st.sampled_from([0, 1440, 2880, 14400]))
batches = st.lists(
    st.lists(
        st.tuples(st.integers(0, 2), minutes, st.sampled_from(list(Outcome))),
        min_size=1,
        max_size=6,
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=batches, scheduler=st.sampled_from(["ladder", "fsrs"]), settings_change=st.booleans())
def test_a_batch_leaves_what_its_answers_would_leave_one_by_one(
    batches: list[list[tuple[int, int, Outcome]]], scheduler: str, settings_change: bool
) -> None:
    now = datetime.now(UTC)
    with transaction.atomic():
        topic = TopicFactory.create(scheduler=scheduler)
        cards = [MemoCardFactory.create(topic=topic).pk for _ in range(3)]
        at_once, one_by_one = UserFactory.create(), UserFactory.create()
        for number, batch in enumerate(batches):
            # Ids that settle ties alike for both, and against the order in which the batches come.
            answers = [
                SentAnswer(cards[card], UUID(int=((9 - number) << 64) + place), outcome, now - timedelta(minutes=ago))
                for place, (card, ago, outcome) in enumerate(batch)
            ]
            results = rating.rate_cards(learner_id=at_once.pk, answers=answers)
            assert [result.review.pk for result in results if isinstance(result, Rated)] == [
                answer.review_id for answer in answers
            ]
            for answer in sorted(answers, key=lambda answer: answer.reviewed_at or now):
                rating.rate_card(
                    learner_id=one_by_one.pk,
                    card_id=answer.card_id,
                    review_id=UUID(int=answer.review_id.int + (1 << 100)),
                    outcome=answer.outcome,
                    reviewed_at=answer.reviewed_at,
                )
            if settings_change:
                LearnerSettings.objects.update(desired_retention=0.8, time_zone="Asia/Seoul")
                Topic.objects.update(scheduler="fsrs" if scheduler == "ladder" else "ladder")
        assert progress_of(at_once) == progress_of(one_by_one)
        assert outbox() == {key: payload for key, payload in truth().items() if key[0] == "card_progress"}
        for row in CardProgress.objects.filter(learner=at_once):
            assert progress.as_progress(row) == folded(row)
        transaction.set_rollback(True)


@pytest.mark.parametrize(("before", "after"), [("ladder", "fsrs"), ("fsrs", "ladder")])
def test_a_batch_in_order_is_folded_where_the_scheduler_has_changed(learner: User, before: str, after: str) -> None:
    card = MemoCardFactory.create(topic=TopicFactory.create(scheduler=before))
    now = datetime.now(UTC)
    post(learner, item(card.pk, now - 9 * DAY), item(card.pk, now - 5 * DAY))
    Topic.objects.update(scheduler=after)
    post(learner, item(card.pk, now - 2 * DAY), item(card.pk, now - DAY, "hard"))
    row = CardProgress.objects.get()
    assert row.fold_key.startswith(f"{after}/")
    assert progress.as_progress(row) == folded(row)
    assert row.review_count == 4


def progress_of(learner: User) -> list[dict[str, Any]]:
    rows = CardProgress.objects.filter(learner=learner).order_by("card_id").values()
    return [
        {name: value for name, value in row.items() if name not in {"id", "learner_id", "created_at", "updated_at"}}
        for row in rows
    ]


def folded(row: CardProgress) -> Any:
    learner = LearnerSettings.objects.get(learner_id=row.learner_id)
    scheduler = progress.scheduler_of(row.card.topic, learner)
    if row.fold_key != scheduler.fold_key:
        # Nothing came after the settings changed.
        return progress.as_progress(row)
    reviews = Review.objects.filter(learner_id=row.learner_id, card_id=row.card_id, undone_at=None)
    answers = [Answer(review.pk, Outcome(review.outcome), review.reviewed_at) for review in reviews]
    return fold(answers, scheduler, card_id=row.card_id)


@pytest.mark.django_db(transaction=True)
def test_two_devices_send_the_same_batch_at_once(in_thread: Callable[..., Future[Any]]) -> None:
    """The learner's lock makes the second wait; then everything is there already."""
    learner = UserFactory.create()
    LearnerSettingsFactory.create(learner=learner)
    now = datetime.now(UTC)
    answers = [SentAnswer(MemoCardFactory.create().pk, uuid4(), Outcome.GOOD, now - DAY) for _ in range(5)]

    def rate() -> list[rating.Result]:
        return rating.rate_cards(learner_id=learner.pk, answers=answers)

    with transaction.atomic():
        first = rate()
        second = in_thread(rate)
        wait_until_somebody_waits()
    repeated = second.result()
    assert [result.repeated for result in first if isinstance(result, Rated)] == [False] * 5
    assert [result.repeated for result in repeated if isinstance(result, Rated)] == [True] * 5
    assert Review.objects.count() == CardProgress.objects.count() == 5
    assert PublishOutbox.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_an_id_that_another_learner_uses_at_this_moment_is_refused_and_nothing_is_stored(
    in_thread: Callable[..., Future[Any]],
) -> None:
    card, one, other = MemoCardFactory.create(), UserFactory.create(), UserFactory.create()
    for learner in (one, other):
        LearnerSettingsFactory.create(learner=learner)
    review_id = uuid4()
    body = {"reviews": [item(card.pk, datetime.now(UTC) - DAY) | {"review_id": str(review_id)}]}
    client = logged_in(other)
    with transaction.atomic():
        rating.rate_card(learner_id=one.pk, card_id=card.pk, review_id=review_id, outcome=Outcome.EASY)
        response = in_thread(send, client, "POST", "/reviews", body)
        wait_until_somebody_waits()
    problem(response.result(), 409, "review-id-reused")
    assert Review.objects.get().learner_id == one.pk
    [result] = post(other, *body["reviews"])
    assert (result["status"], result["problem"]["status"]) == ("refused", 409)


@pytest.mark.django_db(transaction=True)
def test_settings_change_between_two_ratings_and_not_during_one(in_thread: Callable[..., Future[Any]]) -> None:
    card, learner = MemoCardFactory.create(), UserFactory.create()
    LearnerSettingsFactory.create(learner=learner)
    client = logged_in(learner)
    with transaction.atomic():
        rating.rate_card(learner_id=learner.pk, card_id=card.pk, review_id=uuid4(), outcome=Outcome.GOOD)
        change = in_thread(send, client, "PATCH", "/settings", {"time_zone": "Asia/Seoul"})
        wait_until_somebody_waits()
        assert read_settings(learner.pk).time_zone == ""
    assert change.result().status_code == 200
    assert read_settings(learner.pk).time_zone == "Asia/Seoul"
