"""HTML becomes Markdown that says the same, holds no HTML, and comes back the same."""

import html
import re

import nh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from memocards.markup.from_html import from_html, from_markdown
from memocards.markup.to_html import as_html

READERS = [
    MarkdownIt("commonmark", {"html": raw}).enable(["table", "strikethrough"])  # with and without raw HTML
    for raw in (True, False)
]


@pytest.mark.parametrize(
    ("source", "markdown"),
    [
        ("plain text", "plain text"),
        ("two   blanks\nand a line", "two blanks and a line"),
        ("<b>bold</b>, <i>slanted</i> and <s>struck</s>", "**bold**, *slanted* and ~~struck~~"),
        ("<b> padded </b>word", "**padded** word"),
        ("<b>a</b><b>b</b>", "**a**b"),
        ("one<br>two", "one\\\ntwo"),
        ("one<br><br>two", "one\n\ntwo"),
        ("<b>one<br><br>two</b>", "**one**\n\n**two**"),
        ("<div>one</div><div>two</div>", "one\n\ntwo"),
        ("a&nbsp;b &amp; c &lt;d&gt;", "a b & c \\<d>"),
        ("H<sub>2</sub>O, x<sup>2</sup>, a<sub>min</sub>", "H₂O, x², a\\_(min)"),
        ("<ruby>漢字<rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>", "漢字(かんじ)"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c"),
        ("<ol start=3><li>x</li><li>y</li></ol>", "3. x\n4. y"),
        ("<ul><li>a</li></ul><ul><li>b</li></ul>", "- a\n\n* b"),
        ("<blockquote>q<br><br>r</blockquote>", "> q\n>\n> r"),
        ("<h2>Title</h2>text", "## Title\n\ntext"),
        (
            "<table><tr><th>A</th><th>B</th></tr><tr><td>1|2</td></tr></table>",
            "| A | B |\n| --- | --- |\n| 1\\|2 |  |",
        ),
        (
            '<pre><code class="language-js">if (a &lt; 3) {\n  `b`;\n}</code></pre>',
            "```js\nif (a < 3) {\n  `b`;\n}\n```",
        ),
        ("<pre>```</pre>", "````\n```\n````"),
        ("<code>a`b</code>", "``a`b``"),
        ('<a href="https://example.org/a_(b)">x]y</a>', "[x\\]y](https://example.org/a%5F%28b%29)"),
        ("wow!<a href='https://example.org'>x</a>!", "wow\\![x](https://example.org)!"),
        # What means something in Markdown stays what it was.
        ("# no title", "\\# no title"),
        ("1. no list<br>- no list", "1\\. no list\\\n\\- no list"),
        ("*a* _b_ `c` snake_case 2 * 3", "\\*a\\* \\_b\\_ \\`c\\` snake_case 2 \\* 3"),
        ("[a](b) and [c]: d and a[0]", "[a\\](b) and [c\\]: d and a[0]"),
        ("&amp;lt; AT&amp;T", "\\&lt; AT&T"),
        ("Promise<string> and a<b", "Promise\\<string> and a\\<b"),
        # Emphasis that CommonMark would not read is dropped; the words stay.
        ("<b>서울(Seoul)</b>은", "서울(Seoul)은"),
        ("<b>서울</b>은", "**서울**은"),
        # What could do harm is gone.
        ("<script>alert(1)</script>hi<style>x{}</style>", "hi"),
        ('<a href="javascript:alert(1)">x</a>', "x"),
        ('<p onclick="alert(1)">x</p><iframe src="https://e.org"></iframe>', "x"),
        ("&lt;script&gt;alert(1)&lt;/script&gt;", "\\<script>alert(1)\\</script>"),
        ("<!-- a comment -->x", "x"),
        ("<b></b>", ""),
        ("<h3>#</h3><h3>a #</h3><h3>C#</h3>", "### \\#\n\n### a \\#\n\n### C#"),
        ("<div" * 200 + ">x", "\\<div" * 199 + "\n\nx"),
    ],
)
def test_html_as_markdown(source: str, markdown: str) -> None:
    assert from_html(source) == (markdown, [])


def test_media_are_named_and_left_out() -> None:
    assert from_html('<img src="flag.png" alt="A flag"> of [sound:anthem.mp3] x') == (
        "A flag of x",
        ["anthem.mp3", "flag.png"],
    )


@pytest.mark.parametrize(
    ("source", "markdown"),
    [
        ("**kept** as *it* is, 3 < 4, a<b", "**kept** as *it* is, 3 < 4, a<b"),
        ("`<b>code</b>` and\n\n```html\n<script>\n```", "`<b>code</b>` and\n\n```html\n<script>\n```"),
        ("Promise<string>", "Promise<string>"),
        ("not <i>yet</i> *done*", "not *yet* *done*"),
        ("<script>alert(1)</script>\n\nhi", "hi"),
        ("`<i>` is <i>it</i>", "`<i>` is *it*"),
    ],
)
def test_markdown_keeps_all_but_its_html(source: str, markdown: str) -> None:
    assert from_markdown(source)[0] == markdown


def test_deep_nesting_is_read_in_bounded_depth() -> None:
    text, _media = from_html("<blockquote>" * 5_000 + "x" + "</blockquote>" * 5_000)
    assert text.endswith("x")


PIECES = st.sampled_from(
    [*"*_`~#-+=><&|[]()!\\1.:^ab 가", "&lt;", "http://x.y", "<br>", "<hr>", "~~", "**", "__", "```", "1. ", "- "]
)
TAGS = st.sampled_from(["b", "i", "s", "code", "span", "u", "div", "p", "li", "ul", "blockquote", "h3", "td", "a"])


@st.composite
def documents(draw: st.DrawFn, depth: int = 3) -> str:
    pieces: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        if depth and draw(st.booleans()):
            tag = draw(TAGS)
            inner = draw(documents(depth=depth - 1))
            opened = '<a href="https://example.org/x_(y)">' if tag == "a" else f"<{tag}>"
            pieces.append(f"{opened}{inner}</{tag}>")
        else:
            piece = draw(PIECES)
            pieces.append(piece if piece in {"<br>", "<hr>"} else html.escape(piece))
    return "".join(pieces)


@settings(max_examples=300, deadline=None)
@given(documents())
def test_the_words_survive_in_every_reader(source: str) -> None:
    markdown, _media = from_html(source)
    for reader in READERS:
        assert words(reader.render(markdown)) == words(source), markdown
    kinds = {token.type for outer in READERS[0].parse(markdown) for token in (outer, *(outer.children or ()))}
    assert not kinds & {"html_block", "html_inline", "image"}


@settings(max_examples=150, deadline=None)
@given(documents())
def test_what_is_exported_comes_back(source: str) -> None:
    """HTML from a text of ours, read again, is a text that renders to the same HTML."""
    markdown, _media = from_html(source)
    exported = as_html(markdown)
    assert words(as_html(from_html(exported)[0])) == words(exported)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[x]: http://y\n[z]: http://y", "[x]: http://y<br>[z]: http://y"),
        ("&nbsp;", "&amp;nbsp;"),
        ("-", "-"),
        ("[](http://x.y)", "[](http://x.y)"),
        ("|a|\n|-|", "<table>\n<thead>\n<tr>\n<th>a</th>\n</tr>\n</thead>\n</table>"),
        ("||\n|-|", "||<br>|-|"),
        ("---", "<hr />"),
        ("a\x1fb\x01\x7f", "a\ufffdb\ufffd\ufffd"),
        ("a\x0bb\tc\rd", "a\nb\tc\nd"),
        ("", ""),
    ],
)
def test_what_would_not_show_in_anki_shows_its_source(text: str, field: str) -> None:
    assert as_html(text) == field


def words(source: str) -> str:
    text = html.unescape(nh3.clean(source, tags=set()))
    return re.sub(r"\s+", "", text)
