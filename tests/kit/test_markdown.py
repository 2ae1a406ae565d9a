import time
from collections.abc import Callable, Iterator

import pytest

from kit import markdown

LONGEST = 20_000
SENTENCE = "This text is too large to be laid out here."


def growing(part: Callable[[int], str]) -> str:
    text, number = "", 1
    while len(text) + len(part(number)) <= LONGEST:
        text, number = text + part(number), number + 1
    return text


TABLE = "|a" * 100 + "|\n" + "|-" * 100 + "|\n" + "|\n" * 9000
# What parsers of Markdown have been hung with, each as long as a text may be.
HOSTILE = {
    "open brackets": "[" * LONGEST,
    "closed brackets": "]" * LONGEST,
    "nested brackets": "[" * (LONGEST // 2) + "]" * (LONGEST // 2),
    "empty links": "[](" * LONGEST,
    "open links": "[a](" * LONGEST,
    "images": "![" * LONGEST,
    "references": "[a][" * LONGEST,
    "nested links": "[a](b" * (LONGEST // 6) + ")" * (LONGEST // 6),
    "parentheses": "[a](" + "(" * LONGEST,
    "escaped parentheses": "[a](" + "\\(" * LONGEST,
    "an open title": '[a](b "' + '\\"' * LONGEST,
    "strong": "**a " * LONGEST,
    "emphasis": "*a_" * LONGEST,
    "strong inside": "a**b" * LONGEST,
    "stars": "*" * LONGEST,
    "underscores": "_" * LONGEST,
    "stars and underscores": "*_" * LONGEST,
    "three and two": "a***b__" * LONGEST,
    "crossing": "*a **b _c __d " * LONGEST,
    "struck": "~~a" * LONGEST,
    "backticks": "`" * LONGEST,
    "backticks of all lengths": growing(lambda number: "`" * number + " "),
    "code": "`a" * LONGEST,
    "tags": "<a " * LONGEST,
    "comments": "<!--" * LONGEST,
    "addresses": "<a@b.c" * LONGEST,
    "automatic links": "<http:" * LONGEST,
    "ampersands": "&" * LONGEST,
    "entities": "&amp;" * LONGEST,
    "backslashes": "\\" * LONGEST,
    "quotes": ">" * LONGEST,
    "lines of quotes": ">\n" * LONGEST,
    "deep quotes": ("> " * 50 + "a\n") * LONGEST,
    "quotes and lists": "> - " * LONGEST,
    "deep lists": "".join("  " * depth + "- a\n" for depth in range(140)),
    "lists of nothing": "-\n" * LONGEST,
    "mixed lists": "* - + " * LONGEST,
    "numbers": "1. a\n" * LONGEST,
    "headings": "# a\n" * LONGEST,
    "underlined headings": "a\n=\n" * LONGEST,
    "rules": "* * *\n" * LONGEST,
    "fences": "```\n" * LONGEST,
    "definitions": "".join(f"[{number}]: a\n" for number in range(LONGEST)),
    "one definition, used": "[a]: b\n" + "[a] " * LONGEST,
    "an open definition": "[a]: <" * LONGEST,
    "a table of short rows": TABLE,
    "a wide table": "|a" * 4000 + "\n" + "|-" * 4000 + "\n" + "|b\n" * 1000,
    "a long table": "|a|b|\n|-|-|\n" + "|c|d|\n" * LONGEST,
    "lines": "\n" * LONGEST,
    "blanks": " " * LONGEST + "a",
    "tabs": "\t" * LONGEST,
    "trailing blanks": ("a" + " " * 100 + "\n") * LONGEST,
    "no width": "\u200b" * LONGEST,
    "from the right": "\u202e" * LONGEST,
    "marks": "a" + "\u0301" * LONGEST,
}


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    markdown._cache.clear()
    yield
    markdown._cache.clear()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_costs_much(text: str) -> None:
    """By processor time, and with room: the worst takes 0.15 s where it took 1 to 2 s before it was bounded."""
    begun = time.process_time()
    assert len(markdown.render(text[:LONGEST])) < 30 * LONGEST
    assert time.process_time() - begun < 1.5


def test_a_text_of_too_many_parts_is_shown_as_its_source_and_says_so() -> None:
    html = markdown.render("<b>\n\n" + TABLE)
    assert SENTENCE in html
    assert "&lt;b&gt;\n\n|a|a|a" in html
    assert "<table" not in html
    assert markdown.plain(TABLE).startswith("|a|a|a")


def test_a_large_text_that_people_write_is_laid_out() -> None:
    rows = "|capital|river|\n|-|-|\n" + "|Lima|Rímac|\n" * 1000
    assert markdown.render(rows).count("<tr>") == 1001
    paragraphs = "The **Rímac** flows through *Lima*.\n\n" * 500
    assert markdown.render(paragraphs).count("<strong>") == 500


def test_a_page_shows_the_rest_as_source_once_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "PAGE_SECONDS", 0.0)
    kept = markdown.render("*known before*")
    with markdown.page():
        assert markdown.render("*known before*") == kept
        late = markdown.render("*late* <b>")
        assert SENTENCE in late
        assert "*late* &lt;b&gt;" in late
        assert markdown.render_inline("*late* <b>") == "*late* &lt;b&gt;"
        assert markdown.plain("*late*\n<b>") == "*late* <b>"
    assert markdown.render("*late*") == '<p dir="auto"><em>late</em></p>\n'


def test_a_page_of_many_costly_texts_ends() -> None:
    texts = [f"{number}\n\n" + "[a][" * 4990 for number in range(200)]
    begun = time.monotonic()
    with markdown.page():
        pages = [markdown.render(text) for text in texts]
    assert time.monotonic() - begun < 3 * markdown.PAGE_SECONDS
    assert SENTENCE not in pages[0]
    assert SENTENCE in pages[-1]


def test_what_was_rendered_is_kept_up_to_a_bound() -> None:
    assert markdown.render("*a*") is not markdown.render("*b*")
    for number in range(900):
        markdown.render(f"{number} " + "a" * 19_000)
    assert markdown._cache.currsize <= markdown.CACHE_CHARACTERS
