"""What the learner's side of the REST API takes and gives."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from ninja import Schema
from pydantic import AfterValidator, Field, StringConstraints

from kit.problems.rest import Problem
from kit.scheduling import Outcome
from memocards.learning.learners import study_clock
from memocards.learning.leeches import is_leech
from memocards.learning.queue import Queue, StudyCard, StudyCardDetail, StudyState
from memocards.learning.rating import SentAnswer
from memocards.learning.statistics import Retention, Statistics
from memocards.models import CardProgress, LearnerSettings, MemoCard
from memocards.rest.content_schemas import Id, MomentText, OutcomeText, RatedOut, Strict, UuidText

LONGEST_BATCH = 1000


# Cards


class ProgressOut(Schema):
    last_outcome: Outcome = Field(examples=["good"])
    last_reviewed_at: datetime = Field(examples=["2026-01-05T09:00:00Z"])
    due_at: datetime | None = Field(
        description="When the study day begins on which the card is due; null: graduated, or known on first sight.",
        examples=["2026-01-08T04:00:00Z"],
    )
    review_stage: int = Field(examples=[1])
    review_count: int = Field(examples=[2])
    lapse_count: int = Field(description="How often the card was forgotten after its first answer.", examples=[0])


class CardText(Schema):
    id: int = Field(examples=[42])
    topic_id: int = Field(examples=[7])
    question_id: int | None = Field(description="The question that the card belongs to.", examples=[None])
    front: str = Field(description="Markdown.", examples=["Which river runs through Seoul?"])
    back: str = Field(description="Markdown.", examples=["The Han."])
    tags: list[str] = Field(examples=[["rivers"]])


class StudyCardOut(CardText):
    state: StudyState = Field(
        description="`new`: never answered. `lapsed`: due, and forgotten the last time. `due`. `later`: due on a later "
        "study day. `known`: graduated, or known on first sight.",
        examples=["due"],
    )
    is_leech: bool = Field(
        description="Forgotten 8 times, or 12, 16 …: something may be wrong with the card.", examples=[False]
    )
    progress: ProgressOut | None = Field(description="null: a new card.")

    @classmethod
    def of(cls, shown: StudyCard) -> "StudyCardOut":
        return cls(**_shown_fields(shown))


class QueueOut(Schema):
    day: date = Field(description="The learner's present study day.", examples=["2026-01-08"])
    new_left: int = Field(
        description="How many new cards may still be begun on this study day, those of `items` included.", examples=[20]
    )
    items: list[StudyCardOut] = Field(description="In the order in which to study them.")

    @classmethod
    def of(cls, queue: Queue) -> "QueueOut":
        return cls(day=queue.day, new_left=queue.new_left, items=[StudyCardOut.of(card) for card in queue.cards])


class UnseenPage(Schema):
    items: list[CardText]
    next_after_id: int | None = Field(
        description="Send it as `after_id` for the next page; null at the end.", examples=[42]
    )


class TopicRef(Schema):
    id: int = Field(examples=[7])
    name: str = Field(examples=["Capitals and rivers"])


class NextOut(Schema):
    due_at: datetime | None = Field(description="null: the card is done, and not asked again.")
    days: int | None = Field(description="The interval in study days, as a button may show it. 1: tomorrow.")


class NextByOutcome(Schema):
    again: NextOut
    hard: NextOut
    good: NextOut
    easy: NextOut


class StudyCardDetailOut(StudyCardOut):
    topic: TopicRef
    next: NextByOutcome = Field(
        description="What each outcome would lead to if it were given now.",
        examples=[
            {
                "again": {"due_at": "2026-01-09T04:00:00Z", "days": 1},
                "hard": {"due_at": "2026-01-11T04:00:00Z", "days": 3},
                "good": {"due_at": "2026-01-15T04:00:00Z", "days": 7},
                "easy": {"due_at": "2026-01-22T04:00:00Z", "days": 14},
            }
        ],
    )

    @classmethod
    def from_detail(cls, detail: StudyCardDetail) -> "StudyCardDetailOut":
        topic = detail.shown.card.topic
        by_outcome = {
            outcome.value: NextOut(due_at=step.due_at, days=step.days) for outcome, step in detail.next.items()
        }
        return cls(
            **_shown_fields(detail.shown),
            topic=TopicRef(id=topic.pk, name=topic.name),
            next=NextByOutcome(**by_outcome),
        )


class QueueQuery(Schema):
    limit: Annotated[int, Field(ge=1, le=500, description="At most so many cards.")] = 100


class UnseenQuery(Schema):
    after_id: Annotated[int, Field(ge=0, le=2**63 - 1, description="The last page's `next_after_id`.")] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    topic_id: Id | None = Field(None, description="Only cards of this topic.")


def card_text(card: MemoCard) -> CardText:
    return CardText(
        id=card.pk,
        topic_id=card.topic_id,
        question_id=card.question_id,
        front=card.front,
        back=card.back,
        tags=card.tags,
    )


# Statistics


class TodayOut(Schema):
    day: date = Field(examples=["2026-01-08"])
    answered: int = Field(description="Answers.", examples=[24])
    new: int = Field(description="Cards answered for the first time.", examples=[5])
    correct: int = Field(description="Answers that were not `again`.", examples=[21])


class DayCountOut(Schema):
    day: date = Field(examples=["2026-01-08"])
    count: int = Field(examples=[24])


class RetentionOut(Schema):
    answered: int = Field(description="Answers to cards that were due: neither early nor new.", examples=[200])
    correct: int = Field(description="Those of them that were not `again`.", examples=[180])
    share: float | None = Field(description="0 to 1; null without such answers.", examples=[0.9])

    @classmethod
    def of(cls, retention: Retention) -> "RetentionOut":
        return cls(answered=retention.answered, correct=retention.correct, share=retention.share)


class RetentionsOut(Schema):
    last_30_days: RetentionOut
    all: RetentionOut


class ForecastOut(Schema):
    load_per_day: float = Field(description="Cards a day: the mean of the forecast.", examples=[12.5])
    days: list[DayCountOut] = Field(
        description="Cards due on each of 30 study days from today on. Today has all that is overdue."
    )


class StatisticsOut(Schema):
    today: TodayOut
    streak: int = Field(
        description="Study days in a row with an answer, up to today, or to yesterday while today has none.",
        examples=[12],
    )
    heatmap: list[DayCountOut] = Field(
        description="Answers by study day, over the last 365. Days without any are left out."
    )
    retention: RetentionsOut
    forecast: ForecastOut

    @classmethod
    def of(cls, statistics: Statistics) -> "StatisticsOut":
        today = statistics.today
        return cls(
            today=TodayOut(day=today.day, answered=today.answered, new=today.new, correct=today.correct),
            streak=statistics.streak,
            heatmap=[DayCountOut(day=entry.day, count=entry.count) for entry in statistics.heatmap],
            retention=RetentionsOut(
                last_30_days=RetentionOut.of(statistics.retention_30_days),
                all=RetentionOut.of(statistics.retention_all),
            ),
            forecast=ForecastOut(
                load_per_day=statistics.load_per_day,
                days=[DayCountOut(day=entry.day, count=entry.count) for entry in statistics.forecast],
            ),
        )


# Reviews made offline


class ReviewIn(Strict):
    card_id: Id = Field(examples=[42])
    review_id: UuidText = Field(description="Made by the client, new for each answer. Sent again, it changes nothing.")
    outcome: OutcomeText = Field(examples=["good"])
    reviewed_at: MomentText = Field(
        description="When the learner answered, by the client's clock.", examples=["2026-01-05T09:00:00Z"]
    )
    duration_ms: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(None, examples=[4200])

    def sent(self) -> SentAnswer:
        return SentAnswer(self.card_id, self.review_id, self.outcome, self.reviewed_at, self.duration_ms)


class ReviewsIn(Strict):
    client_now: MomentText | None = Field(
        None,
        description="The client's clock as it sends this. Where it differs from the hub's by more than a slow line "
        "explains (slow by a minute or more, or fast), every `reviewed_at` is corrected by the difference.",
        examples=["2026-01-05T12:00:00Z"],
    )
    reviews: Annotated[list[ReviewIn], Field(min_length=1, max_length=LONGEST_BATCH)]


class ReviewResult(Schema):
    review_id: UUID
    status: Literal["stored", "repeated", "refused"] = Field(
        description="`repeated`: it had been stored before; `result` is what it gave then. `refused`: see `problem`."
    )
    result: RatedOut | None = None
    problem: Problem | None = None


class ReviewsOut(Schema):
    results: list[ReviewResult] = Field(description="One for each review, in the order in which they were sent.")


# Settings


def _time_zone(name: str) -> str:
    if name:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError("This is not a time zone, such as Asia/Seoul.") from None
    return name


class SettingsIn(Strict):
    time_zone: Annotated[str, StringConstraints(max_length=64), AfterValidator(_time_zone)] = Field(
        "", description="Empty: the hub's.", examples=["Asia/Seoul"]
    )
    rollover_hour: Annotated[int, Field(ge=0, le=23)] | None = Field(
        None, description="The hour at which a study day begins; null: the hub's.", examples=[4]
    )
    new_per_day: Annotated[int, Field(ge=0, le=9999)] = Field(20, examples=[20])
    desired_retention: Annotated[float, Field(ge=0.7, le=0.99)] = Field(
        0.9, description="The chance of recall at which FSRS asks a card again.", examples=[0.9]
    )


class StudyDayOut(Schema):
    day: date = Field(examples=["2026-01-08"])
    time_zone: str = Field(examples=["Asia/Seoul"])
    rollover_hour: int = Field(examples=[4])


class SettingsOut(Schema):
    time_zone: str = Field(description="Empty: the hub's.", examples=["Asia/Seoul"])
    rollover_hour: int | None = Field(description="null: the hub's.", examples=[4])
    new_per_day: int = Field(examples=[20])
    desired_retention: float = Field(examples=[0.9])
    study_day: StudyDayOut = Field(description="The present study day, and what it goes by.")

    @classmethod
    def of(cls, learner: LearnerSettings, *, now: datetime) -> "SettingsOut":
        clock = study_clock(learner)
        return cls(
            time_zone=learner.time_zone,
            rollover_hour=learner.rollover_hour,
            new_per_day=learner.new_per_day,
            desired_retention=learner.desired_retention,
            study_day=StudyDayOut(
                day=clock.study_day(now), time_zone=clock.time_zone, rollover_hour=clock.rollover_hour
            ),
        )


def _shown_fields(shown: StudyCard) -> dict[str, Any]:
    return {
        **card_text(shown.card).dict(),
        "state": shown.state,
        "is_leech": shown.progress is not None and is_leech(shown.progress.lapse_count),
        "progress": None if shown.progress is None else _progress(shown.progress),
    }


def _progress(row: CardProgress) -> ProgressOut:
    return ProgressOut(
        last_outcome=Outcome(row.last_outcome),
        last_reviewed_at=row.last_reviewed_at,
        due_at=row.due_at,
        review_stage=row.review_stage,
        review_count=row.review_count,
        lapse_count=row.lapse_count,
    )
