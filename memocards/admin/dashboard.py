"""How things stand, for the first page of the back office: what waits, what is published, how much is learned.

Each figure is one statement or two, and is asked for only where the user may see it.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Case, Count, F, Min, Value, When
from django.db.models.functions import Greatest, Now, TruncDate
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from memocards.admin import charts
from memocards.models import ExplanationStatus, MemoCard, Question, Review
from memocards.states import LIVE, UNAPPROVED, WAITING
from publish.models import FeedState, PublishOutbox, SetAside, Subscriber

TOPICS_SHOWN: Final = 12
RATING_DAYS: Final = 30


@dataclass(frozen=True)
class WaitingTopic:
    """What waits for review in one topic; the last of the list may stand for all that are not listed."""

    topic_id: int | None
    name: str
    questions: int
    cards: int
    chart: SafeString

    @property
    def rows(self) -> int:
        return self.questions + self.cards


@dataclass(frozen=True)
class Waiting:
    topics: list[WaitingTopic]
    questions: int
    cards: int
    sent_back: int


@dataclass(frozen=True)
class ExplanationState:
    state: str
    label: str
    questions: int
    chart: SafeString


@dataclass(frozen=True)
class Publishing:
    """`oldest`: when the oldest row of the outbox was written; None: nothing is pending."""

    depth: int
    oldest: datetime | None
    head: int
    set_aside: int


@dataclass(frozen=True)
class SubscriberStanding:
    """`lag`: how many places of the feed it has yet to pass."""

    name: str
    lag: int
    last_seen_at: datetime | None
    must_start_over: bool
    chart: SafeString


@dataclass(frozen=True)
class RatingDay:
    day: str
    ratings: int


@dataclass(frozen=True)
class Ratings:
    days: list[RatingDay]
    chart: SafeString

    @property
    def today(self) -> int:
        return self.days[-1].ratings

    @property
    def total(self) -> int:
        return sum(day.ratings for day in self.days)

    @property
    def most(self) -> RatingDay:
        return max(self.days, key=lambda day: day.ratings)


def figures_for(user: Any) -> dict[str, Any]:
    """Name → figures, of those that this user may see."""
    reviewed = [name for name in ("question", "memocard") if user.has_perm(f"memocards.view_{name}")]
    figures: dict[str, Any] = {}
    if reviewed:
        figures["waiting"] = waiting(questions="question" in reviewed, cards="memocard" in reviewed)
        figures["may_review"] = any(user.has_perm(f"memocards.approve_{name}") for name in reviewed)
    if user.has_perm("memocards.view_question"):
        figures["explanations"] = explanations()
    if user.has_perm("publish.view_publishoutbox") and user.has_perm("publish.view_feedstate"):
        figures["publishing"] = publishing()
    if user.has_perm("publish.view_subscriber"):
        figures["subscribers"] = subscribers()
    if user.has_perm("memocards.view_review"):
        figures["ratings"] = ratings()
    return figures


def waiting(*, questions: bool = True, cards: bool = True) -> Waiting:
    """What waits for review, the topics with most of it first."""
    counted: dict[str, Counter[tuple[int | None, str]]] = {"questions": Counter(), "cards": Counter()}
    sent_back = 0
    for name, model, wanted in (("questions", Question, questions), ("cards", MemoCard, cards)):
        if not wanted:
            continue
        rows = (
            model._base_manager.filter(LIVE & UNAPPROVED)
            .order_by()
            .values_list("topic_id", "topic__name")
            .annotate(waiting=Count("pk", filter=WAITING), sent=Count("pk", filter=~WAITING))
        )
        for topic_id, topic, count, sent in rows:
            counted[name][topic_id, topic] += count
            sent_back += sent
    totals = counted["questions"] + counted["cards"]
    listed = [key for key, _count in sorted(totals.items(), key=lambda pair: (-pair[1], pair[0][1]))]
    shown = [(*key, counted["questions"][key], counted["cards"][key]) for key in listed[:TOPICS_SHOWN]]
    if rest := listed[TOPICS_SHOWN:]:
        others = {name: sum(counted[name][key] for key in rest) for name in counted}
        shown.append((None, _("%d more topics") % len(rest), others["questions"], others["cards"]))
    most = max((of_questions + of_cards for *_topic, of_questions, of_cards in shown), default=0)
    return Waiting(
        topics=[
            WaitingTopic(key, name, of_questions, of_cards, _two_parts(of_questions, of_cards, most))
            for key, name, of_questions, of_cards in shown
        ],
        questions=counted["questions"].total(),
        cards=counted["cards"].total(),
        sent_back=sent_back,
    )


def explanations() -> list[ExplanationState]:
    """Questions that are not deleted, by the state of their explanation."""
    rows = Question.objects.filter(deleted_at__isnull=True).order_by().values_list("explanation_status")
    counts = dict(rows.annotate(questions=Count("pk")))
    most = max(counts.values(), default=0)
    return [
        ExplanationState(
            state.value,
            str(state.label),
            counts.get(state.value, 0),
            charts.bar([(f"explanation-{state.value}", counts.get(state.value, 0))], most),
        )
        for state in ExplanationStatus
    ]


def publishing() -> Publishing:
    outbox = PublishOutbox.objects.aggregate(depth=Count("pk"), oldest=Min("created_at"))
    state = FeedState.objects.first()
    return Publishing(
        depth=outbox["depth"],
        oldest=outbox["oldest"],
        head=state.last_seq if state else 0,
        set_aside=SetAside.objects.count(),
    )


def subscribers() -> list[SubscriberStanding]:
    """Those whose tokens are valid, the one furthest behind first."""
    state = FeedState.objects.first()
    head, floor = (state.last_seq, state.tombstone_floor) if state else (0, 0)
    rows = (
        Subscriber.objects.filter(revoked_at__isnull=True)
        .alias(reach=Greatest("last_seq", "scan_head"))
        .annotate(
            lag=Value(head) - F("last_seq"),
            over=Case(When(last_seen_at__isnull=False, reach__lt=floor, then=Value(True)), default=Value(False)),
        )
    )
    subscribers: list[Any] = list(rows.order_by("-lag", "name"))
    most = max((row.lag for row in subscribers), default=0)
    return [
        SubscriberStanding(row.name, row.lag, row.last_seen_at, row.over, charts.bar([("lag", row.lag)], most))
        for row in subscribers
    ]


def ratings() -> Ratings:
    """Answers that were not taken back, by the day on which they came in, the last RATING_DAYS days."""
    today = timezone.localdate()
    days = [today - timedelta(days=ago) for ago in reversed(range(RATING_DAYS))]
    counts = dict(
        # A day more than is shown: the index is asked by the clock, the days are the reader's.
        Review.objects.filter(undone_at__isnull=True, received_at__gte=Now() - timedelta(days=RATING_DAYS + 1))
        .order_by()
        .values_list(TruncDate("received_at"))
        .annotate(ratings=Count("pk"))
    )
    shown = [RatingDay(date_format(day, "DATE_FORMAT"), counts.get(day, 0)) for day in days]
    total = sum(day.ratings for day in shown)
    label = _("Ratings of the last %(days)d days: %(total)d.") % {"days": RATING_DAYS, "total": total}
    return Ratings(shown, charts.columns([(day.day, day.ratings) for day in shown], label))


def _two_parts(questions: int, cards: int, most: int) -> SafeString:
    return charts.bar([("questions", questions), ("cards", cards)], most)
