"""What the lists do with any number of rows, what they ask before, and the columns that come from other tables."""

from collections.abc import Callable
from concurrent.futures import Future
from itertools import pairwise
from threading import Event
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from memocards.admin.lists import soft_deletion
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.questions import questions
from memocards.content.versions import versions_of
from memocards.errors import Conflict, Invalid
from memocards.models import CardProgress, MemoCard, Question
from publish import relay
from publish.models import PublishOutbox, SetAside, Subscriber
from studyhub.database_sessions import brief_lock_waits
from tests.factories import (
    CardProgressFactory,
    MemoCardFactory,
    QuestionFactory,
    SubscriberFactory,
    TopicFactory,
    UserFactory,
)
from tests.memocards.admin.test_content import Form, act, as_shown, list_of, page_of, token, touches
from tests.memocards.editors import reviewer
from tests.memocards.noted import noted
from tests.memocards.outbox import outbox, truth

pytestmark = pytest.mark.django_db
own_transactions = pytest.mark.django_db(transaction=True)


def asked(client: Client, model: Any, action: str, *rows: Any, query: str = "?state=live") -> str:
    """The page that the list's own form leads to."""
    data = {"action": action, "ask": "1", "read": as_shown(*rows), "_selected_action": [row.pk for row in rows]}
    html: str = client.post(list_of(model) + query, data).content.decode()
    return html


def answered(client: Client, model: Any, html: str, *rows: Any, query: str = "?state=live", **values: str) -> Any:
    """What a browser sends from that page."""
    data: dict[str, Any] = Form(html).data
    keys = [str(row.pk) for row in rows] or [data["_selected_action"]]
    for key in keys:
        assert f'name="_selected_action" value="{key}"' in html
    return client.post(list_of(model) + query, data | {"_selected_action": keys} | values)


# What is asked first


def test_the_list_itself_asks(admin_client: Client) -> None:
    MemoCardFactory.create(needs_review=True)
    assert '<input type="hidden" name="ask" value="1"' in admin_client.get(list_of(MemoCard)).content.decode()


@pytest.mark.parametrize(
    ("action", "question", "sentences"),
    [
        ("approve", "Approve 6 rows?", ["show 3 more rows", "1 of them was sent back", "For 3 rows nothing changes"]),
        ("unapprove", "Un-approve 6 rows?", ["drop 2 rows", "keep their progress", "For 4 rows nothing changes"]),
        ("delete_selected", "Delete 6 rows?", ["drop 2 rows", "can be restored"]),
        ("restore", "Restore 6 rows?", ["show 1 row again"]),
        ("move", "Move 6 rows to which topic?", ["show up to 2 rows under the new topic", "moves along: 1 row."]),
        ("tag", "Change the tags of 6 cards?", ["show up to 2 cards with their new tags"]),
    ],
)
def test_an_action_says_what_viewers_will_see_change(
    admin_client: Client, action: str, question: str, sentences: list[str]
) -> None:
    now = timezone.now()
    rows = [
        *MemoCardFactory.create_batch(2, needs_review=True),
        MemoCardFactory.create(needs_review=True, sent_back_at=now),
        *MemoCardFactory.create_batch(2),
        MemoCardFactory.create(deleted_at=now),
    ]
    CardProgressFactory.create(card=rows[3])
    before = list(MemoCard.objects.order_by("pk").values())
    chosen = [row.pk for row in rows]
    data = {"action": action, "ask": "1", "read": as_shown(*rows), "_selected_action": chosen, "select_across": "0"}
    # The list shows what is deleted or what is not; a choice across both comes from none of its pages.
    with pytest.MonkeyPatch.context() as patched:
        from memocards.admin.lists.filters import ReviewStateFilter

        patched.setattr(ReviewStateFilter, "queryset", lambda self, request, queryset: queryset)
        html = admin_client.post(list_of(MemoCard), data).content.decode()
    for text in (question, *sentences):
        assert text in html
    assert list(MemoCard.objects.order_by("pk").values()) == before
    assert touches() == []


def test_what_viewers_never_saw_changes_nothing_for_them(admin_client: Client) -> None:
    card = MemoCardFactory.create(needs_review=True)
    for action in ("unapprove", "delete_selected", "move", "tag"):
        html = asked(admin_client, MemoCard, action, card)
        assert ("Viewers see no change." in html) != (action == "delete_selected")
        assert "Viewers will" not in html


def test_an_answer_carries_the_action_out(admin_client: Client) -> None:
    card = MemoCardFactory.create(needs_review=True)
    html = asked(admin_client, MemoCard, "approve", card)
    assert MemoCard.objects.get().needs_review
    answered(admin_client, MemoCard, html)
    assert not MemoCard.objects.get().needs_review


def test_an_answer_to_fewer_rows_than_there_are_now_is_asked_anew(admin_client: Client) -> None:
    first = MemoCardFactory.create(needs_review=True)
    data = {"action": "approve", "ask": "1", "_selected_action": [first.pk], "select_across": "1"}
    html = admin_client.post(list_of(MemoCard), data).content.decode()
    MemoCardFactory.create(needs_review=True)
    again = answered(admin_client, MemoCard, html, query="").content.decode()
    assert "Approve 2 rows?" in again
    assert MemoCard.objects.filter(needs_review=True).count() == 2


# Moving and tagging


def test_cards_move_with_the_progress_of_their_learners(admin_client: Client) -> None:
    target = TopicFactory.create(name="Biology")
    moved, waiting, there = (
        MemoCardFactory.create(),
        MemoCardFactory.create(needs_review=True),
        MemoCardFactory.create(topic=target),
    )
    progress = CardProgressFactory.create(card=moved)
    html = asked(admin_client, MemoCard, "move", moved, waiting, there)
    answered(admin_client, MemoCard, html, moved, waiting, there, topic=str(target.pk))
    assert set(MemoCard.objects.values_list("topic", flat=True)) == {target.pk}
    assert CardProgress.objects.get().topic == target
    assert touches() == [
        ("card", moved.pk, False),
        ("card", waiting.pk, True),
        ("card_progress", progress.pk, False),
    ]
    assert outbox() == {key: truth()[key] for key in outbox()}
    assert noted().count("Moved to “Biology”.") == 2


def test_a_move_wants_a_topic_that_is_not_deleted(admin_client: Client) -> None:
    card, gone = MemoCardFactory.create(), TopicFactory.create(deleted_at=timezone.now())
    html = asked(admin_client, MemoCard, "move", card)
    assert "This field is required." in answered(admin_client, MemoCard, html, topic="").content.decode()
    refused = answered(admin_client, MemoCard, html, topic=str(gone.pk)).content.decode()
    assert "not one of the available choices" in refused
    assert touches() == []


@own_transactions
def test_a_move_onto_the_same_external_id_moves_nothing(admin_client: Client) -> None:
    target = TopicFactory.create()
    MemoCardFactory.create(topic=target, external_id="1")
    clash, free = MemoCardFactory.create(external_id="1"), MemoCardFactory.create()
    with pytest.raises(Conflict, match="external id"):
        cards.move(keys=[clash.pk, free.pk], topic_id=target.pk, editor=SYSTEM)
    QuestionFactory.create(topic=target, external_id="1")
    with pytest.raises(Conflict, match="external id"):
        questions.move(keys=[QuestionFactory.create(external_id="1").pk], topic_id=target.pk, editor=SYSTEM)
    assert MemoCard.objects.filter(topic=target).count() == 1
    assert touches() == []


def test_questions_move_and_their_cards_stay(admin_client: Client) -> None:
    question, target = QuestionFactory.create(), TopicFactory.create()
    card = MemoCardFactory.create(question=question, topic=question.topic)
    html = asked(admin_client, Question, "move", question)
    assert "1 card of theirs stays where it is." in html
    answered(admin_client, Question, html, topic=str(target.pk))
    assert Question.objects.get().topic == target
    assert MemoCard.objects.get().topic == card.topic
    assert touches() == [("explanation", question.pk, True), ("question", question.pk, False)]


def test_tags_are_added_behind_and_taken_away(admin_client: Client) -> None:
    some = MemoCardFactory.create(tags=["b", "old"])
    none, same = MemoCardFactory.create(), MemoCardFactory.create(tags=["b", "a, c", "역사"])
    html = asked(admin_client, MemoCard, "tag", some, none, same)
    answered(admin_client, MemoCard, html, some, none, same, add="b\r\na, c\r\n역사\r\nb", remove="old\r\nunknown")
    tags = dict(MemoCard.objects.values_list("pk", "tags"))
    assert tags == {some.pk: ["b", "a, c", "역사"], none.pk: ["b", "a, c", "역사"], same.pk: ["b", "a, c", "역사"]}
    assert touches() == [("card", some.pk, False), ("card", none.pk, False)]
    html = asked(admin_client, MemoCard, "tag", some)
    assert "Name a tag at least." in answered(admin_client, MemoCard, html).content.decode()


@own_transactions
def test_tags_are_checked() -> None:
    card = MemoCardFactory.create(tags=[str(number) for number in range(49)])
    for add in ([" "], ["x" * 101], ["\0"], ["a", "b"]):
        with pytest.raises(Invalid):
            cards.tag(keys=[card.pk], add=add, editor=SYSTEM)
    assert cards.tag(keys=[card.pk], editor=SYSTEM) == []
    assert cards.tag(keys=[card.pk], remove=["7"], editor=SYSTEM) == [card.pk]
    card.refresh_from_db()
    assert "7" not in card.tags


@pytest.mark.parametrize(
    ("action", "asked_with", "statements"), [("move", "topic", 17), ("tag", "add", 12), ("unapprove", "", 12)]
)
def test_an_action_costs_the_same_for_5_and_for_500_cards(
    admin_client: Client, action: str, asked_with: str, statements: int
) -> None:
    target, learner = TopicFactory.create(), UserFactory.create()
    value = {"topic": str(target.pk), "add": "new"}.get(asked_with, "")
    # Whatever is looked up once a process is looked up here.
    card = MemoCardFactory.create()
    act(admin_client, MemoCard, action, card, query="?state=live", confirmed=token(card), **{asked_with: value})
    MemoCard.objects.all().delete()
    counted = []
    for count in (5, 500):
        PublishOutbox.objects.all().delete()
        rows = MemoCardFactory.create_batch(count, topic=TopicFactory.create())
        if action == "move":
            for row in rows:
                CardProgressFactory.create(card=row, learner=learner)
        topic, yes = f"?state=live&topic__id__exact={rows[0].topic_id}", token(*rows)
        with CaptureQueriesContext(connection) as queries:
            sentences = act(
                admin_client,
                MemoCard,
                action,
                rows[0],
                query=topic,
                select_across="1",
                confirmed=yes,
                **{asked_with: value},
            )
        assert f"{count} of {count} rows." in sentences[-1]
        assert len([touch for touch in touches() if touch[0] == "card"]) == count
        assert not CardProgress.objects.exclude(topic=F("card__topic")).exists()
        counted.append(len(queries))
    assert counted == [statements, statements]


# Columns


def test_a_list_says_how_each_row_stands_in_the_feed(admin_client: Client) -> None:
    never, waiting, published, dropped, changed = MemoCardFactory.create_batch(5)
    for card in (published, dropped, changed):
        cards.update(key=card.pk, changes={"back": "b"}, editor=SYSTEM)
    relay.relay_batch()
    cards.unapprove(keys=[dropped.pk], editor=SYSTEM)
    relay.relay_batch()
    cards.update(key=waiting.pk, changes={"back": "b"}, editor=SYSTEM)
    cards.update(key=changed.pk, changes={"back": "c"}, editor=SYSTEM)
    response = admin_client.get(list_of(MemoCard) + "?state=live")
    rows = {row.pk: row for row in response.context["cl"].result_list}
    shown = {key: str(row.published.shown()) for key, row in rows.items()}
    assert "not published" in shown[never.pk]
    assert "pending" not in shown[never.pk]
    assert ">pending</span>, not published" in shown[waiting.pk]
    assert 'class="published-published">published ' in shown[published.pk]
    assert "tombstone" in shown[dropped.pk]
    assert ">pending</span>, published " in shown[changed.pk]
    html = response.content.decode()
    assert html.count(">pending</span>") == 2
    assert "published" in admin_client.get(page_of(published)).content.decode()


def test_columns_of_other_tables_are_one_statement_each(admin_client: Client) -> None:
    admin_client.get(list_of(MemoCard) + "?state=live")

    def statements() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(list_of(MemoCard) + "?state=live")
        return [query["sql"] for query in queries]

    MemoCardFactory.create()
    before = len(statements())
    for question in QuestionFactory.create_batch(10):
        card = MemoCardFactory.create(topic=question.topic, question=question)
        CardProgressFactory.create(card=card, lapse_count=8, review_count=9)
    after = statements()
    assert len(after) == before
    assert len([sql for sql in after if "publish_item" in sql]) == 1
    assert len([sql for sql in after if "publish_outbox" in sql]) == 1


def test_leeches_explanations_and_approvals_have_columns(admin_client: Client, admin_user: User) -> None:
    question = QuestionFactory.create(explanation_status="failed")
    leech, plain = MemoCardFactory.create(question=question, needs_review=True), MemoCardFactory.create()
    for lapses in (8, 13):
        CardProgressFactory.create(card=leech, lapse_count=lapses, review_count=20)
    cards.approve(versions=versions_of(MemoCard, [leech.pk]), editor=reviewer(admin_user.pk))
    html = admin_client.get(list_of(MemoCard) + "?state=live").content.decode()
    assert '<span class="leech">2 learners</span>, up to 13 lapses' in html
    assert '<td class="field-explanation_state">Failed</td>' in html
    assert f">{admin_user.username}, " in html
    only = admin_client.get(list_of(MemoCard) + "?state=live&leech=ever").context["cl"].result_list
    assert list(only) == [leech]
    assert list(admin_client.get(list_of(MemoCard) + "?state=live&leech=now").context["cl"].result_list) == [leech]
    assert plain.pk != leech.pk


def test_a_card_knows_its_author_and_lists_are_filtered_by_it(admin_client: Client, admin_user: User) -> None:
    topic = TopicFactory.create()
    admin_client.post(
        "/admin/memocards/memocard/add/", {"topic": topic.pk, "front": "a", "back": "b", "source": "Book"}
    )
    MemoCardFactory.create(needs_review=True)
    card = MemoCard.objects.get(source="Book")
    assert card.author == admin_user
    listed = admin_client.get(list_of(MemoCard), {"author__id__exact": admin_user.pk}).context["cl"].result_list
    assert list(listed) == [card]
    # An action keeps to the filter that its list was opened with.
    act(admin_client, MemoCard, "approve", card, query=f"?author__id__exact={admin_user.pk}", select_across="1")
    assert MemoCard.objects.filter(needs_review=True).count() == 1


# History


def test_the_history_says_who_approved_what_and_when(admin_client: Client, admin_user: User) -> None:
    card, question = MemoCardFactory.create(needs_review=True), QuestionFactory.create(needs_review=True)
    act(admin_client, MemoCard, "approve", card)
    act(admin_client, Question, "approve", question)
    question.refresh_from_db()
    assert question.reviewed_by == admin_user
    assert question.reviewed_at is not None
    history = admin_client.get("/admin/admin/logentry/", {"q": "Approved", "content": "memocard"})
    (entry,) = history.context["cl"].result_list
    assert (entry.user, entry.object_id) == (admin_user, str(card.pk))
    html = history.content.decode()
    assert page_of(card) in html
    assert "Approved." in html
    assert "Approved." in admin_client.get(page_of(card).replace("change", "history")).content.decode()


# Explanations


@pytest.mark.django_db(transaction=True)
def test_explanations_are_asked_for_or_the_list_says_what_is_missing(admin_client: Client, settings: Any) -> None:
    question = QuestionFactory.create()
    settings.LLM_BASE_URL = ""
    (sentence,) = act(admin_client, Question, "explain", question, query="?state=live")
    assert "No language model is set up." in sentence
    settings.LLM_BASE_URL = "http://localhost:9/v1"
    messages = act(admin_client, Question, "explain", question, query="?state=live")
    assert messages[-1] == "Explanation asked for. 1 of 1 row."
    question.refresh_from_db()
    assert question.explanation_status == "pending"


# Publishing


def test_what_was_set_aside_is_published_as_it_is_now(admin_client: Client) -> None:
    card = MemoCardFactory.create(front="mended")
    rows = [
        SetAside.objects.create(kind="card", source_id=key, outbox_id=1, error="unreadable") for key in (card.pk, 10**6)
    ]
    assert act(admin_client, SetAside, "requeue", *rows) == ["2 rows wait for the relay again."]
    assert not SetAside.objects.exists()
    assert touches() == [("card", card.pk, False), ("card", 10**6, True)]


def test_subscribers_show_their_lag_and_whether_they_must_start_over(admin_client: Client) -> None:
    relay.lock_feed()
    connection.cursor().execute("UPDATE publish_feed_state SET last_seq = 50, tombstone_floor = 20")
    now = timezone.now()
    SubscriberFactory.create(name="b", last_seq=45, last_seen_at=now)
    SubscriberFactory.create(name="a", last_seq=5, last_seen_at=now)
    SubscriberFactory.create(name="c")
    response = admin_client.get(list_of(Subscriber) + "?o=5")
    html = response.content.decode()
    cells = [html.split(f'class="field-{name}">')[1:] for name in ("lag", "must_start_over", "last_seen")]
    assert [cell.split("<")[0] for cell in cells[0]] == ["5", "45", "50"]
    assert [cell.split("<")[0] for cell in cells[1]] == ["–", "yes", "–"]
    assert cells[2][2].startswith("never")
    subscriber = Subscriber.objects.get(name="a")
    assert "45" in admin_client.get(page_of(subscriber)).content.decode()


# How many rows are locked at once


@own_transactions
def test_many_rows_are_done_in_several_transactions(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_deletion, "LOCKED_AT_ONCE", 2)
    rows = MemoCardFactory.create_batch(5, needs_review=True)
    PublishOutbox.objects.all().delete()
    with CaptureQueriesContext(connection) as statements:
        page = act(admin_client, MemoCard, "approve", *rows)
    assert "Approved. 5 of 5 rows." in page
    taken = [query["sql"] for query in statements if query["sql"].startswith('UPDATE "memocards_memocard"')]
    assert len(taken) == 3
    # Each with its commit: what is locked at a time is no more than that.
    commits = [place for place, query in enumerate(statements.captured_queries) if query["sql"] == "COMMIT"]
    updates = [place for place, query in enumerate(statements.captured_queries) if query["sql"] in taken]
    assert all(any(first < commit < second for commit in commits) for first, second in pairwise(updates))
    assert not MemoCard.objects.filter(needs_review=True).exists()
    assert PublishOutbox.objects.count() == LogEntry.objects.count() == 5


@own_transactions
def test_what_was_done_before_a_refusal_is_told(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_deletion, "LOCKED_AT_ONCE", 2)
    target = TopicFactory.create()
    MemoCardFactory.create(topic=target, external_id="1")
    rows = [*MemoCardFactory.create_batch(2), MemoCardFactory.create(external_id="1")]
    html = asked(admin_client, MemoCard, "move", *rows)
    answered(admin_client, MemoCard, html, *rows, topic=str(target.pk))
    page = admin_client.get(list_of(MemoCard)).content.decode()
    assert "external id" in page
    assert "2 of 3 rows." in page
    assert MemoCard.objects.filter(topic=target).count() == 3
    assert LogEntry.objects.count() == 2


@own_transactions
def test_what_was_done_before_a_row_that_somebody_holds_is_told(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, in_thread: Callable[..., Future[None]]
) -> None:
    monkeypatch.setattr(soft_deletion, "LOCKED_AT_ONCE", 2)
    *rest, held = rows = MemoCardFactory.create_batch(3, needs_review=True)
    is_held, done = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            MemoCard.objects.select_for_update().get(pk=held.pk)
            is_held.set()
            done.wait(30)

    holding = in_thread(hold)
    assert is_held.wait(30)
    try:
        with brief_lock_waits():
            page = act(admin_client, MemoCard, "approve", *rows)
            # Of the first rows nothing was done: then that is what is said.
            with pytest.raises(OperationalError):
                act(admin_client, MemoCard, "approve", held)
    finally:
        done.set()
        holding.result()
    assert "Approved. 2 of 3 rows." in page
    assert "The others were left as they were, because the database could not change them just now. Try again." in page
    assert not MemoCard.objects.filter(needs_review=True).exclude(pk=held.pk).exists()
    assert LogEntry.objects.count() == len(rest)


@pytest.mark.django_db
def test_what_is_approved_in_the_list_can_be_read_before_the_yes(admin_client: Client) -> None:
    card = MemoCardFactory.create(front="Capital of Peru?", back="Lima <b>\n\nsince 1535", needs_review=True)
    html = asked(admin_client, MemoCard, "approve", card)
    assert "Lima &lt;b&gt;\n\nsince 1535" in html
    question = QuestionFactory.create(
        stem="Where is Lima?", choices=["Chile", "Peru"], answer=2, explanation="On the Rímac.", needs_review=True
    )
    html = asked(admin_client, Question, "approve", question)
    for text in ("Where is Lima?", "· Chile", "✓ Peru", "On the Rímac."):
        assert text in html
