"""Anki's card templates: fields, sections, filters and cloze deletions, rendered to HTML."""

import html
import re
from collections.abc import Mapping
from typing import Final

# What putting one side together may take: the length of its template and of all that its tags look through. A longer
# one could not be stored, and a small file could name a large field ten thousand times.
LONGEST_SIDE: Final = 500_000
# Deeper nesting is taken for text.
_DEEPEST_CLOZE: Final = 30
_CLOZE_PART: Final = re.compile(r"\{\{c([\d,]+)::|\}\}")
_RULE: Final = re.compile(r"<hr\b[^>]*>", re.IGNORECASE)
_ANSWER_LINE: Final = re.compile(r"\bid\s*=\s*[\"']?answer\b", re.IGNORECASE)
_READING: Final = re.compile(r"\[([^\[\]\n]+)\]")
_HTML_TAG: Final = re.compile(r"<[^>]*>")
_NOTHING: Final = re.compile(r"(?:<(?!img\b)[^>]*+>|&nbsp;|\s)*+", re.IGNORECASE)


class TooLong(ValueError):
    """A side takes more than LONGEST_SIDE."""


class Template:
    """One side of a card."""

    def __init__(self, source: str) -> None:
        # Text and tags in turn: the odd places are what stands between braces.
        self._parts = _parted("".join(_parted(source, "<!--", "-->")[::2]), "{{", "}}")

    def render(self, values: Mapping[str, str], *, cloze: int, answer: bool) -> str:
        """The side's HTML, without what FrontSide would repeat. An unknown field is empty. Raises TooLong."""
        made: list[str] = []
        # For each open section, whether it shows; what is in a hidden one is hidden too.
        open_sections: list[tuple[str, bool]] = []
        taken = 0
        for place, part in enumerate(self._parts):
            taken += len(part) if place % 2 == 0 else _looked_through(part, values)
            if taken > LONGEST_SIDE:
                raise TooLong
            shown = not open_sections or open_sections[-1][1]
            if place % 2 == 0:
                if shown:
                    made.append(part)
            elif part[:1] in {"#", "^"}:
                name = part[1:].strip()
                filled = _is_filled(name, values, cloze)
                open_sections.append((name, shown and filled == (part[0] == "#")))
            elif part[:1] == "/":
                if open_sections:
                    open_sections.pop()
            elif shown:
                made.append(_field(part, values, cloze=cloze, answer=answer))
        return "".join(made)


def _parted(text: str, opening: str, closing: str) -> list[str]:
    """What stands outside of and between such signs, in turn. Without its closing one, an opening one is text."""
    parts: list[str] = []
    end = 0
    while (start := text.find(opening, end)) >= 0 and (stop := text.find(closing, start + len(opening))) >= 0:
        parts += [text[end:start], text[start + len(opening) : stop].strip()]
        end = stop + len(closing)
    return [*parts, text[end:]]


def _looked_through(tag: str, values: Mapping[str, str]) -> int:
    """The length of what a tag makes of its field, once for each of its filters."""
    *filters, name = tag.split(":")
    return len(tag) + len(values.get(name.lstrip("#^").strip(), "")) * (1 + len(filters))


def answer_only(back: str) -> str:
    """What stands below the line at which the answer begins; all of it where there is none, or nothing below.

    A plain line right at the beginning, below what FrontSide would repeat, is that line too.
    """
    # No tag begins behind the last bracket, however often it looks like it.
    for rule in _RULE.finditer(back, 0, back.rfind(">") + 1):
        if _ANSWER_LINE.search(rule[0]) or not back[: rule.start()].strip():
            above, below = back[: rule.start()], back[rule.end() :]
            return f"{above} {below}" if _NOTHING.fullmatch(below) else below
    return back


def cloze_numbers(text: str) -> list[int]:
    """The numbers of the cloze deletions in a text, in order."""
    found: set[int] = set()
    for part in _CLOZE_PART.finditer(text):
        if part[1]:
            found.update(_numbers(part[1]))
    return sorted(found)


def cloze(text: str, number: int, *, answer: bool) -> str:
    """A cloze text as card `number` shows it: the gap in brackets, or its answer in bold."""
    # One list of pieces for each open deletion, the outermost being the text itself.
    open_parts: list[tuple[bool, list[str]]] = [(False, [])]
    end = 0
    for part in _CLOZE_PART.finditer(text):
        open_parts[-1][1].append(text[end : part.start()])
        end = part.end()
        if part[1] and len(open_parts) < _DEEPEST_CLOZE:
            open_parts.append((number in _numbers(part[1]), []))
        elif not part[1] and len(open_parts) > 1:
            active, pieces = open_parts.pop()
            open_parts[-1][1].append(_deletion("".join(pieces), active=active, answer=answer))
        else:
            open_parts[-1][1].append(part[0])
    open_parts[-1][1].append(text[end:])
    return "".join("".join(pieces) for _active, pieces in open_parts)


def _numbers(written: str) -> list[int]:
    return [int(number) for number in written.split(",") if number and len(number) < 6]


def _deletion(inside: str, *, active: bool, answer: bool) -> str:
    content, _, hint = inside.partition("::")
    if not active:
        return content
    return f"<b>{content}</b>" if answer else f"[{hint or '...'}]"


def _field(tag: str, values: Mapping[str, str], *, cloze: int, answer: bool) -> str:
    *filters, name = (part.strip() for part in tag.split(":"))
    if name == "FrontSide":
        return ""
    text = values.get(name, "")
    for applied in reversed(filters):
        text = _filtered(text, applied, number=cloze, answer=answer)
    return text


def _filtered(text: str, applied: str, *, number: int, answer: bool) -> str:
    if applied in {"cloze", "cloze-only"}:
        # A text in which this card has no gap does not belong to it.
        return cloze(text, number, answer=answer) if number in cloze_numbers(text) else ""
    if applied == "type":
        # On the front an empty box to type in.
        return text if answer else ""
    if applied == "text":
        # No tag begins behind the last bracket, however often it looks like it.
        end = text.rfind(">") + 1
        return html.escape(html.unescape(_HTML_TAG.sub("", text[:end]) + text[end:]), quote=False)
    if applied.startswith("tts"):
        return ""
    if applied in {"furigana", "kanji", "kana"}:
        return _with_readings(text, applied)
    return text


def _with_readings(text: str, shown: str) -> str:
    """`日本[にほん]` with its reading above it, or one of both. A blank before a word keeps it apart from the text."""
    made: list[str] = []
    end = 0
    for reading in _READING.finditer(text):
        before = text[end : reading.start()]
        end = reading.end()
        start = max(before.rfind(" "), before.rfind(">")) + 1
        word = before[start:]
        if not word:
            made.append(before + reading[0])
            continue
        made.append(before[:start].removesuffix(" "))
        made.append({"furigana": f"<ruby>{word}<rt>{reading[1]}</rt></ruby>", "kanji": word}.get(shown, reading[1]))
    return "".join([*made, text[end:]])


def _is_filled(name: str, values: Mapping[str, str], number: int) -> bool:
    """Whether a section of this name shows. `c1` is one that shows on the cards of that cloze number."""
    if name in values:
        return not _NOTHING.fullmatch(values[name])
    return bool(re.fullmatch(r"c\d+", name)) and int(name[1:]) == number
