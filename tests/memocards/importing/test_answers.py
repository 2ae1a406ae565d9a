"""Whatever people write for the right choice is that choice, or is refused with what it could mean."""

from pathlib import Path
from typing import Any

import pytest

from memocards.importing.answers import CountsFromZero, Unanswerable, right_choice
from memocards.importing.reading import read
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import BadRow, QuestionRow, RowKind
from tests.memocards.importing.files import write, write_jsonl

PQRS = ["p", "q", "r", "s"]


def answer(value: Any, choices: list[str] = PQRS, counted_from: int = 1) -> int:
    return right_choice(value, choices, "ABCDEFGHIJ"[: len(choices)], counted_from=counted_from)


@pytest.mark.parametrize(
    "value",
    [
        *("2", 2, 2.0, "2.0", "２", "②", "❷", "(2)", "⑵", "[2]", "2)", "2.", "2번", "② 번", "정답: 2", "보기 2"),
        *("B", "b", "Ｂ", "Ⓑ", "ⓑ", "⒝", "[b]", "(B)", "B)", "b.", "Option B", "option b:", "Choice B", "Answer: B"),
        *("나", "(나)", "㉯", "㈏", "나.", "q", " Q ", "b. q", "2) q", "② q", ["B"], "02"),
    ],
    ids=repr,
)
def test_the_second_choice_has_many_names(value: Any) -> None:
    assert answer(value) == 2


@pytest.mark.parametrize(
    ("value", "choices", "place"),
    [
        ("Yellow", ["Blue", "Yellow"], 2),
        ("  new   YORK ", ["Paris", "New York"], 2),
        ("각", ["\u1100\u1161\u11a8", "b"], 1),
        ("3", ["1", "2", "3"], 3),
        # A number of JSON's is a number.
        (1, ["2", "1"], 1),
        ("None", ["Some", "None"], 2),
        ("O", ["X", "O"], 2),
        ("True", ["O", "X"], 1),
        (False, ["참", "거짓"], 2),
        (True, ["No", "Yes"], 2),
        ("예", ["아니오", "예"], 2),
        ("x", ["True", "False"], 2),
        ("○", ["O", "X"], 1),
    ],
)
def test_a_text_or_a_verdict_names_the_choice_that_says_it(value: Any, choices: list[str], place: int) -> None:
    assert answer(value, choices) == place


@pytest.mark.parametrize(
    ("value", "choices", "sentence"),
    [
        ("4", ["2", "4", "6", "8"], "The answer '4' is choice 4 by its number or letter, and choice 2 by its text."),
        ("B", ["A", "C", "B"], "The answer 'B' is choice 2 by its number or letter, and choice 3 by its text."),
        ("p", ["p", "P"], "The answer 'p' is the text of the choices 1, 2."),
        ("A,C", PQRS, "This row names 2 right answers (A, C); a question has one here."),
        ("AC", PQRS, "This row names 2 right answers (A, C); a question has one here."),
        ("①③④", PQRS, "This row names 3 right answers (1, 3, 4); a question has one here."),
        ("1번, 3번", PQRS, "This row names 2 right answers (1, 3); a question has one here."),
        (["B", "D"], PQRS, "This row names 2 right answers (B, D); a question has one here."),
        ([], PQRS, "This row names 0 right answers (); a question has one here."),
        *(
            (
                value,
                PQRS,
                f"The answer '{value}' is none of the choices: it is the text of one, a number from 1 to 4, or one of "
                "the letters A, B, C, D.",
            )
            # A label whose text is another choice's is no label.
            for value in ("E", "5", "", "b. r", "2.5", "-2", "22", "yes", "qq", "2nd", "마")
        ),
    ],
)
def test_what_is_not_one_right_choice_is_refused_with_why(value: Any, choices: list[str], sentence: str) -> None:
    with pytest.raises(Unanswerable) as refused:
        answer(value, choices)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("value", [0, "0", "0.0", "０", "0번", "⓪", "(0)"], ids=repr)
def test_a_nought_says_that_the_file_counts_from_nought(value: Any) -> None:
    with pytest.raises(CountsFromZero):
        answer(value)
    assert answer(value, counted_from=0) == 1


def test_counted_from_nought_numbers_move_and_letters_do_not() -> None:
    assert [answer(value, counted_from=0) for value in (0, 3, "1", "B", "q")] == [1, 4, 2, 2, 2]
    with pytest.raises(Unanswerable, match="a number from 0 to 3"):
        answer(4, counted_from=0)


def test_a_file_that_counts_from_nought_is_refused_as_a_whole_until_that_is_said(tmp_path: Path) -> None:
    rows = [{"question": f"{number}?", "choices": PQRS, "answer": number} for number in (1, 2, 0)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(UnreadableFile, match=r"The answer in line 3 is 0, .*--answers-from 0"):
        list(read(path, kind=RowKind.QUESTION))
    items = list(read(path, kind=RowKind.QUESTION, answers_from=0))
    assert [item.answer for item in items if isinstance(item, QuestionRow)] == [2, 3, 1]


def test_a_table_says_it_in_every_way(tmp_path: Path) -> None:
    cells = ("2.0", "Option B", "Ｂ", "[b]", "b. q", "나", "B)", "(2)")
    lines = [f"{number},p,q,r,s,{cell}" for number, cell in enumerate(cells)]
    path = write(tmp_path / "a.csv", "\n".join(["question,a,b,c,d,answer", *lines, "9,2,4,6,8,4"]))
    *rows, last = read(path, kind=RowKind.QUESTION)
    assert [row.answer for row in rows if isinstance(row, QuestionRow)] == [2] * len(cells)
    assert isinstance(last, BadRow)
