"""Cards and questions as CSV, TSV or JSON Lines: what import_cards and import_questions read again."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TextIO

from memocards.exchange.markup import Markup
from memocards.exchange.names import name_of
from memocards.exporting.selection import AT_ONCE, cards_of, questions_of
from memocards.models import ExplanationStatus, MemoCard, Question, Topic

CONTENT_FORMATS: Final = ("csv", "tsv", "jsonl")
CARD_COLUMNS: Final = ("topic", "external_id", "front", "back", "tags", "source", "markup")
QUESTION_COLUMNS: Final = ("topic", "external_id", "stem", "choices", "answer", "explanation", "source", "markup")
# An import takes these texts as they are: what looks like HTML in them is text, and blanks at their ends are kept.
_MARKUP: Final = {"markup": Markup.EXACT.value}


def export_content(
    topics: Sequence[Topic],
    out: TextIO,
    *,
    format: str,
    questions: bool = False,
    waiting: bool = False,
    on_written: Callable[[int], None] = lambda count: None,
) -> int:
    """Write the live cards, or the questions, of these topics. Returns how many.

    `waiting`: those that wait for review too. A row without an external id gets a name by which this hub knows it
    again, and another hub its own copy. Rows are read as they are written, however many there are.
    """
    columns = QUESTION_COLUMNS if questions else CARD_COLUMNS
    write = _lines(out) if format == "jsonl" else _table(out, columns, "\t" if format == "tsv" else ",")
    count = 0
    for row in _rows(topics, questions=questions, waiting=waiting):
        write(row)
        count += 1
        on_written(1)
    return count


def _rows(topics: Sequence[Topic], *, questions: bool, waiting: bool) -> Iterator[Mapping[str, Any]]:
    for topic in topics:
        if questions:
            for question in questions_of(topic, waiting=waiting).iterator(AT_ONCE):
                yield _question(topic, question)
        else:
            for card in cards_of(topic, waiting=waiting).iterator(AT_ONCE):
                yield _card(topic, card)


def _card(topic: Topic, card: MemoCard) -> dict[str, Any]:
    return {
        "topic": topic.name,
        "external_id": name_of(card),
        "front": card.front,
        "back": card.back,
        "tags": card.tags,
        "source": card.source,
        **_MARKUP,
    }


def _question(topic: Topic, question: Question) -> dict[str, Any]:
    ready = question.explanation_status == ExplanationStatus.READY
    return {
        "topic": topic.name,
        "external_id": name_of(question),
        "stem": question.stem,
        "choices": question.choices,
        "answer": question.answer,
        "explanation": question.explanation if ready else "",
        "source": question.source,
        **_MARKUP,
    }


def _lines(out: TextIO) -> Callable[[Mapping[str, Any]], None]:
    def write(row: Mapping[str, Any]) -> None:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write


def _table(out: TextIO, columns: Sequence[str], delimiter: str) -> Callable[[Mapping[str, Any]], None]:
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(columns)

    def write(row: Mapping[str, Any]) -> None:
        writer.writerow([_cell(row[name]) for name in columns])

    return write


def _cell(value: Any) -> str:
    # A list as JSON: a tag may hold blanks and commas, a choice anything.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
