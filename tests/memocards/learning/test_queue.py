"""What a learner may study: the order of the queue, its limits, and that it costs the same among many learners."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.scheduling import Outcome, StudyClock
from memocards.errors import CardDeleted, NotFound, WaitsForReview
from memocards.learning import learners, leeches, progress, queue, rating, statistics
from memocards.learning import learners as study_settings
from memocards.learning.queue import StudyState
from memocards.models import CardProgress, LearnerSettings, MemoCard, Review
from tests.factories import (
    CardProgressFactory,
    LearnerSettingsFactory,
    MemoCardFactory,
    QuestionFactory,
    ReviewFactory,
    TopicFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2031, 5, 7, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def shown(learner: User, now: datetime = NOW, limit: int = 500) -> list[int]:
    today = queue.todays_queue(study_settings.read_settings(learner.pk), now=now, limit=limit)
    return [entry.card.pk for entry in today.cards]


def due(learner: User, ago: timedelta, outcome: str = "good", **card: Any) -> int:
    """A card that fell due so long ago."""
    row = CardProgressFactory.create(
        learner=learner,
        card=MemoCardFactory.create(**card),
        last_outcome=outcome,
        last_reviewed_at=NOW - ago - DAY,
        due_at=NOW - ago,
    )
    return row.card_id


def new(**card: Any) -> int:
    return MemoCardFactory.create(**card).pk


def answer(learner: User, card_id: int, at: datetime, **fields: Any) -> None:
    ReviewFactory.create(learner=learner, card=MemoCard.objects.get(pk=card_id), reviewed_at=at, **fields)


# Order


def test_lapsed_cards_come_first_then_those_due_the_longest_then_new_ones(learner: User) -> None:
    fresh = new()
    recent, old = due(learner, HOUR), due(learner, 5 * DAY)
    lapsed, lapsed_before = due(learner, HOUR, "again"), due(learner, DAY, "again")
    assert shown(learner) == [lapsed_before, lapsed, old, recent, fresh]


def test_a_tie_is_settled_by_the_card(learner: User) -> None:
    cards = [due(learner, HOUR) for _ in range(5)]
    assert shown(learner) == cards
    assert shown(learner, limit=2) == cards[:2]


def test_new_cards_come_in_the_order_of_their_topics(learner: User) -> None:
    second, first = TopicFactory.create(position=2), TopicFactory.create(position=1)
    cards = [new(topic=topic) for topic in (second, first, second, first)]
    assert shown(learner) == [cards[1], cards[3], cards[0], cards[2]]


def test_what_is_not_due_yet_and_sentinels_do_not_come(learner: User) -> None:
    due(learner, -timedelta(microseconds=1))
    CardProgressFactory.create(learner=learner, due_at=None)
    now = due(learner, timedelta(0))
    assert shown(learner) == [now]


def test_only_live_cards_come_and_they_come_back(learner: User) -> None:
    hidden = [
        due(learner, HOUR, deleted_at=NOW),
        due(learner, HOUR, needs_review=True),
        new(deleted_at=NOW),
        new(needs_review=True),
    ]
    assert shown(learner) == []
    MemoCard.objects.update(deleted_at=None, needs_review=False)
    assert shown(learner) == hidden


def test_another_learners_progress_is_no_matter(learner: User) -> None:
    card = due(UserFactory.create(), HOUR)
    [entry] = queue.todays_queue(study_settings.read_settings(learner.pk), now=NOW, limit=9).cards
    assert (entry.card.pk, entry.state, entry.progress) == (card, StudyState.NEW, None)


# New cards a day


def test_new_cards_stop_at_what_is_left_of_the_day(learner: User) -> None:
    LearnerSettingsFactory.create(learner=learner, new_per_day=3)
    cards = [new() for _ in range(5)]
    assert shown(learner) == cards[:3]
    begun = due(learner, -DAY)
    answer(learner, begun, NOW - HOUR)
    assert shown(learner) == cards[:2]
    assert shown(learner, now=NOW + DAY) == [begun, *cards[:3]]


def test_a_card_counts_as_new_once_and_not_after_it_was_taken_back(learner: User) -> None:
    LearnerSettingsFactory.create(learner=learner, new_per_day=1)
    card = new()
    old = due(learner, -DAY)
    answer(learner, old, NOW - 9 * DAY)
    answer(learner, old, NOW - HOUR)
    assert shown(learner) == [card]
    begun = due(learner, -DAY)
    answer(learner, begun, NOW - HOUR, undone_at=NOW)
    assert shown(learner) == [card]
    answer(learner, begun, NOW - HOUR)
    answer(learner, begun, NOW - HOUR / 2)
    assert shown(learner) == []


def test_due_cards_are_not_held_back_by_the_limit_of_new_ones(learner: User) -> None:
    LearnerSettingsFactory.create(learner=learner, new_per_day=0)
    new()
    cards = [due(learner, HOUR) for _ in range(30)]
    assert shown(learner) == cards


@pytest.mark.parametrize(
    ("zone", "now"),
    [
        # 04:00 on the wall, before and after clocks changed in the night, and in a zone half an hour off.
        ("Europe/Berlin", datetime(2031, 3, 30, 2, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2031, 10, 26, 3, tzinfo=UTC)),
        ("America/New_York", datetime(2031, 3, 9, 8, tzinfo=UTC)),
        ("Asia/Kolkata", datetime(2031, 3, 8, 22, 30, tzinfo=UTC)),
    ],
)
def test_the_day_of_new_cards_begins_at_the_rollover_on_the_learners_clock(
    learner: User, zone: str, now: datetime
) -> None:
    LearnerSettingsFactory.create(learner=learner, new_per_day=1, time_zone=zone, rollover_hour=4)
    card = new()
    begun = CardProgressFactory.create(learner=learner, due_at=None).card_id
    answer(learner, begun, now - timedelta(microseconds=1))
    assert shown(learner, now=now - timedelta(microseconds=1)) == []
    assert shown(learner, now=now) == [card]
    answer(learner, CardProgressFactory.create(learner=learner, due_at=None).card_id, now)
    assert shown(learner, now=now) == []


# Siblings


def test_of_the_cards_of_a_question_the_first_in_the_queue_is_shown(learner: User) -> None:
    question = QuestionFactory.create()
    new(question=question)
    due(learner, 2 * DAY, question=question)
    lapsed = due(learner, HOUR, "again", question=question)
    other = due(learner, HOUR)
    assert shown(learner) == [lapsed, other]


def test_new_siblings_come_one_at_a_time(learner: User) -> None:
    question = QuestionFactory.create()
    first, second = new(question=question), new(question=question)
    alone = [new(), new()]
    assert shown(learner) == [first, *alone]
    answer(learner, first, NOW - HOUR)
    CardProgressFactory.create(learner=learner, card=MemoCard.objects.get(pk=first), due_at=None)
    assert shown(learner) == alone
    assert shown(learner, now=NOW + DAY) == [second, *alone]


def test_a_sibling_of_a_card_answered_today_waits_until_tomorrow(learner: User) -> None:
    question = QuestionFactory.create()
    waiting = due(learner, DAY, question=question)
    done = due(learner, -5 * DAY, question=question)
    answer(learner, done, NOW - HOUR)
    assert shown(learner) == []
    assert shown(learner, now=NOW + DAY) == [waiting]
    Review.objects.update(undone_at=NOW)
    assert shown(learner) == [waiting]


def test_a_hidden_sibling_holds_nobody_back(learner: User) -> None:
    question = QuestionFactory.create()
    new(question=question, needs_review=True)
    due(learner, DAY, question=question, deleted_at=NOW)
    visible = new(question=question)
    assert shown(learner) == [visible]


def test_a_card_is_not_its_own_sibling(learner: User) -> None:
    """Due again on the day of its answer: the learner has moved to another time zone since."""
    card = due(learner, HOUR, question=QuestionFactory.create())
    answer(learner, card, NOW - 2 * HOUR)
    assert shown(learner) == [card]


# The whole rule, written twice

ZONES = ["UTC", "Asia/Seoul", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe"]
MOMENTS = [NOW, datetime(2031, 3, 30, 0, 59, tzinfo=UTC), datetime(2031, 10, 26, 1, 30, tzinfo=UTC)]

hours = st.integers(-60, 60)
cards_of_histories = st.fixed_dictionaries(
    {
        "question": st.sampled_from([None, None, 0, 1, 2]),
        "topic": st.integers(0, 1),
        "live": st.sampled_from([True, True, True, False]),
        "outcome": st.sampled_from(["again", "good"]),
        # None: never answered. Else hours until due; "known": a sentinel.
        "due": st.one_of(st.none(), st.none(), hours, st.just("known")),
        # Hours ago, and whether taken back.
        "answers": st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=3),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cards=st.lists(cards_of_histories, max_size=14),
    new_per_day=st.integers(0, 4),
    limit=st.integers(1, 12),
    zone=st.sampled_from(ZONES),
    rollover=st.sampled_from([0, 4, 23]),
    now=st.sampled_from(MOMENTS),
)
def test_the_queue_is_what_the_rules_say(
    cards: list[dict[str, Any]], new_per_day: int, limit: int, zone: str, rollover: int, now: datetime
) -> None:
    with transaction.atomic():
        learner = UserFactory.create()
        LearnerSettingsFactory.create(learner=learner, new_per_day=new_per_day, time_zone=zone, rollover_hour=rollover)
        topics = [TopicFactory.create(position=position) for position in (2, 1)]
        questions = [QuestionFactory.create(topic=topics[0]) for _ in range(3)]
        for spec in cards:
            spec["id"] = new(
                topic=topics[spec["topic"]],
                question=None if spec["question"] is None else questions[spec["question"]],
                needs_review=not spec["live"],
            )
            if spec["due"] is not None:
                CardProgressFactory.create(
                    learner=learner,
                    card=MemoCard.objects.get(pk=spec["id"]),
                    last_outcome=spec["outcome"],
                    due_at=None if spec["due"] == "known" else now + spec["due"] * HOUR,
                )
            else:
                # An answer that counts would have left progress.
                spec["answers"] = [(ago, True) for ago, _undone in spec["answers"]]
            for ago, undone in spec["answers"]:
                answer(learner, spec["id"], now - ago * HOUR, undone_at=now if undone else None)
        assert shown(learner, now, limit) == by_hand(cards, new_per_day, limit, StudyClock(zone, rollover), now)
        transaction.set_rollback(True)


def by_hand(cards: list[dict[str, Any]], new_per_day: int, limit: int, clock: StudyClock, now: datetime) -> list[int]:
    today = clock.study_day(now)

    def days(card: dict[str, Any]) -> list[date]:
        return [clock.study_day(now - ago * HOUR) for ago, undone in card["answers"] if not undone]

    new_left = new_per_day - sum(bool(days(card)) and min(days(card)) == today for card in cards)
    waiting = [card for card in cards if isinstance(card["due"], int) and card["due"] <= 0]
    waiting.sort(key=lambda card: (card["outcome"] != "again", card["due"], card["id"]))
    unseen = sorted((card for card in cards if card["due"] is None), key=lambda card: card["id"])
    taken: set[int] = set()
    chosen: list[int] = []
    fresh: list[tuple[int, int]] = []
    for card in [*waiting, *unseen]:
        siblings = [other for other in cards if other is not card and other["question"] == card["question"]]
        if not card["live"] or card["question"] in taken:
            continue
        if card["question"] is not None:
            if any(today in days(other) for other in siblings):
                continue
            taken.add(card["question"])
        if card["due"] is None:
            fresh.append((-card["topic"], card["id"]))
        else:
            chosen.append(card["id"])
    return (chosen + [key for _topic, key in sorted(fresh)[: max(0, new_left)]])[:limit]


# Unseen


def test_unseen_cards_are_listed_page_by_page(learner: User) -> None:
    seen = due(learner, -DAY)
    cards = [new() for _ in range(5)]
    new(needs_review=True)
    pages, after = [], 0
    while page := queue.unseen_cards(learner.pk, after_id=after, limit=2):
        pages.append([card.pk for card in page])
        after = page[-1].pk
    assert pages == [cards[:2], cards[2:4], cards[4:]]
    assert [card.pk for card in queue.unseen_cards(UserFactory.create().pk, after_id=0, limit=1)] == [seen]


def test_unseen_cards_of_one_topic(learner: User) -> None:
    topic = TopicFactory.create()
    new()
    card = new(topic=topic)
    unseen = queue.unseen_cards(learner.pk, after_id=0, limit=9, topic_id=topic.pk)
    assert [row.pk for row in unseen] == [card]


# One card


@pytest.mark.parametrize("scheduler", ["ladder", "fsrs"])
@pytest.mark.parametrize("history", [[], ["good"], ["easy"], ["good", "again", "good"], ["hard"] * 9])
def test_what_a_card_promises_is_what_a_rating_does(learner: User, scheduler: str, history: list[str]) -> None:
    card = MemoCardFactory.create(topic__scheduler=scheduler)
    now = datetime.now(UTC)
    for position, outcome in enumerate(history):
        rating.rate_card(
            learner_id=learner.pk,
            card_id=card.pk,
            review_id=ReviewFactory.build().pk,
            outcome=Outcome(outcome),
            reviewed_at=now - (len(history) - position) * 3 * DAY,
        )
    # Stored under settings of another time: the promise is that of the settings of now.
    LearnerSettings.objects.update_or_create(learner=learner, defaults={"time_zone": "Asia/Seoul"})
    settings_now = study_settings.read_settings(learner.pk)
    promised = queue.study_card(settings_now, card.pk, now=datetime.now(UTC)).next
    clock = learners.study_clock(settings_now)
    for outcome in Outcome:
        with transaction.atomic():
            rated = rating.rate_card(
                learner_id=learner.pk, card_id=card.pk, review_id=ReviewFactory.build().pk, outcome=outcome
            ).review
            transaction.set_rollback(True)
        days = rated.due_after and (clock.study_day(rated.due_after) - clock.study_day(rated.reviewed_at)).days
        assert (promised[outcome].due_at, promised[outcome].days) == (rated.due_after, days)


@pytest.mark.parametrize(
    ("due_at", "outcome", "state"),
    [
        (None, "good", "known"),
        (NOW + HOUR, "again", "later"),
        (NOW, "again", "lapsed"),
        (NOW, "good", "due"),
        (NOW - DAY, "easy", "due"),
    ],
)
def test_the_state_of_a_card(due_at: datetime | None, outcome: str, state: str) -> None:
    assert queue.study_state(CardProgress(due_at=due_at, last_outcome=outcome), NOW) == state
    assert queue.study_state(None, NOW) == "new"


def test_a_card_that_is_not_live_is_not_shown(learner: User) -> None:
    mine = study_settings.read_settings(learner.pk)
    for card_id, error in (
        (new(deleted_at=NOW), CardDeleted),
        (new(needs_review=True), WaitsForReview),
        (2**62, NotFound),
    ):
        with pytest.raises(error):
            queue.study_card(mine, card_id, now=NOW)


# Leeches


def test_a_leech_is_flagged_at_8_lapses_and_then_at_every_fourth() -> None:
    assert [lapses for lapses in range(25) if leeches.is_leech(lapses)] == [8, 12, 16, 20, 24]


def test_postgresql_flags_the_same_leeches(learner: User) -> None:
    for lapses in range(25):
        CardProgressFactory.create(learner=learner, lapse_count=lapses, review_count=lapses)
    flagged = CardProgress.objects.filter(leeches.FLAGGED).values_list("lapse_count", flat=True)
    assert sorted(flagged) == [lapses for lapses in range(25) if leeches.is_leech(lapses)]


@pytest.mark.parametrize(("choice", "lapses"), [("now", [8, 12]), ("ever", [8, 9, 12]), (None, [0, 7, 8, 9, 12])])
def test_the_list_of_cards_can_be_narrowed_to_leeches(choice: str | None, lapses: list[int]) -> None:
    by_lapses = {
        count: CardProgressFactory.create(lapse_count=count, review_count=20).card_id for count in (0, 7, 8, 9, 12)
    }
    # A card that is no leech to one of two learners.
    CardProgressFactory.create(card=MemoCard.objects.get(pk=by_lapses[8]))
    chosen = {} if choice is None else {"leech": [choice]}
    filtered = leeches.LeechFilter(None, chosen, MemoCard, None)  # type: ignore[arg-type]
    rows = filtered.queryset(None, MemoCard.objects.order_by("pk"))  # type: ignore[arg-type]
    assert [card.pk for card in rows] == [by_lapses[count] for count in lapses]


# Cost


def test_the_number_of_statements_does_not_depend_on_the_number_of_cards(
    learner: User, django_assert_num_queries: Callable[[int], Any]
) -> None:
    LearnerSettingsFactory.create(learner=learner)
    for _ in range(12):
        due(learner, HOUR)
        new()
    mine = study_settings.read_settings(learner.pk)
    with django_assert_num_queries(4):
        assert len(queue.todays_queue(mine, now=NOW, limit=100).cards) == 24
    with django_assert_num_queries(1):
        assert len(queue.unseen_cards(learner.pk, after_id=0, limit=100)) == 12
    card_id = CardProgress.objects.all()[0].card_id
    with django_assert_num_queries(3):  # folded under no key: its answers are read too
        queue.study_card(mine, card_id, now=NOW)


LEARNERS, CARDS = 2000, 500
# Of the one learner: all cards seen but the last 50, and four answers to each card seen.
OWN_PROGRESS, OWN_REVIEWS = CARDS - 50, 4 * (CARDS - 50)


@pytest.fixture
def crowd() -> User:
    """One learner among 2,000, with 1,000,000 progress rows and as many reviews between them."""
    topic = TopicFactory.create()
    question = QuestionFactory.create(topic=topic)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no look-up of every foreign key
        cursor.execute(
            "INSERT INTO auth_user (id, username, password, first_name, last_name, email, is_staff, is_superuser,"
            " is_active, date_joined) SELECT n, 'crowd' || n, '', '', '', '', false, false, true, now()"
            " FROM generate_series(1000001, 1000000 + %s) AS n",
            [LEARNERS],
        )
        cursor.execute(
            "INSERT INTO memocards_memocard (id, topic_id, question_id, front, back, tags, external_id, needs_review,"
            " updated_at) SELECT n, %s, CASE WHEN n %% 50 = 0 THEN %s::bigint END, 'Front', 'Back', '{}', '', false,"
            " now() FROM generate_series(1000001, 1000000 + %s) AS n",
            [topic.pk, question.pk, CARDS],
        )
        cursor.execute(
            "INSERT INTO memocards_cardprogress (learner_id, card_id, topic_id, last_outcome, last_reviewed_at, due_at,"
            " review_stage, review_count, lapse_count, scheduler_state, fold_key, updated_at)"
            " SELECT 1000000 + l, 1000000 + c, %s, 'good', %s, %s - (c %% 60 - 30) * interval '1 day', 1, 1, 0, '{}',"
            " '', now() FROM generate_series(1, %s) AS l, generate_series(1, %s) AS c WHERE l > 1 OR c <= %s",
            [topic.pk, NOW - DAY, NOW, LEARNERS, CARDS, OWN_PROGRESS],
        )
        cursor.execute(
            "INSERT INTO memocards_review (id, learner_id, card_id, outcome, reviewed_at, stage_after, due_before)"
            " SELECT gen_random_uuid(), 1000000 + l, 1000000 + c, 'good', %s - (c + r) * interval '1 hour', 1, %s"
            " FROM generate_series(1, %s) AS l, generate_series(1, %s) AS c, generate_series(1, 4) AS r"
            " WHERE (l = 1 AND c <= %s) OR (l > 1 AND r = 1)",
            [NOW, NOW - 90 * DAY, LEARNERS, CARDS, OWN_PROGRESS],
        )
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
        cursor.execute("ANALYZE memocards_cardprogress, memocards_review, memocards_memocard")
    return User.objects.get(pk=1000001)


@pytest.mark.slow
def test_a_learner_pays_for_their_own_rows_and_for_nobody_elses(crowd: User) -> None:
    """By the plans as they were carried out: which rows each of them touched."""
    mine = LearnerSettings(learner_id=crowd.pk, new_per_day=100)
    with CaptureQueriesContext(connection) as context:
        today = queue.todays_queue(mine, now=NOW, limit=500)
        assert {entry.state for entry in today.cards} == {StudyState.DUE, StudyState.NEW}
        queue.unseen_cards(crowd.pk, after_id=0, limit=100)
        queue.study_card(mine, today.cards[0].card.pk, now=NOW)
        assert statistics.statistics_of(mine, now=NOW).streak > 10
        list(progress.answers_by_card(crowd.pk, [entry.card.pk for entry in today.cards]))
    own = {"memocards_cardprogress": OWN_PROGRESS, "memocards_review": OWN_REVIEWS}
    looked_at = 0
    for query in context.captured_queries:
        for node in nodes(plan_of(query["sql"])):
            rows = own.get(node.get("Relation Name", ""))
            if rows is None:
                continue
            looked_at += 1
            assert node["Node Type"] != "Seq Scan", query["sql"]
            touched = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            # The siblings' rule looks at today's answers once more for each card.
            assert touched <= 3 * rows, (touched, node, query["sql"])
    assert looked_at > 10


def plan_of(sql: str) -> dict[str, Any]:
    # A statement that is read in pieces is captured with its cursor.
    _declaration, separator, body = sql.partition(" CURSOR FOR ")
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + (body if separator else sql))
        plan: dict[str, Any] = cursor.fetchone()[0][0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes(part))]
