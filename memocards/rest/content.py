"""The REST API of the domain.

A view is one transaction: it asks who calls, calls one service, and answers.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from ninja import PatchDict, Query, Router, Status

from kit.problems.rest import problems
from kit.transactions import in_transaction
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import editor_for
from memocards.content.questions import questions
from memocards.content.topics import lock_with_topic
from memocards.content.versions import changed_rows, with_versions
from memocards.errors import DomainError, NotFound, PreconditionFailed
from memocards.learning import rating
from memocards.models import MemoCard, Question, Topic
from memocards.rest.callers import learner_auth, learner_of, rating_throttle, require_permission, staff_auth
from memocards.rest.content_schemas import (
    ApprovalIn,
    CardIn,
    CardOut,
    CardPage,
    ChangedOut,
    ContentQuery,
    ExplanationIn,
    Id,
    Ids,
    PageQuery,
    QuestionFields,
    QuestionIn,
    QuestionOut,
    QuestionPage,
    RatedOut,
    RateIn,
    SendBackIn,
    TopicIn,
    TopicOut,
    TopicPage,
    UndoIn,
    UndoneOut,
)

M = TypeVar("M", bound=Model)
R = TypeVar("R", Question, MemoCard)

topics_router = Router(auth=staff_auth, tags=["topics"])
questions_router = Router(auth=staff_auth, tags=["questions"])
cards_router = Router(auth=staff_auth, tags=["study cards"])

READ = problems(401, 403, 422, 503)
WRITE = problems(401, 403, 404, 409, 422, 503)
CHANGE_ROW = problems(401, 403, 404, 409, 412, 422, 503)


# Topics


@topics_router.get("", response={200: TopicPage, **READ}, summary="List topics")
def list_topics(request: HttpRequest, query: Query[PageQuery]) -> dict[str, Any]:
    require_permission(request, "memocards.view_topic")
    return _page(Topic.objects.all(), query)


@topics_router.post("", response={201: TopicOut, **WRITE}, summary="Create a topic")
@in_transaction
def create_topic(request: HttpRequest, body: TopicIn) -> Status[Topic]:
    require_permission(request, "memocards.add_topic")
    return Status(201, topics.create_topic(**body.dict(), editor=editor_for(request.user)))


@topics_router.get("/{topic_id}", response={200: TopicOut, **WRITE}, summary="Read a topic")
def read_topic(request: HttpRequest, topic_id: Id) -> Topic:
    require_permission(request, "memocards.view_topic")
    return _get(Topic, topic_id)


@topics_router.patch("/{topic_id}", response={200: TopicOut, **WRITE}, summary="Change a topic")
@in_transaction
def update_topic(request: HttpRequest, topic_id: Id, body: PatchDict[TopicIn]) -> Topic:
    require_permission(request, "memocards.change_topic")
    return topics.update_topic(topic_id=topic_id, changes=body, editor=editor_for(request.user))


@topics_router.delete("/{topic_id}", response={204: None, **WRITE}, summary="Delete a topic")
@in_transaction
def delete_topic(request: HttpRequest, topic_id: Id, cascade: bool = False) -> Status[None]:
    """Refused with 409 while it has questions or cards, unless `cascade` asks to delete them too."""
    require_permission(request, "memocards.delete_topic")
    topics.delete_topic(topic_id=topic_id, cascade=cascade, editor=editor_for(request.user))
    return Status(204, None)


@topics_router.post("/{topic_id}/restore", response={200: TopicOut, **WRITE}, summary="Restore a topic")
@in_transaction
def restore_topic(request: HttpRequest, topic_id: Id) -> Topic:
    """Brings back what was deleted together with the topic, and nothing else."""
    require_permission(request, "memocards.delete_topic")
    topics.restore_topic(topic_id=topic_id, editor=editor_for(request.user))
    return _get(Topic, topic_id)


# Questions


@questions_router.get("", response={200: QuestionPage, **READ}, summary="List questions")
def list_questions(request: HttpRequest, query: Query[ContentQuery]) -> dict[str, Any]:
    require_permission(request, "memocards.view_question")
    return _page(_content(with_versions(Question.objects.all()), query), query)


@questions_router.post("", response={201: QuestionOut, **WRITE}, summary="Create a question")
@in_transaction
def create_question(request: HttpRequest, body: QuestionIn) -> Status[Any]:
    """Left out, `needs_review` is false for whoever may approve questions, and true for everybody else."""
    require_permission(request, "memocards.add_question")
    if body.needs_review is False:
        require_permission(request, "memocards.approve_question")
    question = questions.create(**body.dict(), editor=editor_for(request.user))
    return Status(201, _versioned(Question, question.pk))


@questions_router.post("/approve", response={200: ChangedOut, **WRITE}, summary="Approve questions")
@in_transaction
def approve_questions(request: HttpRequest, body: ApprovalIn) -> dict[str, list[int]]:
    """Each is approved as it was read, by its `version`. Where one that waits has changed since, none is: 409, with
    `changed`."""
    require_permission(request, "memocards.approve_question")
    return {"changed": questions.approve(versions=body.versions, editor=editor_for(request.user))}


@questions_router.post("/unapprove", response={200: ChangedOut, **WRITE}, summary="Un-approve questions")
@in_transaction
def unapprove_questions(request: HttpRequest, body: Ids) -> dict[str, list[int]]:
    """They wait for review again, and viewers drop them."""
    require_permission(request, "memocards.approve_question")
    return {"changed": questions.unapprove(keys=body.ids, editor=editor_for(request.user))}


@questions_router.post("/send-back", response={200: ChangedOut, **WRITE}, summary="Send questions back")
@in_transaction
def send_back_questions(request: HttpRequest, body: SendBackIn) -> dict[str, list[int]]:
    """Their authors read the reason, and viewers drop them. They wait for review again once they are edited."""
    require_permission(request, "memocards.approve_question")
    return {"changed": questions.send_back(keys=body.ids, reason=body.reason, editor=editor_for(request.user))}


@questions_router.get("/{question_id}", response={200: QuestionOut, **WRITE}, summary="Read a question")
def read_question(request: HttpRequest, question_id: Id) -> Question:
    require_permission(request, "memocards.view_question")
    return _versioned(Question, question_id)


@questions_router.patch("/{question_id}", response={200: QuestionOut, **CHANGE_ROW}, summary="Change a question")
@in_transaction
def update_question(request: HttpRequest, question_id: Id, body: PatchDict[QuestionFields]) -> Question:
    """An approved question waits for review again when somebody who may not approve changes what learners see of it."""
    require_permission(request, "memocards.change_question")
    _refuse_if_changed(request, Question, question_id, body)
    questions.update(key=question_id, changes=body, editor=editor_for(request.user))
    return _versioned(Question, question_id)


@questions_router.delete("/{question_id}", response={204: None, **WRITE}, summary="Delete a question")
@in_transaction
def delete_question(request: HttpRequest, question_id: Id) -> Status[None]:
    require_permission(request, "memocards.delete_question")
    if not questions.delete(keys=[question_id], editor=editor_for(request.user)):
        _get(Question, question_id)
    return Status(204, None)


@questions_router.post("/{question_id}/restore", response={200: QuestionOut, **WRITE}, summary="Restore a question")
@in_transaction
def restore_question(request: HttpRequest, question_id: Id) -> Question:
    require_permission(request, "memocards.delete_question")
    questions.restore(keys=[question_id], editor=editor_for(request.user))
    return _versioned(Question, question_id)


@questions_router.put(
    "/{question_id}/explanation", response={200: QuestionOut, **CHANGE_ROW}, summary="Write the explanation"
)
@in_transaction
def put_explanation(request: HttpRequest, question_id: Id, body: ExplanationIn) -> Question:
    """An approved question waits for review again when somebody who may not approve changes its explanation."""
    require_permission(request, "memocards.change_question")
    _refuse_if_changed(request, Question, question_id)
    questions.set_explanation(key=question_id, body=body.body, editor=editor_for(request.user))
    return _versioned(Question, question_id)


@questions_router.delete(
    "/{question_id}/explanation", response={200: QuestionOut, **CHANGE_ROW}, summary="Withdraw the explanation"
)
@in_transaction
def delete_explanation(request: HttpRequest, question_id: Id) -> Question:
    """Withdraws a request for one, too. An approved question waits for review again when somebody who may not approve
    takes its explanation away."""
    require_permission(request, "memocards.change_question")
    _refuse_if_changed(request, Question, question_id)
    questions.clear_explanation(key=question_id, editor=editor_for(request.user))
    return _versioned(Question, question_id)


@questions_router.post(
    "/{question_id}/explanation/request", response={200: QuestionOut, **WRITE}, summary="Have the explanation written"
)
@in_transaction
def request_explanation(request: HttpRequest, question_id: Id) -> Question:
    """A worker writes it, and `explanation_status` says how far it is. While one is under way nothing changes,
    except that a pause after a failed attempt is cut short. 409 where the question has an explanation, and where no
    endpoint is set that could write one."""
    require_permission(request, "memocards.change_question")
    questions.request_explanation(key=question_id, editor=editor_for(request.user))
    return _versioned(Question, question_id)


# Study cards


@cards_router.get("", response={200: CardPage, **READ}, summary="List cards")
def list_cards(request: HttpRequest, query: Query[ContentQuery]) -> dict[str, Any]:
    require_permission(request, "memocards.view_memocard")
    return _page(_content(with_versions(MemoCard.objects.all()), query), query)


@cards_router.post("", response={201: CardOut, **WRITE}, summary="Create a card")
@in_transaction
def create_card(request: HttpRequest, body: CardIn) -> Status[Any]:
    """A new card waits for review."""
    require_permission(request, "memocards.add_memocard")
    card = cards.create(**body.dict(), editor=editor_for(request.user))
    return Status(201, _versioned(MemoCard, card.pk))


@cards_router.post("/approve", response={200: ChangedOut, **WRITE}, summary="Approve cards")
@in_transaction
def approve_cards(request: HttpRequest, body: ApprovalIn) -> dict[str, list[int]]:
    """Each is approved as it was read, by its `version`. Where one that waits has changed since, none is: 409, with
    `changed`."""
    require_permission(request, "memocards.approve_memocard")
    return {"changed": cards.approve(versions=body.versions, editor=editor_for(request.user))}


@cards_router.post("/unapprove", response={200: ChangedOut, **WRITE}, summary="Un-approve cards")
@in_transaction
def unapprove_cards(request: HttpRequest, body: Ids) -> dict[str, list[int]]:
    """They wait for review again, and viewers drop them. Learners keep their progress."""
    require_permission(request, "memocards.approve_memocard")
    return {"changed": cards.unapprove(keys=body.ids, editor=editor_for(request.user))}


@cards_router.post("/send-back", response={200: ChangedOut, **WRITE}, summary="Send cards back")
@in_transaction
def send_back_cards(request: HttpRequest, body: SendBackIn) -> dict[str, list[int]]:
    """Their authors read the reason, and viewers drop them. They wait for review again once they are edited."""
    require_permission(request, "memocards.approve_memocard")
    return {"changed": cards.send_back(keys=body.ids, reason=body.reason, editor=editor_for(request.user))}


@cards_router.patch("/{card_id}", response={200: CardOut, **CHANGE_ROW}, summary="Change a card")
@in_transaction
def update_card(request: HttpRequest, card_id: Id, body: PatchDict[CardIn]) -> MemoCard:
    """An approved card waits for review again when somebody who may not approve changes what learners see of it."""
    require_permission(request, "memocards.change_memocard")
    _refuse_if_changed(request, MemoCard, card_id, body)
    cards.update(key=card_id, changes=body, editor=editor_for(request.user))
    return _versioned(MemoCard, card_id)


@cards_router.delete("/{card_id}", response={204: None, **WRITE}, summary="Delete a card")
@in_transaction
def delete_card(request: HttpRequest, card_id: Id) -> Status[None]:
    require_permission(request, "memocards.delete_memocard")
    if not cards.delete(keys=[card_id], editor=editor_for(request.user)):
        _get(MemoCard, card_id)
    return Status(204, None)


@cards_router.post("/{card_id}/restore", response={200: CardOut, **WRITE}, summary="Restore a card")
@in_transaction
def restore_card(request: HttpRequest, card_id: Id) -> MemoCard:
    require_permission(request, "memocards.delete_memocard")
    cards.restore(keys=[card_id], editor=editor_for(request.user))
    return _versioned(MemoCard, card_id)


@cards_router.post(
    "/{card_id}/rate",
    response={200: RatedOut, **problems(401, 403, 404, 409, 410, 422, 429, 503)},
    auth=learner_auth,
    throttle=[rating_throttle],
    summary="Rate a card",
)
@in_transaction
def rate_card(request: HttpRequest, card_id: Id, body: RateIn) -> RatedOut:
    """The same `review_id` with the same body again answers what it answered first, and changes nothing."""
    try:
        return RatedOut.of(rating.rate_card(learner_id=learner_of(request), card_id=card_id, **body.dict()))
    except DomainError as error:
        error.review_id = body.review_id
        raise


@cards_router.post(
    "/{card_id}/undo",
    response={200: UndoneOut, **problems(401, 403, 404, 422, 429, 503)},
    auth=learner_auth,
    throttle=[rating_throttle],
    summary="Take an answer back",
)
@in_transaction
def undo_review(request: HttpRequest, card_id: Id, body: UndoIn | None = None) -> UndoneOut:
    """After the only answer to a card is taken back the card is unseen again."""
    review_id = None if body is None else body.review_id
    review = rating.undo_review(learner_id=learner_of(request), card_id=card_id, review_id=review_id)
    assert review.undone_at is not None  # noqa: S101
    return UndoneOut(review_id=review.pk, card_id=review.card_id, undone_at=review.undone_at)


def _refuse_if_changed(
    request: HttpRequest, model: type[R], key: int, changes: Mapping[str, Any] | None = None
) -> None:
    """Where `If-Match` names what its sender read: lock the row, and refuse if it is another by now.

    Raises NotFound, Conflict, PreconditionFailed.
    """
    version = request.headers.get("If-Match", "*").strip()
    if version == "*":
        return
    lock_with_topic(model, key, changes or {})
    if rows := changed_rows(model, {key: version.strip('"')}):
        raise PreconditionFailed(rows)


def _versioned(model: type[R], key: int) -> R:
    """A question or card as it is answered, with its version."""
    row: R | None = with_versions(model._base_manager.filter(pk=key)).first()
    if row is None:
        raise NotFound(str(model._meta.verbose_name), key)
    return row


def _get(model: type[M], key: int) -> M:
    row = model._base_manager.filter(pk=key).first()
    if row is None:
        raise NotFound(str(model._meta.verbose_name), key)
    return row


def _page(rows: QuerySet[M], query: PageQuery) -> dict[str, Any]:
    rows = rows.filter(pk__gt=query.after_id, deleted_at__isnull=not query.deleted).order_by("pk")
    items = list(rows[: query.limit])
    return {"items": items, "next_after_id": items[-1].pk if len(items) == query.limit else None}


def _content(rows: QuerySet[M], query: ContentQuery) -> QuerySet[M]:
    if query.topic_id is not None:
        rows = rows.filter(topic_id=query.topic_id)
    if query.needs_review is not None:
        rows = rows.filter(needs_review=query.needs_review)
    return rows
