"""What the REST API takes and gives."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from ninja import Schema
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, ConfigDict, Field, StringConstraints

from memocards.models import TEXT_LIMIT
from memocards.rating import CardState, Rated
from memocards.scheduling import Outcome


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("A text may not contain the NUL character.")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("This text may not be blank.")
    return text


def _only_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("This must be a text.")
    return value


def _as_outcome(value: object) -> object:
    return Outcome(value) if isinstance(value, str) and value in list(Outcome) else value


Plain = AfterValidator(_without_nul)
Filled = AfterValidator(_not_blank)
Text = Annotated[str, StringConstraints(max_length=TEXT_LIMIT), Plain]
FilledText = Annotated[Text, Filled]
ShortText = Annotated[str, StringConstraints(max_length=200), Plain]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=100), Plain]
Choice = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_LIMIT), Plain]
# JSON has texts for these; a number is a mistake, though it could be read as a time.
MomentText = Annotated[AwareDatetime, BeforeValidator(_only_text), Field(strict=False)]
DayText = Annotated[date, BeforeValidator(_only_text), Field(strict=False)]
UuidText = Annotated[UUID, BeforeValidator(_only_text), Field(strict=False)]
OutcomeText = Annotated[Outcome, BeforeValidator(_as_outcome)]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]


class Strict(Schema):
    """A body in which a misspelt field is an error, not silence, and `false` is not 0."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TopicIn(Strict):
    name: Annotated[ShortText, Filled]
    description: Text = ""
    position: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    scheduler: Literal["ladder", "fsrs"] = "ladder"
    exam_date: DayText | None = None


class TopicOut(Schema):
    id: int
    name: str
    description: str
    position: int
    scheduler: str
    exam_date: date | None
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime


class QuestionFields(Strict):
    topic_id: Id
    stem: FilledText
    choices: Annotated[list[Choice], Field(min_length=2, max_length=10)]
    answer: Annotated[int, Field(ge=1, le=10, description="The number of the right choice, from 1.")]
    source: Annotated[str, StringConstraints(max_length=500), Plain] = ""
    external_id: ShortText = ""


class QuestionIn(QuestionFields):
    needs_review: bool = False


class QuestionOut(Schema):
    id: int
    topic_id: int
    stem: str
    choices: list[str]
    answer: int
    source: str
    external_id: str
    needs_review: bool
    explanation: str
    explanation_status: str
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime


class ExplanationIn(Strict):
    body: FilledText


class CardIn(Strict):
    topic_id: Id
    question_id: Id | None = None
    front: FilledText
    back: FilledText
    tags: Annotated[list[Tag], Field(max_length=50)] = []
    external_id: ShortText = ""


class CardOut(Schema):
    id: int
    topic_id: int
    question_id: int | None
    front: str
    back: str
    tags: list[str]
    external_id: str
    needs_review: bool
    reviewed_at: datetime | None
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Ids(Strict):
    ids: Annotated[list[Id], Field(min_length=1, max_length=10_000)]


class ChangedOut(Schema):
    changed: list[int] = Field(description="Those of the ids whose state changed, in rising order.")


class RateIn(Strict):
    review_id: UuidText = Field(description="Made by the client, new for each answer. Sent again, it changes nothing.")
    outcome: OutcomeText
    reviewed_at: MomentText | None = Field(None, description="When the learner answered. Left out: now.")
    client_now: MomentText | None = Field(
        None,
        description="The client's clock as it sends this: the difference to the hub's corrects `reviewed_at`.",
    )
    duration_ms: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None


class RatedOut(Schema):
    review_id: UUID
    card_id: int
    outcome: Outcome
    reviewed_at: datetime
    review_stage: int
    due_at: datetime | None = Field(description="null: graduated, or known on first sight.")
    repeated: bool = Field(description="This review_id had been stored before; this is what it gave then.")
    clamped: bool = Field(description="The time claimed lay in the future; the time of receipt stands for it.")
    card_state: CardState = Field(description="`waiting`, `deleted`: the card was taken back after this answer.")

    @classmethod
    def of(cls, rated: Rated) -> "RatedOut":
        review = rated.review
        return cls(
            review_id=review.pk,
            card_id=review.card_id,
            outcome=Outcome(review.outcome),
            reviewed_at=review.reviewed_at,
            review_stage=review.stage_after,
            due_at=review.due_after,
            repeated=rated.repeated,
            clamped=rated.clamped,
            card_state=rated.card_state,
        )


class UndoIn(Strict):
    review_id: UuidText | None = Field(None, description="Left out: the learner's last answer to this card.")


class UndoneOut(Schema):
    review_id: UUID
    card_id: int
    undone_at: datetime


class TopicPage(Schema):
    items: list[TopicOut]
    next_after_id: int | None = Field(description="Send it as `after_id` for the next page; null at the end.")


class QuestionPage(Schema):
    items: list[QuestionOut]
    next_after_id: int | None


class CardPage(Schema):
    items: list[CardOut]
    next_after_id: int | None


class PageQuery(Schema):
    """Rows in order of id, from `after_id` on."""

    after_id: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    deleted: bool = False


class ContentQuery(PageQuery):
    topic_id: Id | None = None
    needs_review: bool | None = None
