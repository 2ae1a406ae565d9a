"""The pages. Every one of them works without JavaScript."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from viewer import ratings
from viewer.models import Card, Outcome, Question, Rating, Topic
from viewer.owner import current_owner, is_anothers
from viewer.ratings import Recorded, record_rating, try_at_once
from viewer.status import current_status, study_note
from viewer.study import (
    cards_of_topic,
    due_cards,
    explanation_of,
    has_lapsed,
    neighbours,
    next_card,
    published_question,
    questions_of_topic,
    topics_with_counts,
    unseen_cards,
)

QUEUES = {"due": "Due now", "unseen": "Unseen"}
PER_PAGE = 50
# How long a rating may keep the learner waiting for the hub, in seconds.
HUB_PATIENCE = 2.0
LONGEST_KEPT_IN_A_FORM_MS = 24 * 60 * 60 * 1000


@never_cache
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    topics = topics_with_counts(now)
    return render(
        request,
        "viewer/home.html",
        {
            "topics": topics,
            "due": sum(row.due for row in topics),
            "unseen": sum(row.unseen for row in topics),
            "status": current_status(now),
        },
    )


@never_cache
@require_safe
def study(request: HttpRequest, queue: str) -> HttpResponse:
    """The first card of a queue, of one topic with `?topic=ID`."""
    if queue not in QUEUES:
        raise Http404("There is no such queue.")
    topic_id = _whole_number(request.GET.get("topic"))
    topic = get_object_or_404(Topic, pk=topic_id) if topic_id is not None else None
    now = timezone.now()
    card = next_card(queue, now, topic_id=topic_id)
    context: dict[str, object] = {
        "queue": queue,
        "title": QUEUES[queue],
        "topic": topic,
        "card": card,
        "left": _cards_in(queue, now, topic_id).count() if card else 0,
        "note": study_note(),
    }
    if card:
        context |= {
            "card_topic": topic or Topic.objects.filter(pk=card.topic_id).first(),
            "question": Question.objects.filter(pk=card.question_id).first() if card.question_id else None,
            # Made with the page: the same form sent twice is the same review.
            "review_id": uuid4(),
            "shown_at": int(now.timestamp() * 1000),
            "outcomes": Outcome.choices,
            "lapsed": queue == "due" and has_lapsed(card),
        }
    else:
        context["elsewhere"] = _cards_in(_other(queue), now, topic_id).count()
        context["other"] = _other(queue)
        context["other_title"] = QUEUES[_other(queue)]
    return render(request, "viewer/study.html", context)


@require_POST
def rate(request: HttpRequest) -> HttpResponse:
    """Record a rating, try the hub for a moment, and go on to the next card."""
    now = timezone.now()
    queue = request.POST.get("queue", "")
    topic_id = _whole_number(request.POST.get("topic"))
    try:
        review_id = UUID(request.POST.get("review_id", ""))
        outcome = Outcome(request.POST.get("outcome", ""))
        card_id = int(request.POST.get("card_id", ""))
    except ValueError:
        return _form_cannot_be_read(request)
    if queue not in QUEUES or not 0 < card_id < 2**63:
        return _form_cannot_be_read(request)
    shown_at = _whole_number(request.POST.get("shown_at"))
    answered_at = _answered_at(request, now)
    recorded = record_rating(
        review_id=review_id,
        card_id=card_id,
        outcome=outcome,
        reviewed_at=answered_at,
        duration_ms=int(answered_at.timestamp() * 1000) - shown_at if shown_at is not None else None,
    )
    if recorded is Recorded.NEW:
        try_at_once(seconds=HUB_PATIENCE)
        _say_what_became_of(request, review_id)
    elif recorded is Recorded.CARD_IS_HELD:
        messages.info(request, "That card was rated already, and its result is on the way. This tap was not counted.")
    elif recorded is Recorded.LEARNER_IS_ERASED:
        messages.warning(request, "The hub has erased this learner. Nothing was recorded.")
    elif recorded is Recorded.CARD_IS_GONE:
        messages.warning(request, "That card is no longer published. Nothing was recorded.")
    url = reverse("study", args=[queue])
    return redirect(f"{url}?{urlencode({'topic': topic_id})}" if topic_id is not None else url)


@never_cache
@require_safe
def topic(request: HttpRequest, topic_id: int) -> HttpResponse:
    now = timezone.now()
    topic = get_object_or_404(Topic, pk=_in_range(topic_id))
    return render(
        request,
        "viewer/topic.html",
        {
            "topic": topic,
            "now": now,
            "cards": _page(request, "cards", cards_of_topic(topic.pk, now)),
            "questions": _page(request, "questions", questions_of_topic(topic.pk)),
            "due": due_cards(now, topic_id=topic.pk).count(),
            "unseen": unseen_cards(topic_id=topic.pk).count(),
        },
    )


@never_cache
@require_safe
def question(request: HttpRequest, question_id: int) -> HttpResponse:
    """A question; with `?choice=N` also its answer, and whether N is it."""
    question = published_question(_in_range(question_id))
    if question is None:
        raise Http404("There is no such question.")
    before, after = neighbours(question)
    choice = _whole_number(request.GET.get("choice"))
    answered = choice is not None and 1 <= choice <= len(question.choices)
    return render(
        request,
        "viewer/question.html",
        {
            "question": question,
            "topic": Topic.objects.filter(pk=question.topic_id).first(),
            "choices": list(enumerate(question.choices, start=1)),
            "choice": choice,
            "answered": answered,
            "is_right": answered and choice == question.answer,
            "explanation": explanation_of(question) if answered else None,
            "before": before,
            "after": after,
        },
    )


@require_POST
def send_again(request: HttpRequest, review_id: UUID) -> HttpResponse:
    if ratings.send_again(review_id):
        try_at_once(seconds=HUB_PATIENCE)
        _say_what_became_of(request, review_id)
    else:
        messages.info(request, "That rating cannot be sent again: its card was rated anew, or it is gone.")
    return redirect("home")


@require_POST
def dismiss(request: HttpRequest, review_id: UUID) -> HttpResponse:
    if ratings.dismiss(review_id):
        messages.info(request, "The rating was dismissed.")
    return redirect("home")


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "404.html", status=404)


def form_expired(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's answer to a form without a valid CSRF token."""
    return render(request, "viewer/form_expired.html", status=403)


def storage_unavailable(request: HttpRequest, sentence: str) -> HttpResponse:
    """The database cannot be used. An answer that could not be kept stands in the form, to be sent again."""
    fields = None
    if request.path == reverse("rate") and request.POST.get("outcome") in Outcome:
        now = timezone.now()
        names = ("queue", "topic", "card_id", "review_id", "shown_at", "outcome")
        fields = {name: request.POST.get(name, "") for name in names}
        fields["answered_at"] = str(int(_answered_at(request, now).timestamp() * 1000))
    context = {"sentence": sentence, "fields": fields, "outcome": Outcome(fields["outcome"]).label if fields else ""}
    response = render(request, "viewer/unavailable.html", context, status=503)
    response["Retry-After"] = "10"
    return response


def _answered_at(request: HttpRequest, now: datetime) -> datetime:
    """When the answer was given: now, or as a form says that could not be kept when it was first sent."""
    milliseconds = _whole_number(request.POST.get("answered_at"))
    if milliseconds is None or not 0 <= now.timestamp() * 1000 - milliseconds < LONGEST_KEPT_IN_A_FORM_MS:
        return now
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _form_cannot_be_read(request: HttpRequest) -> HttpResponse:
    return render(request, "viewer/form_expired.html", status=400)


def _cards_in(queue: str, now: datetime, topic_id: int | None) -> QuerySet[Card]:
    return due_cards(now, topic_id=topic_id) if queue == "due" else unseen_cards(topic_id=topic_id)


def _other(queue: str) -> str:
    return "unseen" if queue == "due" else "due"


def _say_what_became_of(request: HttpRequest, review_id: UUID) -> None:
    rating = Rating.objects.get(pk=review_id)
    label = Outcome(rating.outcome).label
    if rating.state == Rating.State.ACCEPTED:
        messages.success(request, f"Rated: {label}.")
    elif rating.state == Rating.State.REFUSED:
        messages.error(request, f"The hub refused this rating. {rating.problem}")
    elif is_anothers(current_owner()):
        messages.info(request, f"Rated: {label}. The rating is kept here and not sent; the topics page says why.")
    else:
        messages.info(request, f"Rated: {label}. The hub is away; the rating is kept here and sent later.")


def _whole_number(text: str | None) -> int | None:
    """A number as it comes in an address or a form; None where it is none, or none that an id can be."""
    if not text or not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    return int(text)


def _in_range(number: int) -> int:
    """An id from a path, where any number of digits may stand."""
    if number >= 2**63:
        raise Http404("There is no such page.")
    return number


def _page(request: HttpRequest, name: str, rows: "QuerySet[Card] | QuerySet[Question]") -> "Page[Any]":
    return Paginator(rows, PER_PAGE).get_page(request.GET.get(name))
