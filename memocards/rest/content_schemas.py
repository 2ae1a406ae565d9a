"""What the REST API takes and gives."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from kit.scheduling import SCHEDULERS, Outcome
from memocards.learning.rating import CardState, Rated
from memocards.limits import TEXT_LIMIT


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


def _each_once(rows: list["ReadRow"]) -> list["ReadRow"]:
    if len({row.id for row in rows}) < len(rows):
        raise ValueError("Name each row once.")
    return rows


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


def _example(body: dict[str, Any]) -> ConfigDict:
    """What the documentation shows of a body. (The rest of the configuration is inherited.)"""
    return ConfigDict(json_schema_extra={"examples": [body]})


class TopicIn(Strict):
    model_config = _example(
        {
            "name": "World geography",
            "description": "Capital cities and great rivers.",
            "position": 1,
            "scheduler": "fsrs",
            "exam_date": "2026-06-01",
        }
    )

    name: Annotated[ShortText, Filled]
    description: Text = ""
    position: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    scheduler: Literal[tuple(SCHEDULERS)] = next(iter(SCHEDULERS))  # type: ignore[valid-type]
    exam_date: DayText | None = None


class TopicOut(Schema):
    model_config = _example(
        {
            "id": 7,
            "name": "World geography",
            "description": "Capital cities and great rivers.",
            "position": 1,
            "scheduler": "fsrs",
            "exam_date": "2026-06-01",
            "deleted_at": None,
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
        }
    )

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
    model_config = _example(
        {
            "topic_id": 7,
            "stem": "Which city is the capital of Australia?",
            "choices": ["Sydney", "Canberra", "Melbourne"],
            "answer": 2,
            "source": "Atlas",
            "external_id": "geo-q-01",
        }
    )

    topic_id: Id
    stem: FilledText
    choices: Annotated[list[Choice], Field(min_length=2, max_length=10)]
    answer: Annotated[int, Field(ge=1, le=10, description="The number of the right choice, from 1.")]
    source: Annotated[str, StringConstraints(max_length=500), Plain] = ""
    external_id: ShortText = ""


class QuestionIn(QuestionFields):
    needs_review: bool | None = Field(
        None,
        description="Whether it waits for review. false takes the permission to approve; left out, whoever has that "
        "publishes it at once.",
    )


class Versioned(Schema):
    """A row with what names its content."""

    version: str = Field(
        description="Names the content as learners would see it. Send it to approve what was read, or as `If-Match`.",
        examples=["5f1d7a84e2c0b3965f1d7a84e2c0b396-0a1b2c3d4e5f60718293"],
    )


class QuestionOut(Versioned):
    model_config = _example(
        {
            "id": 12,
            "topic_id": 7,
            "stem": "Which city is the capital of Australia?",
            "choices": ["Sydney", "Canberra", "Melbourne"],
            "answer": 2,
            "source": "Atlas",
            "external_id": "geo-q-01",
            "needs_review": False,
            "version": "0d34c6a18e7f25b90d34c6a18e7f25b9-1a2b3c4d5e6f708192a3b4c5",
            "explanation": "**Canberra** was planned as a capital.",
            "explanation_status": "ready",
            "explanation_attempts": 1,
            "explanation_error": "",
            "deleted_at": None,
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
        }
    )

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
    explanation_attempts: int = Field(description="How often a worker tried since it was last asked for.")
    explanation_error: str = Field(description="Why the last attempt failed; empty where none did.")
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime


class ExplanationIn(Strict):
    model_config = _example({"body": "**Canberra** was planned as a capital."})

    body: FilledText


class CardIn(Strict):
    model_config = _example(
        {
            "topic_id": 7,
            "question_id": 12,
            "front": "What is the capital of Australia?",
            "back": "**Canberra**",
            "tags": ["capitals"],
            "external_id": "geo-001",
        }
    )

    topic_id: Id
    question_id: Id | None = None
    front: FilledText
    back: FilledText
    tags: Annotated[list[Tag], Field(max_length=50)] = []
    external_id: ShortText = ""


class CardOut(Versioned):
    model_config = _example(
        {
            "id": 42,
            "topic_id": 7,
            "question_id": 12,
            "front": "What is the capital of Australia?",
            "back": "**Canberra**",
            "tags": ["capitals"],
            "external_id": "geo-001",
            "needs_review": True,
            "version": "5f1d7a84e2c0b3965f1d7a84e2c0b396-0a1b2c3d4e5f60718293",
            "reviewed_at": None,
            "deleted_at": None,
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
        }
    )

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
    model_config = _example({"ids": [42, 43]})

    ids: Annotated[list[Id], Field(min_length=1, max_length=10_000)]


class SendBackIn(Ids):
    model_config = _example({"ids": [42, 43], "reason": "The second choice is right as well."})

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), Plain] = Field(
        description="What is to be mended. The author reads it."
    )


class ReadRow(Strict):
    id: Id
    version: Annotated[str, StringConstraints(min_length=1, max_length=200), Plain] = Field(
        description="As it came with the row that was read."
    )


class ApprovalIn(Strict):
    model_config = _example({"items": [{"id": 42, "version": "5f1d7a84e2c0b3965f1d7a84e2c0b396-0a1b2c3d4e5f60718293"}]})

    items: Annotated[list[ReadRow], Field(min_length=1, max_length=10_000), AfterValidator(_each_once)]

    @model_validator(mode="before")
    @classmethod
    def _not_blindly(cls, body: Any) -> Any:
        if isinstance(body, dict) and "ids" in body:
            raise ValueError(
                'An approval is of what was read. Send {"items": [{"id": …, "version": …}]}, '
                "each with the `version` that came with the row."
            )
        return body

    @property
    def versions(self) -> dict[int, str]:
        return {row.id: row.version for row in self.items}


class ChangedOut(Schema):
    model_config = _example({"changed": [42]})

    changed: list[int] = Field(description="Those of the ids whose state changed, in rising order.")


class RateIn(Strict):
    model_config = _example(
        {
            "review_id": "8b0e6d3c-9c7c-4d2e-9d4a-0a1f5b6c7d8e",
            "outcome": "good",
            "reviewed_at": "2026-01-05T09:00:00Z",
            "client_now": "2026-01-05T09:00:02Z",
            "duration_ms": 4200,
        }
    )

    review_id: UuidText = Field(description="Made by the client, new for each answer. Sent again, it changes nothing.")
    outcome: OutcomeText
    reviewed_at: MomentText | None = Field(None, description="When the learner answered. Left out: now.")
    client_now: MomentText | None = Field(
        None,
        description="The client's clock as it sends this. Where it differs from the hub's by more than a slow line "
        "explains (slow by a minute or more, or fast), `reviewed_at` is corrected by the difference.",
    )
    duration_ms: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None


class RatedOut(Schema):
    model_config = _example(
        {
            "review_id": "8b0e6d3c-9c7c-4d2e-9d4a-0a1f5b6c7d8e",
            "card_id": 42,
            "outcome": "good",
            "reviewed_at": "2026-01-05T09:00:00Z",
            "review_stage": 1,
            "due_at": "2026-01-08T04:00:00Z",
            "repeated": False,
            "clamped": False,
            "card_state": "live",
        }
    )

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
            clamped=rated.review.clamped,
            card_state=rated.card_state,
        )


class UndoIn(Strict):
    model_config = _example({"review_id": "8b0e6d3c-9c7c-4d2e-9d4a-0a1f5b6c7d8e"})

    review_id: UuidText | None = Field(None, description="Left out: the learner's last answer to this card.")


class UndoneOut(Schema):
    model_config = _example(
        {"review_id": "8b0e6d3c-9c7c-4d2e-9d4a-0a1f5b6c7d8e", "card_id": 42, "undone_at": "2026-01-05T09:01:00Z"}
    )

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
