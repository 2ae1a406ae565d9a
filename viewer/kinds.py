"""The catalogue of kinds this version understands: where each goes, and how its payload is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from viewer.models import Card, CardProgress, Explanation, Projection, Question, Topic

Payload = Mapping[str, Any]
LARGEST = 2**63 - 1


class UnreadablePayload(Exception):
    """A payload that does not say what its kind and schema version promise."""


@dataclass(frozen=True)
class HeldKind:
    """`owner`: the model's field for the learner whose eyes alone may see a row; None for what everyone sees."""

    model: type[Projection]
    # The only version whose payloads `read` understands.
    schema_version: int
    # Payload in, values of the model's own columns out; raises UnreadablePayload.
    read: Callable[[Payload], dict[str, Any]]
    owner: str | None = None


def _value(payload: Payload, key: str) -> Any:
    if key not in payload:
        raise UnreadablePayload(f"{key} is missing")
    return payload[key]


def _whole(payload: Payload, key: str) -> int:
    value = _value(payload, key)
    if not isinstance(value, int) or isinstance(value, bool) or not -LARGEST <= value <= LARGEST:
        raise UnreadablePayload(f"{key} is not a whole number")
    return value


def _whole_or_none(payload: Payload, key: str) -> int | None:
    return None if _value(payload, key) is None else _whole(payload, key)


def _storable(text: object, key: str) -> str:
    if not isinstance(text, str):
        raise UnreadablePayload(f"{key} is not a text")
    # JSON can spell both; no database takes half a surrogate pair, and PostgreSQL takes no NUL.
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnreadablePayload(f"{key} holds a character that cannot be stored") from error
    if "\0" in text:
        raise UnreadablePayload(f"{key} holds a character that cannot be stored")
    return text


def _text(payload: Payload, key: str) -> str:
    value = _value(payload, key)
    return "" if value is None else _storable(value, key)


def _texts(payload: Payload, key: str) -> list[str]:
    value = _value(payload, key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise UnreadablePayload(f"{key} is not a list")
    return [_storable(element, key) for element in value]


def _time_or_none(payload: Payload, key: str) -> datetime | None:
    value = _value(payload, key)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnreadablePayload(f"{key} is not a time") from error


def _topic(payload: Payload) -> dict[str, Any]:
    return {
        "name": _text(payload, "name"),
        "description": _text(payload, "description"),
        "position": _whole_or_none(payload, "position") or 0,
    }


def _question(payload: Payload) -> dict[str, Any]:
    return {
        "topic_id": _whole(payload, "topic_id"),
        "stem": _text(payload, "stem"),
        "choices": _texts(payload, "choices"),
        "answer": _whole(payload, "answer"),
        "source": _text(payload, "source"),
    }


def _explanation(payload: Payload) -> dict[str, Any]:
    return {"question_id": _whole(payload, "question_id"), "body": _text(payload, "body")}


def _card(payload: Payload) -> dict[str, Any]:
    return {
        "topic_id": _whole(payload, "topic_id"),
        "question_id": _whole_or_none(payload, "question_id"),
        "front": _text(payload, "front"),
        "back": _text(payload, "back"),
        "tags": _texts(payload, "tags"),
    }


def _card_progress(payload: Payload) -> dict[str, Any]:
    return {
        "card_id": _whole(payload, "card_id"),
        "topic_id": _whole(payload, "topic_id"),
        "last_outcome": _text(payload, "last_outcome"),
        "last_reviewed_at": _time_or_none(payload, "last_reviewed_at"),
        "due_at": _time_or_none(payload, "due_at"),
        "review_stage": _whole_or_none(payload, "review_stage"),
    }


CATALOGUE: dict[str, HeldKind] = {
    "topic": HeldKind(Topic, 1, _topic),
    "question": HeldKind(Question, 1, _question),
    "explanation": HeldKind(Explanation, 1, _explanation),
    "card": HeldKind(Card, 1, _card),
    "card_progress": HeldKind(CardProgress, 1, _card_progress, owner="learner_id"),
}
