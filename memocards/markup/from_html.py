"""HTML and Markdown with HTML in it, turned into Markdown without any.

The HTML is parsed and sanitised by nh3 first, so what is converted here is well-formed and holds known tags only. The
result reads the same in any CommonMark renderer, whether or not it passes raw HTML on: every character of the text that
could mean something is escaped. Where Markdown cannot set emphasis (`**서울(Seoul)**은` is none: CommonMark wants a
blank there), the emphasis is dropped and the words stay.
"""

import re
from html.parser import HTMLParser
from typing import Final

import nh3

from kit.dialect import parser
from memocards.limits import TEXT_LIMIT
from memocards.markup.inline import Inline, escape_line_start

_MARKS: Final = {"b": "**", "strong": "**", "i": "*", "em": "*", "s": "~~", "strike": "~~", "del": "~~"}
_LISTS: Final = {"ul", "ol"}
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_CONTAINERS: Final = {
    *("p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "center", "figure", "figcaption"),
    *("details", "summary", "address", "dl", "dt", "dd", "caption", "li", "fieldset", "form"),
}
_BLOCKS: Final = {*_CONTAINERS, *_LISTS, *_HEADINGS, "blockquote", "pre", "table", "hr"}
_CELLS: Final = {"td", "th"}
_INLINE: Final = {*_MARKS, "a", "br", "code", "kbd", "samp", "tt", "sub", "sup", "img", "rt", "rp", "wbr"}
_KEPT: Final = _BLOCKS | _CELLS | _INLINE | {"thead", "tbody", "tfoot", "tr"}
# Their tags are known, so they are markup and not text; but Markdown has nothing for them, so the tags are dropped.
_DISSOLVED: Final = {
    *("html", "head", "body", "meta", "link", "base", "title", "script", "style", "noscript", "template", "iframe"),
    *("object", "embed", "param", "audio", "video", "source", "track", "canvas", "svg", "math", "map", "area"),
    *("span", "font", "u", "ins", "mark", "small", "big", "abbr", "acronym", "cite", "dfn", "q", "var", "time", "data"),
    *("bdi", "bdo", "ruby", "rb", "rtc", "picture", "input", "button", "select", "option", "optgroup", "textarea"),
    *("label", "legend", "output", "progress", "meter", "dialog", "slot", "col", "colgroup", "marquee", "nobr"),
    *("anki-mathjax", "hgroup", "menu", "search", "datalist", "frame", "frameset", "noframes", "applet"),
}
_NAMES: Final = "|".join(sorted(_KEPT | _DISSOLVED, key=len, reverse=True))
_TAG: Final = re.compile(rf"<(?:/?(?:{_NAMES})(?:[\s/][^<>]*)?>|!--)", re.IGNORECASE)
_NOT_A_TAG: Final = re.compile(rf"<(?!/?(?:{_NAMES})(?:[\s/][^<>]*)?>|!--)", re.IGNORECASE)
_FORMATTING: Final = re.compile(
    r"<(/?)(?:a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?:[\s/][^<>]*)?>", re.IGNORECASE
)
_DEEPEST_FORMATTING: Final = 20
_ATTRIBUTES: Final = {"a": {"href"}, "code": {"class"}, "pre": {"class"}, "img": {"src", "alt"}, "ol": {"start"}}
# Possessive quantifiers: a text with ten thousand openings and no end is searched through once, not once for each.
_SOUND: Final = re.compile(
    r"\[sound:([^\]\n]{0,500}+)\]|\[anki:play:[^\]\n]{0,500}+\]"
    r"|\[anki:tts[^\]\n]{0,500}+\](?:[^\[]|\[(?!/?anki:tts))*+\[/anki:tts\]"
)
_SPACES: Final = re.compile(r"[ \t\n\r\f\xa0]+")
_LANGUAGE: Final = re.compile(r"(?:language|lang)-([\w+#.-]+)")
_FIRST_ITEM: Final = {"ul": re.compile("- "), "ol": re.compile(r"\d{1,9}\. ")}
_SUBSCRIPT: Final = str.maketrans("0123456789+-=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎")
_SUPERSCRIPT: Final = str.maketrans("0123456789+-=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ")

_markdown = parser(html=True, images=True)


class TooIntricate(ValueError):
    """A table has so many cells that it would take seconds."""


def from_html(source: str) -> tuple[str, list[str]]:
    """Markdown that says the same, and the names of the media that are left out: images, sounds."""
    if "<" not in source and "&" not in source and "[" not in source:
        return escape_line_start(Inline.escape(_SPACES.sub(" ", source).strip())), []
    media = [name for name in _SOUND.findall(source) if name]
    source = _without_deep_formatting(_NOT_A_TAG.sub("&lt;", _SOUND.sub("", source)))
    clean = nh3.clean(
        source, tags=set(_KEPT), attributes=_ATTRIBUTES, url_schemes={"http", "https", "mailto"}, link_rel=None
    )
    tree = _Tree(clean)
    return "\n\n".join(_blocks(tree.root, media)), media


def from_markdown(source: str) -> tuple[str, list[str]]:
    """The same Markdown; where it holds HTML outside of its code, that becomes Markdown too. Raises TooIntricate."""
    if "<" not in source or not _TAG.search(source):
        return source, []
    if _most_cells(source) > TEXT_LIMIT:
        raise TooIntricate
    tokens = _markdown.parse(source)
    inner = [token for outer in tokens for token in (outer, *(outer.children or ()))]
    if not any(token.type in {"html_block", "html_inline"} and _TAG.search(token.content) for token in inner):
        return source, []
    return from_html(_markdown.renderer.render(tokens, _markdown.options, {}))


def _most_cells(source: str) -> int:
    """How many cells the tables may have. Markdown adds to each row what it lacks by the line below the header."""
    lines = source.splitlines()
    rules = (line for line in lines if "-" in line and not line.strip(" \t>*+0123456789.)|:-"))
    return len(lines) * max((rule.count("|") for rule in rules), default=0)


def _without_deep_formatting(source: str) -> str:
    """As HTML wants it, nh3 opens all formatting that was not closed again in every paragraph that follows."""
    depth = 0

    def unless_deep(tag: re.Match[str]) -> str:
        nonlocal depth
        depth = max(0, depth + (-1 if tag[1] else 1))
        return tag[0] if depth + bool(tag[1]) <= _DEEPEST_FORMATTING else ""

    return _FORMATTING.sub(unless_deep, source)


class _Node:
    __slots__ = ("attributes", "children", "tag")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes = tag, attributes
        self.children: list[_Node | str] = []

    @property
    def holds_blocks(self) -> bool:
        return any(isinstance(child, _Node) and (child.tag in _BLOCKS or child.holds_blocks) for child in self.children)

    def text(self) -> str:
        """The text alone, line breaks kept."""
        return "".join(
            child if isinstance(child, str) else "\n" if child.tag == "br" else child.text() for child in self.children
        )

    def find_all(self, tags: set[str]) -> "list[_Node]":
        """The nearest descendants of these tags."""
        nodes: list[_Node] = []
        for child in self.children:
            if isinstance(child, _Node):
                nodes.extend([child] if child.tag in tags else child.find_all(tags))
        return nodes


class _Tree(HTMLParser):
    """A tree of what nh3 has made well-formed."""

    _EMPTY: Final = frozenset({"br", "hr", "img", "wbr"})
    # Tags that are nested deeper are dropped: nobody would see them, and the conversion is recursive.
    _DEEPEST: Final = 60

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = _Node("", {})
        self._open = [self.root]
        self._too_deep = 0
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._EMPTY:
            self._open[-1].children.append(_Node(tag, {name: value or "" for name, value in attrs}))
        elif len(self._open) >= self._DEEPEST:
            self._too_deep += 1
        else:
            node = _Node(tag, {name: value or "" for name, value in attrs})
            self._open[-1].children.append(node)
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._EMPTY:
            return
        if self._too_deep:
            self._too_deep -= 1
        elif len(self._open) > 1:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def _blocks(node: _Node, media: list[str]) -> list[str]:
    """The Markdown blocks inside a node."""
    blocks: list[str] = []
    run = Inline()
    for child in node.children:
        if isinstance(child, str) or not (child.tag in _BLOCKS or child.holds_blocks):
            _inline(child, run, media)
            continue
        blocks.extend(run.paragraphs())
        run = Inline()
        # Markdown would read two lists of the same sort as one, so the second one has the other marker.
        follows = bool(blocks) and child.tag in _LISTS and bool(_FIRST_ITEM[child.tag].match(blocks[-1]))
        blocks.extend(_list(child, media, other_marker=follows) if child.tag in _LISTS else _block(child, media))
    blocks.extend(run.paragraphs())
    return blocks


def _block(node: _Node, media: list[str]) -> list[str]:
    if node.tag == "pre":
        return _fence(node)
    if node.tag in _HEADINGS:
        title = _one_line(node, media)
        # Markdown drops signs at the end of a heading, behind a blank, unless they are escaped.
        return ["#" * _HEADINGS[node.tag] + " " + re.sub(r"(^| )(#+)$", r"\1\\\2", title)] if title else []
    if node.tag in _LISTS:
        return _list(node, media)
    if node.tag == "blockquote":
        inner = "\n\n".join(_blocks(node, media))
        return [re.sub(r"^(?=.)", "> ", inner, flags=re.MULTILINE).replace("\n\n", "\n>\n")] if inner else []
    if node.tag == "table":
        return _table(node, media)
    if node.tag == "hr":
        return ["---"]
    return _blocks(node, media)


def _inline(node: _Node | str, run: Inline, media: list[str]) -> None:
    if isinstance(node, str):
        run.text(_SPACES.sub(" ", node))
        return
    if node.tag == "br":
        run.line_break()
        return
    if node.tag == "img":
        if node.attributes.get("src"):
            media.append(node.attributes["src"])
        run.text(node.attributes.get("alt", ""))
        return
    if node.tag in {"code", "kbd", "samp", "tt"}:
        run.code(_SPACES.sub(" ", node.text()))
        return
    if node.tag in {"sub", "sup"}:
        run.text(_raised_or_lowered(node))
        return
    if node.tag == "rp":
        return
    if node.tag == "rt":
        run.text(f"({_SPACES.sub(' ', node.text()).strip()})")
        return
    opened = None
    if node.tag in _MARKS:
        opened = run.open(_MARKS[node.tag])
    link = node.attributes.get("href") if node.tag == "a" and node.text().strip() else None
    if link:
        run.open_link()
    for child in node.children:
        _inline(child, run, media)
    if node.tag in _BLOCKS | _CELLS | {"tr"}:
        run.text(" ")
    if link:
        run.close_link(link)
    if opened is not None:
        run.close(opened)


def _raised_or_lowered(node: _Node) -> str:
    text = _SPACES.sub(" ", node.text())
    table, sign = (_SUBSCRIPT, "_") if node.tag == "sub" else (_SUPERSCRIPT, "^")
    if all(ord(character) in table for character in text):
        return text.translate(table)
    return f"{sign}({text.strip()})" if text.strip() else ""


def _one_line(node: _Node, media: list[str]) -> str:
    run = Inline(one_line=True)
    for child in node.children:
        _inline(child, run, media)
    return " ".join(run.paragraphs())


def _fence(node: _Node) -> list[str]:
    text = node.text().replace("\r\n", "\n").removeprefix("\n").rstrip("\n")
    if not text.strip():
        return []
    named = [node.attributes.get("class", ""), *(code.attributes.get("class", "") for code in node.find_all({"code"}))]
    language = _LANGUAGE.search(" ".join(named))
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language[1] if language else ''}\n{text}\n{fence}"]


def _list(node: _Node, media: list[str], *, other_marker: bool = False) -> list[str]:
    start = node.attributes.get("start", "1")
    number = int(start) if start.isdecimal() and len(start) < 9 else 1
    bullet, stop = ("*", ")") if other_marker else ("-", ".")
    items: list[str] = []
    loose = False
    # Browsers write a list directly into a list. It belongs to the item before it.
    for child in node.children:
        if isinstance(child, str):
            # Text that stands in the list without an item of its own.
            text, child = child, _Node("li", {})  # noqa: PLW2901
            child.children.append(text)
        nested = child.tag in _LISTS and bool(items)
        blocks = _block(child, media) if child.tag in _LISTS else _blocks(child, media)
        if not blocks:
            continue
        marker = f"{number + len(items)}{stop} " if node.tag == "ol" else f"{bullet} "
        inner = child.find_all(_BLOCKS)
        tight = all(block.tag in _LISTS for block in inner)
        loose = loose or not tight
        body = ("\n" if tight else "\n\n").join(blocks)
        indented = re.sub(r"\n(?=[^\n])", "\n" + " " * len(marker), body)
        if nested:
            marker = f"{number + len(items) - 1}{stop} " if node.tag == "ol" else f"{bullet} "
            items[-1] += "\n" + re.sub(r"^(?=.)", " " * len(marker), body, flags=re.MULTILINE)
        else:
            items.append(marker + indented)
    return [("\n\n" if loose else "\n").join(items)] if items else []


def _table(node: _Node, media: list[str]) -> list[str]:
    captions = [text for caption in node.find_all({"caption"}) if (text := _one_line(caption, media))]
    rows = [
        [_one_line(cell, media).replace("|", r"\|") for cell in row.find_all(_CELLS)] for row in node.find_all({"tr"})
    ]
    rows = [row for row in rows if row]
    if not any(cell for row in rows for cell in row):
        return captions
    width = max(len(row) for row in rows)
    # Rows are filled up with empty cells, unless that would make a text of gigabytes: only the header must be complete.
    filled = rows if width * len(rows) <= TEXT_LIMIT else rows[:1]
    for row in filled:
        row.extend([""] * (width - len(row)))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [*captions, "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])]
