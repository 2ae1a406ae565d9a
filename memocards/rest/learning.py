"""The learner's side of the REST API: what to study, answers made offline, statistics and settings."""

from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import PatchDict, Query, Router

from kit.problems.description import describe
from kit.problems.rest import Problem, problems
from memocards.errors import DomainError
from memocards.learning import learners as study_settings
from memocards.learning import queue, rating, statistics
from memocards.rest.callers import batch_throttle, learner_auth, learner_of
from memocards.rest.content import cards_router
from memocards.rest.content_schemas import Id, RatedOut
from memocards.rest.learning_schemas import (
    QueueOut,
    QueueQuery,
    ReviewResult,
    ReviewsIn,
    ReviewsOut,
    SettingsIn,
    SettingsOut,
    StatisticsOut,
    StudyCardDetailOut,
    UnseenPage,
    UnseenQuery,
    card_text,
)

TAGS = ["learning"]

learner_router = Router(auth=learner_auth, tags=TAGS)

READ = problems(401, 403, 503)
ASK = problems(401, 403, 422, 503)


@learner_router.get("/study-cards/due", response={200: QueueOut, **ASK}, summary="What to study now")
def due_cards(request: HttpRequest, query: Query[QueueQuery]) -> QueueOut:
    """Today's queue: cards that lapsed, then cards by the time they fell due, then new cards, up to what is left of the
    learner's `new_per_day` for this study day.

    Cards of one question do not come on the same study day: one of them is shown, the others are put off.
    """
    learner = study_settings.read_settings(learner_of(request))
    return QueueOut.of(queue.todays_queue(learner, now=timezone.now(), limit=query.limit))


@learner_router.get("/study-cards/unseen", response={200: UnseenPage, **ASK}, summary="List unseen cards")
def unseen_cards(request: HttpRequest, query: Query[UnseenQuery]) -> UnseenPage:
    """All cards that the learner never answered, in order of id, whatever may be begun today."""
    cards = queue.unseen_cards(learner_of(request), **query.dict())
    return UnseenPage(
        items=[card_text(card) for card in cards],
        next_after_id=cards[-1].pk if len(cards) == query.limit else None,
    )


# On the router of the staff's operations: one path has one view, whose methods differ in who may call.
@cards_router.get(
    "/{card_id}",
    response={200: StudyCardDetailOut, **problems(401, 403, 404, 409, 410, 422, 503)},
    auth=learner_auth,
    tags=TAGS,
    summary="Show a card to study",
)
def show_card(request: HttpRequest, card_id: Id) -> StudyCardDetailOut:
    """Front, back and where the learner stands with the card, and for each outcome when it would be due next.

    409: the card waits for review; 410: it was deleted.
    """
    learner = study_settings.read_settings(learner_of(request))
    return StudyCardDetailOut.from_detail(queue.study_card(learner, card_id, now=timezone.now()))


@learner_router.post(
    "/reviews",
    response={200: ReviewsOut, **problems(401, 403, 409, 422, 429, 503)},
    throttle=[batch_throttle],
    summary="Send reviews",
)
def send_reviews(request: HttpRequest, body: ReviewsIn) -> ReviewsOut:
    """Answers made offline, up to 1000, stored in one transaction by the rules of rating a single card.

    Each is stored or refused for itself: a refused one stops none of the others, and says why under `problem`. Sending
    the whole request again is safe. A request that cannot be read, or whose `client_now` cannot be right, is refused
    as a whole; so is one of whose ids another learner made use at the same moment (409: send it again).
    """
    results = rating.rate_cards(
        learner_id=learner_of(request),
        answers=[review.sent() for review in body.reviews],
        client_now=body.client_now,
    )
    return ReviewsOut(
        results=[_review_result(review.review_id, result) for review, result in zip(body.reviews, results, strict=True)]
    )


@learner_router.get("/stats", response={200: StatisticsOut, **READ}, summary="Read statistics")
def read_statistics(request: HttpRequest) -> StatisticsOut:
    """Counted by the learner's study days, which begin at the rollover hour in the learner's time zone. Answers that
    were taken back do not count."""
    learner = study_settings.read_settings(learner_of(request))
    return StatisticsOut.of(statistics.statistics_of(learner, now=timezone.now()))


@learner_router.get("/settings", response={200: SettingsOut, **READ}, summary="Read study settings")
def read_settings(request: HttpRequest) -> SettingsOut:
    """The learner's own settings, or the defaults, and the study day that follows from them."""
    return SettingsOut.of(study_settings.read_settings(learner_of(request)), now=timezone.now())


@learner_router.patch("/settings", response={200: SettingsOut, **ASK}, summary="Change study settings")
def change_settings(request: HttpRequest, body: PatchDict[SettingsIn]) -> SettingsOut:
    """Change those settings that are sent. They hold for the answers to come: a card keeps its due time until it is
    answered again, or an operator reschedules."""
    learner = study_settings.change_settings(learner_id=learner_of(request), changes=body)
    return SettingsOut.of(learner, now=timezone.now())


def _review_result(review_id: UUID, result: rating.Result) -> ReviewResult:
    if isinstance(result, DomainError):
        described = describe(result)
        assert described is not None  # noqa: S101
        return ReviewResult(review_id=review_id, status="refused", problem=Problem(**described))
    return ReviewResult(
        review_id=review_id,
        status="repeated" if result.repeated else "stored",
        result=RatedOut.of(result),
    )
