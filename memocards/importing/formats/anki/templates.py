"""Anki's card templates: fields, sections, filters and cloze deletions, rendered to HTML."""

import html
import re
from collections.abc import Mapping
from typing import Final

# Characters that may be looked at to put one side together: those of its template, and of the fields that its tags
# name. A longer side could not be stored; and a small file could name a large field ten thousand times.
LONGEST_SIDE: Final = 500_000
# Levels of cloze deletions in each other. What is nested deeper is taken for text.
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
        pieces: list[str] = []
        # For each open section, whether it is visible. A section within a hidden one is hidden too.
        open_sections: list[bool] = []
        cost = 0
        for place, part in enumerate(self._parts):
            is_tag = place % 2 == 1
            cost += _cost(part, values) if is_tag else len(part)
            if cost > LONGEST_SIDE:
                raise TooLong
            is_visible = not open_sections or open_sections[-1]
            if not is_tag:
                if is_visible:
                    pieces.append(part)
            elif part[:1] in {"#", "^"}:
                is_filled = _is_filled(part[1:].strip(), values, cloze)
                open_sections.append(is_visible and is_filled == (part[0] == "#"))
            elif part[:1] == "/":
                if open_sections:
                    open_sections.pop()
            elif is_visible:
                pieces.append(_field(part, values, cloze=cloze, answer=answer))
        return "".join(pieces)


def _parted(text: str, opening: str, closing: str) -> list[str]:
    """What stands outside of and between such signs, in turn. Without its closing one, an opening one is text."""
    parts: list[str] = []
    end = 0
    while (start := text.find(opening, end)) >= 0 and (stop := text.find(closing, start + len(opening))) >= 0:
        parts += [text[end:start], text[start + len(opening) : stop].strip()]
        end = stop + len(closing)
    return [*parts, text[end:]]


def _cost(tag: str, values: Mapping[str, str]) -> int:
    """The characters that are looked at for a tag: its field, once more for each of its filters."""
    *filters, name = tag.split(":")
    return len(tag) + len(values.get(name.lstrip("#^").strip(), "")) * (1 + len(filters))


def answer_only(back: str) -> str:
    """What stands below the line at which the answer begins; all of it where there is none, or nothing below.

    A plain line right at the beginning, below what FrontSide would repeat, is that line too.
    """
    # No tag ends behind the last bracket. Without that limit, a text of many "<hr" would be searched through for each.
    for rule in _RULE.finditer(back, 0, back.rfind(">") + 1):
        if _ANSWER_LINE.search(rule[0]) or not back[: rule.start()].strip():
            above, below = back[: rule.start()], back[rule.end() :]
            return f"{above} {below}" if _NOTHING.fullmatch(below) else below
    return back


def cloze_numbers(text: str) -> list[int]:
    """The numbers of the cloze deletions in a text, in order."""
    numbers: set[int] = set()
    for part in _CLOZE_PART.finditer(text):
        if part[1]:
            numbers.update(_numbers(part[1]))
    return sorted(numbers)


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
        # A text without a gap for this card belongs to other cards.
        return cloze(text, number, answer=answer) if number in cloze_numbers(text) else ""
    if applied == "type":
        # On the front an empty box to type in.
        return text if answer else ""
    if applied == "text":
        # No tag ends behind the last bracket: as in answer_only().
        end = text.rfind(">") + 1
        return html.escape(html.unescape(_HTML_TAG.sub("", text[:end]) + text[end:]), quote=False)
    if applied.startswith("tts"):
        return ""
    if applied in {"furigana", "kanji", "kana"}:
        return _with_readings(text, applied)
    return text


def _with_readings(text: str, form: str) -> str:
    """`日本[にほん]` with its reading above it, or one of both. A blank before a word keeps it apart from the text."""
    pieces: list[str] = []
    end = 0
    for reading in _READING.finditer(text):
        before = text[end : reading.start()]
        end = reading.end()
        start = max(before.rfind(" "), before.rfind(">")) + 1
        word = before[start:]
        if not word:
            pieces.append(before + reading[0])
            continue
        pieces.append(before[:start].removesuffix(" "))
        pieces.append({"furigana": f"<ruby>{word}<rt>{reading[1]}</rt></ruby>", "kanji": word}.get(form, reading[1]))
    return "".join([*pieces, text[end:]])


def _is_filled(name: str, values: Mapping[str, str], number: int) -> bool:
    """Whether a section of this name shows. `c1` is one that shows on the cards of that cloze number."""
    if name in values:
        return not _NOTHING.fullmatch(values[name])
    return bool(re.fullmatch(r"c\d+", name)) and int(name[1:]) == number
