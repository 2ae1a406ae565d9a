"""The review desk: who gets which row, and what a decision writes."""

import re
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.forms import model_to_dict
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from memocards.admin.desk import pages as desk
from memocards.admin.desk.forms import desk_form
from memocards.content import pile as desk_pile
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.pile import Key, Pile
from memocards.content.questions import questions
from memocards.content.versions import VOUCHED_FOR, versions_of
from memocards.errors import Invalid
from memocards.models import MemoCard, Question
from memocards.states import State, state_of
from publish.models import PublishOutbox
from tests.factories import MemoCardFactory, QuestionFactory, TopicFactory, UserFactory
from tests.memocards import editors
from tests.memocards.admin.test_content import Form
from tests.memocards.noted import noted

pytestmark = pytest.mark.django_db
# A refusal rolls back the transaction of the request, which must not be the test's; and threads see what is committed.
own_transactions = pytest.mark.django_db(transaction=True)

DESK = "/admin/review/"
EVERYTHING = Pile()


def reviewer(*names: str) -> User:
    """Somebody who may approve cards and questions, and do what these permissions say."""
    user: User = UserFactory.create(is_staff=True)
    names = ("approve_memocard", "approve_question", *names)
    user.user_permissions.set(Permission.objects.filter(codename__in=names, content_type__app_label="memocards"))
    return user


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def anna() -> User:
    return reviewer("change_memocard", "change_question", "delete_memocard", "delete_question")


@pytest.fixture
def ben() -> User:
    return reviewer("change_memocard", "change_question")


def waiting_card(**fields: Any) -> MemoCard:
    card: MemoCard = MemoCardFactory.create(needs_review=True, **fields)
    return card


def waiting_question(**fields: Any) -> Question:
    question: Question = QuestionFactory.create(needs_review=True, **fields)
    return question


def claimed(user: User, pile: Pile = EVERYTHING, **options: Any) -> list[str]:
    return [str(Key.of(row)) for row in desk_pile.claim(pile, reviewer_id=user.pk, **options)]


def opened(client: Client, query: str = "") -> dict[str, str]:
    """What the page's form would send if nobody touched it."""
    data = Form(article(client.get(DESK + query).content.decode())).data
    data.pop("", None)
    return data


def article(html: str) -> str:
    return html[html.index("<article") : html.index("</article>")]


def decide(client: Client, form: dict[str, str], action: str, *, query: str = "", **extra: str) -> Any:
    """As the page's script does it."""
    return client.post(DESK + query, form | {"action": action, **extra}, headers={"accept": "application/json"})


def touches() -> list[tuple[str, int, bool]]:
    return sorted(PublishOutbox.objects.values_list("kind", "source_id", "deleted"))


# The pile


def test_the_pile_is_questions_then_cards_the_oldest_first(anna: User) -> None:
    card, question, late = waiting_card(), waiting_question(), waiting_card()
    MemoCardFactory.create()
    waiting_card(deleted_at=timezone.now())
    waiting_card(sent_back_at=timezone.now())
    assert claimed(anna, count=9) == [f"question-{question.pk}", f"card-{card.pk}", f"card-{late.pk}"]
    assert desk_pile.left_in(EVERYTHING) == 3


def test_a_pile_is_a_topic_a_source_an_author_or_a_kind(anna: User, ben: User) -> None:
    topic = TopicFactory.create()
    here, book, bens = waiting_card(topic=topic), waiting_card(source="A book"), waiting_question(author=ben)
    for pile, row in (
        (Pile(topic_id=topic.pk), here),
        (Pile(source="A book"), book),
        (Pile(author_id=ben.pk), bens),
        (Pile(kinds=("question",)), bens),
    ):
        assert claimed(anna, pile, count=9) == [str(Key.of(row))]
        assert desk_pile.left_in(pile) == 1
    offered = desk_pile.offered(("card",))
    assert offered.sources == ["A book"]
    assert (topic.pk, topic.name) in offered.topics
    assert offered.authors == []
    assert desk_pile.offered(("question", "card")).authors == [(ben.pk, ben.username)]


def test_a_claim_keeps_others_away_until_it_lapses(anna: User, ben: User) -> None:
    card = waiting_card()
    assert claimed(anna) == [f"card-{card.pk}"]
    assert claimed(ben) == []
    assert claimed(anna) == [f"card-{card.pk}"]
    MemoCard.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    assert claimed(ben) == [f"card-{card.pk}"]
    assert claimed(anna) == []
    assert touches() == []


def test_a_claim_is_renewed_by_its_holder_alone(anna: User, ben: User) -> None:
    card, other = waiting_card(), waiting_card()
    keys = [Key.of(card), Key.of(other)]
    claimed(anna, count=1)
    claimed(ben, count=1)
    MemoCard.objects.update(claimed_until=timezone.now() + timedelta(seconds=5))
    assert desk_pile.renew(keys, reviewer_id=anna.pk) == [Key.of(card)]
    card.refresh_from_db()
    other.refresh_from_db()
    assert card.claimed_until is not None
    assert other.claimed_until is not None
    assert card.claimed_until > timezone.now() + timedelta(minutes=4)
    assert other.claimed_until < timezone.now() + timedelta(minutes=1)
    desk_pile.release(keys, reviewer_id=anna.pk)
    assert claimed(ben, count=2) == [f"card-{card.pk}", f"card-{other.pk}"]


def test_what_was_approved_elsewhere_is_no_longer_held(anna: User) -> None:
    card = waiting_card()
    claimed(anna)
    cards.approve(versions=versions_of(MemoCard, [card.pk]), editor=SYSTEM)
    assert desk_pile.renew([Key.of(card)], reviewer_id=anna.pk) == []
    assert desk_pile.claim_one(Key.of(card), reviewer_id=anna.pk) is None


@own_transactions
def test_reviewers_at_once_never_get_the_same_row(in_thread: Callable[..., Future[Any]]) -> None:
    topic = TopicFactory.create()
    rows: list[Any] = [
        *QuestionFactory.create_batch(20, needs_review=True, topic=topic),
        *MemoCardFactory.create_batch(20, needs_review=True, topic=topic),
    ]
    users = [UserFactory.create() for _ in range(4)]
    together = Barrier(len(users))

    def sitting(user: User) -> list[str]:
        got: list[str] = []
        together.wait()
        while keys := claimed(user, count=2, besides=[Key(*_parts(key)) for key in got]):
            got += keys
        return got

    sittings = [in_thread(sitting, user) for user in users]
    got = [key for future in sittings for key in future.result(timeout=20)]
    assert sorted(got) == sorted(str(Key.of(row)) for row in rows)


def _parts(key: str) -> tuple[str, int]:
    kind, number = key.split("-")
    return kind, int(number)


@own_transactions
def test_a_row_that_somebody_writes_to_is_passed_over_not_waited_for(
    anna: User, in_thread: Callable[..., Future[Any]]
) -> None:
    held, free = waiting_card(), waiting_card()
    with transaction.atomic():
        MemoCard.objects.select_for_update(no_key=True).get(pk=held.pk)
        assert in_thread(claimed, anna, count=2).result(timeout=10) == [f"card-{free.pk}"]


@own_transactions
def test_two_decisions_on_one_row_at_once_are_one(anna: User, in_thread: Callable[..., Future[Any]]) -> None:
    """Two tabs of one reviewer: both are told that it is done, and nothing is written twice."""
    card = waiting_card()
    form = opened(logged_in(anna))
    together = Barrier(2)

    def approve() -> dict[str, Any]:
        client = logged_in(anna)
        together.wait()
        answer: dict[str, Any] = decide(client, form, "approve").json()
        return answer

    answers = [future.result(timeout=20) for future in [in_thread(approve) for _ in range(2)]]
    assert [answer["text"] for answer in answers] == [f"Approved. {card}"] * 2
    assert touches() == [("card", card.pk, False)]
    assert LogEntry.objects.count() == 1


# The page


def test_a_row_is_shown_as_learners_see_it(anna: User) -> None:
    question = waiting_question(
        stem="세종\n\n```python\nprint('<b>')\n```\n\n| a | b |\n|--:|:-:|\n| 1 | 2 |\n\n<script>alert(1)</script>",
        choices=["**bold**", "[x](javascript:alert(1))"],
        answer=1,
        explanation="עברית",
        explanation_status="ready",
    )
    html = article(logged_in(anna).get(DESK).content.decode())
    assert f'data-key="question-{question.pk}"' in html
    assert '<p dir="auto">세종</p>' in html
    assert "<code dir=\"ltr\">print('&lt;b&gt;')" in html
    assert '<td dir="auto" class="align-center">2</td>' in html.replace(
        'class="align-center" dir="auto"', 'dir="auto" class="align-center"'
    )
    assert "<strong>bold</strong>" in html
    assert '<p dir="auto">עברית</p>' in html
    assert "<script>" not in html
    assert 'href="javascript' not in html


def test_the_page_brings_the_next_row_along_and_says_how_the_pile_stands(anna: User) -> None:
    first, second, _third = waiting_card(), waiting_card(), waiting_card()
    html = logged_in(anna).get(DESK + "?done=7").content.decode()
    assert html.index(f'data-key="card-{first.pk}"') < html.index(f'data-key="card-{second.pk}"')
    assert html.count("<article") == 2
    assert html.count('<template class="desk-next">') == 1
    assert '<progress id="desk-bar"\n' in html or '<progress id="desk-bar"' in html
    assert 'value="7"' in html
    assert 'max="10"' in html
    for key in "AESDNU":
        assert f"<kbd>{key}</kbd>" in html
    assert " style=" not in html
    assert "<script>" not in html


def test_an_empty_pile_says_so(anna: User, ben: User) -> None:
    assert "Nothing here waits for you." in logged_in(anna).get(DESK).content.decode()
    waiting_card()
    claimed(ben)
    html = logged_in(anna).get(DESK).content.decode()
    assert "has another reviewer before it" in html
    assert "<article" not in html


# Decisions


def test_an_approval_is_one_round_trip(anna: User, django_assert_num_queries: Any) -> None:
    rows = [waiting_card() for _ in range(6)]
    client = logged_in(anna)
    form = opened(client)
    held = f"card-{rows[0].pk} card-{rows[1].pk}"
    other = logged_in(reviewer())
    decide(other, opened(other), "approve")  # what is looked up once a process
    # Session, user, their time zone, two for permissions; the row; lock, write, enqueue; history; questions, cards,
    # claim; the count.
    with django_assert_num_queries(14):
        answer = decide(client, form, "approve", held=held)
    body = answer.json()
    rows[0].refresh_from_db()
    assert not rows[0].needs_review
    assert rows[0].reviewed_by == anna
    assert rows[0].claimed_by_id is None
    assert [article(html).split('data-key="')[1].split('"')[0] for html in body["next"]] == [f"card-{rows[5].pk}"]
    assert body["left"] == 4
    assert ("card", rows[0].pk, False) in touches()
    assert noted(user=anna) == ["Approved."]


def test_an_edit_and_its_approval_are_one_decision(anna: User) -> None:
    question = waiting_question(choices=["a", "b"])
    client = logged_in(anna)
    form = opened(client)
    decide(client, form | {"stem": "Corrected?", "choices_2": "c", "explanation": "So."}, "approve")
    question.refresh_from_db()
    assert (question.stem, question.choices, question.needs_review) == ("Corrected?", ["a", "b", "c"], False)
    assert (question.explanation, question.explanation_status) == ("So.", "ready")
    assert question.reviewed_by == anna
    assert noted() == [
        "Changed Stem, Choices, Explanation and Explanation status.",
        "Approved.",
    ]
    newest = PublishOutbox.objects.filter(kind="question").order_by("-id")[0]
    assert newest.payload["stem"] == "Corrected?"


def test_an_edit_alone_comes_back_as_learners_would_see_it(anna: User) -> None:
    card = waiting_card()
    client = logged_in(anna)
    answer = decide(client, opened(client) | {"front": "**better**"}, "save").json()
    assert "<strong>better</strong>" in answer["item"]
    card.refresh_from_db()
    assert card.needs_review
    assert card.claimed_by == anna


def test_a_card_sent_back_waits_for_its_author_who_is_told_why(anna: User, admin_client: Client) -> None:
    card = waiting_card()
    client = logged_in(anna)
    decide(client, opened(client), "send_back", reason=" The year is wrong. ")
    card.refresh_from_db()
    assert (card.sent_back_reason, card.sent_back_by) == ("The year is wrong.", anna)
    assert claimed(anna) == []
    assert (
        "The year is wrong."
        in admin_client.get(reverse("admin:memocards_memocard_change", args=[card.pk])).content.decode()
    )
    listed = admin_client.get(reverse("admin:memocards_memocard_changelist"), {"state": "sent_back"})
    assert list(listed.context["cl"].result_list) == [card]

    cards.update(key=card.pk, changes={"back": "1446"}, editor=SYSTEM)
    assert claimed(anna) == [f"card-{card.pk}"]
    assert "The year is wrong." in client.get(DESK).content.decode()
    cards.approve(versions=versions_of(MemoCard, [card.pk]), editor=editors.reviewer(anna.pk))
    card.refresh_from_db()
    assert card.sent_back_reason == ""


@own_transactions
def test_sending_back_wants_a_reason(anna: User) -> None:
    waiting_card()
    client = logged_in(anna)
    answer = decide(client, opened(client) | {"front": "edited"}, "send_back", reason=" ")
    assert answer.status_code == 422
    assert "what is to be mended" in answer.json()["item"]
    assert "edited</textarea>" in answer.json()["item"]
    with pytest.raises(Invalid):
        cards.send_back(keys=[1], reason="x" * 501, editor=SYSTEM)


def test_what_was_approved_and_is_sent_back_is_dropped(anna: User) -> None:
    card, question = MemoCardFactory.create(), QuestionFactory.create()
    assert cards.send_back(keys=[card.pk], reason="Old.", editor=editors.reviewer(anna.pk)) == [card.pk]
    assert questions.send_back(keys=[question.pk], reason="Old.", editor=editors.reviewer(anna.pk))
    assert touches() == [("card", card.pk, True), ("explanation", question.pk, True), ("question", question.pk, True)]
    card.refresh_from_db()
    assert card.unapproved_at is not None


@own_transactions
def test_a_refused_form_keeps_what_was_written(anna: User) -> None:
    question = waiting_question()
    client = logged_in(anna)
    answer = decide(client, opened(client) | {"stem": " ", "answer": "9"}, "approve")
    assert answer.status_code == 422
    answer = decide(client, opened(client) | {"answer": "9"}, "approve")
    assert answer.status_code == 422
    assert "The answer is the number of a choice, counted from 1." in answer.json()["item"]
    question.refresh_from_db()
    assert (question.answer, question.needs_review) == (1, True)
    assert not LogEntry.objects.exists()


@own_transactions
@pytest.mark.parametrize("action", ["approve", "send_back", "delete"])
def test_a_decision_is_undone(anna: User, action: str) -> None:
    card = waiting_card()
    client = logged_in(anna)
    undo = decide(client, opened(client), action, reason="x").json()["undo"]
    assert undo == {"key": f"card-{card.pk}", "action": action}
    answer = decide(client, {"key": undo["key"]}, "undo", undo=undo["action"]).json()
    assert f'data-key="card-{card.pk}"' in answer["item"]
    card.refresh_from_db()
    assert card.needs_review
    assert card.deleted_at is None
    assert card.sent_back_at is None
    assert card.claimed_by == anna
    assert PublishOutbox.objects.order_by("-id")[0].deleted
    again = decide(client, {"key": undo["key"]}, "undo", undo=undo["action"], held=undo["key"]).json()
    assert again["text"] == "There is nothing to undo any more."
    assert "item" not in again


@own_transactions
@pytest.mark.parametrize("action", ["approve", "send_back", "delete"])
def test_only_ones_own_decision_is_undone(anna: User, action: str) -> None:
    """After Anna's decision the row came back, and Ben decided it again."""
    card, ben = waiting_card(front="The card"), reviewer("delete_memocard")
    client, bens = logged_in(anna), logged_in(ben)
    undo = decide(client, opened(client), action, reason="x").json()["undo"]
    decide(client, {"key": undo["key"]}, "undo", undo=action)
    MemoCard.objects.update(claimed_by=None, claimed_until=None)
    decide(bens, opened(bens), action, reason="y")
    body = decide(client, {"key": undo["key"]}, "undo", undo=action).json()
    assert body["text"].startswith("Not undone. ")
    assert "The card" in body["text"]
    card.refresh_from_db()
    assert state_of(card) != State.WAITING
    assert "item" in decide(bens, {"key": undo["key"]}, "undo", undo=action).json()


@pytest.mark.parametrize("action", ["approve", "send_back", "delete", "save"])
def test_a_decision_whose_answer_was_lost_is_made_again(anna: User, action: str) -> None:
    card = waiting_card()
    client = logged_in(anna)
    form = opened(client) | {"back": "edited"}
    first = decide(client, form, action, reason="x").json()
    card.refresh_from_db()
    again = decide(client, form, action, reason="x")
    assert again.status_code == 200
    assert again.json().get("undo") == first.get("undo")
    assert again.json()["text"] == first["text"]
    before = model_to_dict(card)
    card.refresh_from_db()
    assert model_to_dict(card) == before


@own_transactions
def test_a_decision_is_not_done_with_another_text_or_reason(anna: User) -> None:
    approved, sent = waiting_card(), waiting_card()
    client = logged_in(anna)
    form = opened(client)
    decide(client, form, "approve")
    answer = decide(client, form | {"back": "edited"}, "approve").json()
    assert answer["text"] == f"{anna.username} approved “{approved}” meanwhile."
    form = opened(client)
    decide(client, form, "send_back", reason="x")
    answer = decide(client, form, "send_back", reason="y").json()
    assert answer["text"] == f"{anna.username} sent “{sent}” back: x"


def test_nothing_to_undo_claims_nothing(anna: User) -> None:
    rows = [waiting_card() for _ in range(4)]
    client = logged_in(anna)
    opened(client)
    held = f"card-{rows[0].pk} card-{rows[1].pk}"
    for _ in range(3):
        assert decide(client, {}, "undo", held=held).json()["next"] == []
    assert MemoCard.objects.filter(claimed_by=anna).count() == 2


def test_a_skipped_row_is_left_to_others(anna: User, ben: User) -> None:
    first, second, third = waiting_card(), waiting_card(), waiting_card()
    client = logged_in(anna)
    form = opened(client)
    held = f"card-{second.pk}"
    answer = decide(client, form, "skip", held=held, under_way=f"card-{first.pk}").json()
    assert f'data-key="card-{third.pk}"' in answer["next"][0]
    assert claimed(ben, count=3) == [f"card-{first.pk}"]


def test_hundreds_of_skipped_rows_do_not_come_again(anna: User) -> None:
    topic = TopicFactory.create()
    rows: list[MemoCard] = MemoCardFactory.create_batch(230, needs_review=True, topic=topic)
    client = logged_in(anna)
    came = [opened(client)["key"]]
    while came[-1]:
        body = decide(client, {"key": came[-1]}, "skip", held=came[-1]).json()
        came.append(Form(body["next"][0]).data["key"] if body["next"] else "")
    assert came == [*(f"card-{row.pk}" for row in rows), ""]
    assert "Nothing here waits for you." in client.get(DESK).content.decode()
    answer = client.get(f"{DESK}?again=1&done=3&kind=card")
    assert answer["Location"] == f"{DESK}?kind=card&done=3"
    assert opened(client)["key"] == came[0]


def test_who_skips_too_many_is_told_that_they_come_again(anna: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "MOST_SKIPPED", 2)
    rows = [waiting_card() for _ in range(4)]
    client = logged_in(anna)
    answers = [decide(client, {"key": f"card-{row.pk}"}, "skip").json() for row in rows[:3]]
    assert [answer["text"] for answer in answers] == [
        "",
        "",
        "You have skipped 2 rows. The first of them come again.",
    ]
    assert f'data-key="card-{rows[0].pk}"' in answers[2]["next"][0]


@own_transactions
def test_without_a_script_the_same_forms_work(anna: User) -> None:
    first, second = waiting_card(), waiting_card()
    client = logged_in(anna)
    answer = client.post(DESK, opened(client) | {"action": "approve"})
    assert answer.status_code == 302
    assert answer["Location"] == f"{DESK}?done=1"
    assert not MemoCard.objects.get(pk=first.pk).needs_review
    form = opened(client, "?done=1")
    assert form["key"] == f"card-{second.pk}"
    again = client.post(DESK, form | {"action": "send_back", "reason": ""})
    assert again.status_code == 422
    assert "what is to be mended" in again.content.decode()
    answer = client.post(DESK + "?done=1", form | {"action": "skip"})
    assert answer["Location"] == f"{DESK}?done=1"
    assert "was skipped" in client.get(answer["Location"]).content.decode()


@own_transactions
def test_the_enter_key_without_a_script_never_approves(anna: User) -> None:
    first, second = waiting_card(), waiting_card()
    client = logged_in(anna)
    html = client.get(DESK).content.decode()
    assert re.findall(r'name="action"\s+value="(\w+)"', html)[0] == "enter"
    client.post(DESK, opened(client) | {"action": "enter", "back": "edited"})
    client.post(DESK, opened(client) | {"action": "enter", "reason": "The year."})
    first.refresh_from_db()
    assert (first.needs_review, first.back, first.sent_back_reason) == (True, "edited", "The year.")
    MemoCard.objects.update(claimed_by=None, claimed_until=None)
    client = logged_in(reviewer())
    form = opened(client)
    assert form["key"] == f"card-{second.pk}"
    answer = client.post(DESK, form | {"action": "enter"})
    assert answer.status_code == 422
    assert MemoCard.objects.get(pk=second.pk).needs_review


@own_transactions
def test_without_a_script_what_was_written_is_kept_too(anna: User, ben: User) -> None:
    card = waiting_card()
    client = logged_in(anna)
    form = opened(client)
    MemoCard.objects.update(claimed_by=ben)
    html = client.post(DESK, form | {"action": "approve", "back": "edited", "reason": "why"}).content.decode()
    assert f"{ben.username} has “{card}” before them now." in html
    assert "edited</textarea>" in html
    assert 'value="why"' in html
    assert client.post(DESK, form | {"action": "approve"}).status_code == 302


# Two people


@own_transactions
def test_a_stale_decision_says_who_changed_what(anna: User, admin_user: User, admin_client: Client) -> None:
    card = waiting_card(front="old front", back="old back", tags=["a"])
    client = logged_in(anna)
    form = opened(client)
    page = reverse("admin:memocards_memocard_change", args=[card.pk])
    admin_client.post(page, Form(admin_client.get(page).content.decode()).data | {"front": "their front"})

    answer = decide(client, form | {"back": "my back"}, "approve")
    assert answer.status_code == 409
    html = answer.json()["item"]
    assert f"{admin_user.username} changed this while you looked at it" in html
    assert "<del>old front</del> <ins>their front</ins>" in html
    assert "my back</textarea>" in html
    card.refresh_from_db()
    assert (card.front, card.back, card.needs_review) == ("their front", "old back", True)

    # Knowingly now; what the reviewer left alone stays as the other wrote it.
    assert decide(client, Form(html).data, "approve").status_code == 200
    card.refresh_from_db()
    assert (card.front, card.back, card.tags, card.needs_review) == ("their front", "my back", ["a"], False)


@own_transactions
def test_a_stale_decision_on_a_question_keeps_the_choices_apart(anna: User) -> None:
    question = waiting_question(choices=["a", "b"])
    client = logged_in(anna)
    form = opened(client)
    questions.update(key=question.pk, changes={"choices": ["a", "b", "c"], "answer": 3}, editor=SYSTEM)
    answer = decide(client, form | {"stem": "Mine?"}, "approve")
    assert answer.status_code == 409
    assert "Somebody changed this" in answer.json()["item"]
    assert decide(client, Form(answer.json()["item"]).data, "approve").status_code == 200
    question.refresh_from_db()
    assert (question.stem, question.choices, question.answer) == ("Mine?", ["a", "b", "c"], 3)


@own_transactions
def test_a_row_that_was_moved_meanwhile_is_stale(anna: User) -> None:
    """What a reviewer vouches for includes where the row belongs."""
    question, other = QuestionFactory.create(stem="The question?"), TopicFactory.create(name="Elsewhere")
    card = waiting_card(question=question, topic=question.topic)
    client = logged_in(anna)
    form = opened(client)
    cards.update(key=card.pk, changes={"topic_id": other.pk, "question_id": None}, editor=SYSTEM)
    answer = decide(client, form, "approve")
    assert answer.status_code == 409
    html = answer.json()["item"]
    assert f"<del>{question.topic.name}</del> <ins>Elsewhere</ins>" in html
    assert "<del>The question?</del> <ins>–</ins>" in html
    assert MemoCard.objects.get(pk=card.pk).needs_review
    assert decide(client, Form(html).data, "approve").status_code == 200


@pytest.mark.parametrize("model", VOUCHED_FOR)
def test_all_that_a_reviewer_vouches_for_is_compared(model: Any) -> None:
    form = desk_form(model())
    compared = {*form.fields, *(f"{name.removeprefix('seen-')}_id" for name, _value in form.links())}
    assert compared >= VOUCHED_FOR[model]


@own_transactions
def test_nobody_is_named_for_a_change_that_is_not_theirs(anna: User, admin_user: User, admin_client: Client) -> None:
    card = waiting_card()
    page = reverse("admin:memocards_memocard_change", args=[card.pk])
    admin_client.post(page, Form(admin_client.get(page).content.decode()).data | {"front": "theirs"})
    assert LogEntry.objects.get().user == admin_user
    client = logged_in(anna)
    form = opened(client)
    # As a program does it, without an entry in the history.
    cards.update(key=card.pk, changes={"front": "a program's"}, editor=SYSTEM)
    html = decide(client, form, "approve").json()["item"]
    assert "Somebody changed this" in html
    assert f"{admin_user.username} changed this" not in html


@own_transactions
def test_what_the_reviewer_changed_elsewhere_is_told_so(anna: User) -> None:
    waiting_card()
    client = logged_in(anna)
    form = opened(client)
    decide(client, form | {"front": "in another tab"}, "save")
    answer = decide(client, form, "approve")
    assert answer.status_code == 409
    assert "You changed this elsewhere meanwhile" in answer.json()["item"]


def test_what_is_not_shown_makes_nothing_stale(anna: User) -> None:
    """An explanation that is being written elsewhere does not stop a reviewer."""
    question = waiting_question()
    client = logged_in(anna)
    form = opened(client)
    Question.objects.filter(pk=question.pk).update(explanation_status="running", updated_at=timezone.now())
    assert decide(client, form, "approve").status_code == 200


@own_transactions
def test_who_was_first_is_told_and_nothing_is_done_twice(anna: User, ben: User) -> None:
    card = waiting_card(front="The card")
    client = logged_in(anna)
    form = opened(client)
    cards.approve(versions=versions_of(MemoCard, [card.pk]), editor=editors.reviewer(ben.pk))
    answer = decide(client, form, "delete").json()
    assert answer["text"] == f"{ben.username} approved “The card” meanwhile."
    card.refresh_from_db()
    assert card.deleted_at is None


@own_transactions
def test_a_row_that_another_reviewer_took_over_is_theirs(anna: User, ben: User) -> None:
    card = waiting_card(front="The card")
    client = logged_in(anna)
    form = opened(client)
    MemoCard.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    claimed(ben)
    assert decide(client, form, "approve").json()["text"] == f"{ben.username} has “The card” before them now."
    card.refresh_from_db()
    assert card.needs_review
    answer = decide(client, {}, "renew", held=f"card-{card.pk} nonsense question-9").json()
    assert answer["held"] == []
    assert answer["gone"] == {
        f"card-{card.pk}": f"{ben.username} has “The card” before them now.",
        "question-9": "This is gone.",
    }


def test_a_row_that_was_given_up_is_claimed_again_by_renewing(anna: User, ben: User) -> None:
    card = waiting_card()
    opened(logged_in(anna))
    desk_pile.release([Key.of(card)], reviewer_id=anna.pk)
    body = decide(logged_in(anna), {}, "renew", held=f"card-{card.pk}").json()
    assert body == {"held": [f"card-{card.pk}"], "gone": {}}
    assert claimed(ben) == []


# Permissions


@own_transactions
def test_the_desk_is_for_those_who_may_approve(ben: User) -> None:
    waiting_card()
    outsider = UserFactory.create(is_staff=True)
    outsider.user_permissions.set(Permission.objects.filter(codename="change_memocard"))
    assert logged_in(outsider).get(DESK).status_code == 403
    assert decide(logged_in(outsider), {"key": "card-1"}, "approve").status_code == 403
    assert Client().get(DESK).status_code == 302
    # Ben may approve and change, not delete.
    client = logged_in(ben)
    form = opened(client)
    html = client.get(DESK).content.decode()
    assert 'value="delete"' not in html
    assert "<kbd>D</kbd>" not in html
    assert "<kbd>E</kbd>" in html
    assert decide(client, form, "delete").status_code == 403
    assert decide(client, {"key": form["key"]}, "undo", undo="delete").status_code == 403
    assert MemoCard.objects.get().deleted_at is None


@own_transactions
def test_whoever_may_approve_cards_alone_sees_no_questions() -> None:
    user = UserFactory.create(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="approve_memocard"))
    question, card = waiting_question(), waiting_card()
    client = logged_in(user)
    form = opened(client, "?kind=question")
    assert form["key"] == f"card-{card.pk}"
    assert decide(client, form | {"key": f"question-{question.pk}"}, "approve").status_code == 403
    # Without leave to change, an edit is none.
    assert decide(client, form | {"front": "edited"}, "approve").status_code == 403
    assert decide(client, form, "approve").status_code == 200
    assert MemoCard.objects.get().front == card.front


@own_transactions
def test_nonsense_is_answered(anna: User) -> None:
    client = logged_in(anna)
    nonsense = "?topic=x&author=%FF&source=%01&kind=7&done=-1&skipped=a+b-1+card-99999999999999999999"
    assert client.get(DESK + nonsense).status_code == 200
    assert client.get(DESK + "?author=%00").status_code == 400
    for data in ({}, {"key": "card-0"}, {"key": "user-1"}, {"key": "card-x"}):
        for action in ("approve", "skip", "undo", "nothing"):
            assert decide(client, data, action, undo="approve").status_code == 200
