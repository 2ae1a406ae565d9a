"""What this hub exports comes back exactly as it was, and finds its rows again; another hub takes it for its own."""

import io
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from hypothesis import given, settings
from hypothesis import strategies as st

from memocards.content.editors import SYSTEM
from memocards.exchange.names import name_of
from memocards.exporting import CONTENT_FORMATS, export_anki, export_content
from memocards.importing.reading import Reading, read
from memocards.importing.rows import RowKind
from memocards.importing.storing import preview, store
from memocards.models import MemoCard, Question, Topic
from tests.factories import MemoCardFactory, QuestionFactory, TopicFactory
from tests.memocards.importing.files import bad, cards, items, write

pytestmark = pytest.mark.django_db(transaction=True)

PIECES = st.sampled_from(
    [
        *("<b>html</b>", "What does <script> do?", "a <br> b", "<img src=x>", "<!-- c -->", "<p>", "&lt;", "&nbsp;"),
        *("\n", "\r", "\r\n", "\t", "    ", "\x0b", "\x1c", "\x1f", "\x7f", "\x85", "\u00a0", "\u2028", "\ufeff"),
        *("[sound:a.mp3]", "[x]: http://y", "```", "|", ",", ";", "'", '"', "[", "\\", "#", "가", "e\u0301"),
        *("=1+1", "null", '["a"]', '{"a": 1}', "007"),
    ]
)
ANYTHING = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TEXTS = st.lists(PIECES | ANYTHING, max_size=6).map("".join)
FULL = TEXTS.filter(re.compile(r"[\S\x1c-\x1f]").search)
SHORT = TEXTS.map(lambda text: text[:100])
TAGS = st.lists(SHORT.filter(bool), max_size=4)
CARDS = st.fixed_dictionaries({"front": FULL, "back": FULL, "tags": TAGS, "source": SHORT})
QUESTIONS = st.fixed_dictionaries(
    {
        "stem": FULL,
        "choices": st.lists(TEXTS.filter(bool), min_size=2, max_size=4),
        "answer": st.integers(1, 2),
        "source": SHORT,
        "explanation": st.just("") | FULL,
    }
)


def exported(topic: Topic, format: str, *, questions: bool = False) -> Reading:
    out = io.StringIO(newline="")
    export_content([topic], out, format=format, questions=questions, waiting=True)
    kind = RowKind.QUESTION if questions else RowKind.CARD
    return read(io.BytesIO(out.getvalue().encode()), name=f"a.{format}", kind=kind)


def comes_back(topic: Topic, rows: Reading, model: type[MemoCard | Question], names: list[str]) -> None:
    before = list(model.objects.filter(topic=topic).order_by("pk").values(*names))
    seen = preview(rows)
    assert (seen.report.bad_rows, seen.differences, seen.report.unchanged) == ([], [], len(before))
    other = TopicFactory.create()
    assert store(rows, topic=other.name, editor=SYSTEM).new == len(before)
    assert list(model.objects.filter(topic=other).order_by("pk").values(*names)) == before


@pytest.mark.parametrize("format", CONTENT_FORMATS)
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(CARDS, min_size=1, max_size=4))
def test_cards_come_back_exactly(format: str, rows: list[dict[str, Any]]) -> None:
    topic = TopicFactory.create()
    MemoCard.objects.bulk_create(MemoCard(topic=topic, **row) for row in rows)
    comes_back(topic, exported(topic, format), MemoCard, ["front", "back", "tags", "source"])


@pytest.mark.parametrize("format", CONTENT_FORMATS)
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(QUESTIONS, min_size=1, max_size=4))
def test_questions_come_back_exactly(format: str, rows: list[dict[str, Any]]) -> None:
    topic = TopicFactory.create()
    Question.objects.bulk_create(
        Question(topic=topic, explanation_status="ready" if row["explanation"] else "none", **row) for row in rows
    )
    names = ["stem", "choices", "answer", "source", "explanation", "explanation_status"]
    comes_back(topic, exported(topic, format, questions=True), Question, names)


@pytest.mark.parametrize("format", CONTENT_FORMATS)
def test_the_longest_texts_and_odd_names_come_back(format: str) -> None:
    topic = TopicFactory.create(name="Two  blanks <b>and</b> a tab\t")
    MemoCardFactory.create(topic=topic, external_id=" odd  id ", front="\x01" * 20_000, back='"' * 20_000)
    QuestionFactory.create(topic=topic, stem="\x01" * 20_000, choices=["\x01" * 10_000] * 2)
    comes_back(topic, exported(topic, format), MemoCard, ["external_id", "front", "back"])
    comes_back(topic, exported(topic, format, questions=True), Question, ["stem", "choices"])


def test_an_empty_source_empties_the_one_that_is_there() -> None:
    card = MemoCardFactory.create(source="")
    rows = exported(card.topic, "csv")
    MemoCard.objects.update(source="slipped in")
    assert store(rows, editor=SYSTEM).changed == 1
    assert MemoCard.objects.get().source == ""


def test_a_row_says_how_its_texts_are_written(tmp_path: Path) -> None:
    text = "front,back,tags,markup\n" + "".join(
        f'" <b>x</b>",y,"[""a b"","" c""]",{markup}\n' for markup in ("", "markdown", "HTML", " Exact ", "wiki")
    )
    entries = items(write(tmp_path / "a.csv", text))
    assert [(row.front, row.tags) for row in cards(entries)] == [
        *[("**x**", ("a b", "c"))] * 3,
        (" <b>x</b>", ("a b", " c")),
    ]
    assert bad(entries) == [("line 6", "The markup 'wiki' is none of these: markdown, html, exact.")]


def test_an_exact_row_is_refused_where_the_database_would_refuse_it(tmp_path: Path) -> None:
    rows = [
        {"front": " \u00a0\n", "back": "b", "markup": "exact"},
        {"front": "f", "back": "", "markup": "exact"},
        {"front": "f", "back": "b", "markup": "exact", "tags": "a, b"},
    ]
    entries = items(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert bad(entries) == [("line 1", "The front is empty."), ("line 2", "The back is empty.")]
    assert [row.tags for row in cards(entries)] == [("a", "b")]


@pytest.mark.parametrize("format", CONTENT_FORMATS)
def test_rows_without_an_id_are_found_again(format: str) -> None:
    topic = TopicFactory.create()
    MemoCardFactory.create_batch(3, topic=topic)
    card = MemoCardFactory.create(topic=topic, front="as exported")
    question = QuestionFactory.create(topic=topic, stem="as exported")
    rows, questions = exported(topic, format), exported(topic, format, questions=True)
    assert store(rows, editor=SYSTEM).unchanged == 4
    assert store(questions, editor=SYSTEM).unchanged == 1
    MemoCard.objects.filter(pk=card.pk).update(front="changed here")
    Question.objects.filter(pk=question.pk).update(stem="changed here")
    assert [change.before["front"] for change in preview(rows).differences if change.before] == ["changed here"]
    assert (store(rows, editor=SYSTEM).changed, store(questions, editor=SYSTEM).changed) == (1, 1)
    card.refresh_from_db()
    assert (card.front, card.external_id) == ("as exported", "")
    MemoCard.objects.filter(pk=card.pk).update(deleted_at=card.created_at)
    assert (store(rows, editor=SYSTEM).deleted, MemoCard.objects.count(), Question.objects.count()) == (1, 4, 1)


def test_another_hub_has_other_rows_under_the_same_keys() -> None:
    card = MemoCardFactory.create(front="exported")
    rows, name = exported(card.topic, "jsonl"), name_of(MemoCard.objects.get())
    # The other hub: a topic of this name, and in it a card of this key.
    MemoCard.objects.update(created_at=F("created_at") + timedelta(microseconds=1), front="the other hub's")
    assert store(rows, editor=SYSTEM).new == 1
    assert list(MemoCard.objects.order_by("pk").values_list("front", "external_id")) == [
        ("the other hub's", ""),
        ("exported", name),
    ]
    assert store(rows, editor=SYSTEM).unchanged == 1


def test_a_copy_that_came_to_the_same_topic_goes_before_the_row_it_was_made_of() -> None:
    card = MemoCardFactory.create(front="exported")
    rows, copies = exported(card.topic, "jsonl"), TopicFactory.create()
    assert store(rows, topic=copies.name, editor=SYSTEM).new == 1
    assert store(rows, editor=SYSTEM).unchanged == 1
    MemoCard.objects.filter(topic=copies).update(topic=card.topic)
    MemoCard.objects.update(front="changed here")
    report = store(rows, editor=SYSTEM)
    assert (report.read, report.changed, report.unchanged) == (1, 1, 0)
    card.refresh_from_db()
    assert card.front == "changed here"


def test_cards_are_found_again_by_the_guids_of_a_package(tmp_path: Path) -> None:
    topic = TopicFactory.create()
    MemoCardFactory.create(external_id="same")
    without = MemoCardFactory.create(topic=topic)
    second = MemoCardFactory.create(topic=topic, external_id="same")
    export_anki([topic], tmp_path / "a.apkg")
    rows = read(tmp_path / "a.apkg")
    assert store(rows, editor=SYSTEM).unchanged == 2
    MemoCard.objects.filter(topic=topic).update(back="changed here")
    assert {change.external_id for change in preview(rows).differences} == {name_of(without), "same"}
    assert store(rows, editor=SYSTEM).changed == 2
    for card in (without, second):
        back, external_id = card.back, card.external_id
        card.refresh_from_db()
        assert (card.back, card.external_id) == (back, external_id)
    MemoCard.objects.update(created_at=F("created_at") + timedelta(microseconds=1))
    assert store(rows, editor=SYSTEM).new == 2
