"""Anki's card templates: fields, sections, filters and cloze deletions, rendered to HTML."""

import html
import re
from collections.abc import Mapping
from typing import Final

_TAG: Final = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_CLOZE_PART: Final = re.compile(r"\{\{c([\d,]+)::|\}\}")
_ANSWER_LINE: Final = re.compile(r"<hr\b[^>]*\bid\s*=\s*[\"']?answer\b[^>]*>", re.IGNORECASE)
_FURIGANA: Final = re.compile(r" ?([^ >]+?)\[(.+?)\]")
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_NOTHING: Final = re.compile(r"(?:<(?!img\b)[^>]*>|&nbsp;|\s)*", re.IGNORECASE)


class Template:
    """One side of a card."""

    def __init__(self, source: str) -> None:
        # Text and tags in turn: the odd places are what stands between braces.
        self._parts = _TAG.split(_COMMENT.sub("", source))

    def render(self, values: Mapping[str, str], *, cloze: int, answer: bool) -> str:
        """The side's HTML, without what FrontSide would repeat. An unknown field is empty."""
        made: list[str] = []
        # For each open section, whether it shows; what is in a hidden one is hidden too.
        open_sections: list[tuple[str, bool]] = []
        for place, part in enumerate(self._parts):
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


def answer_only(back: str) -> str:
    """What stands below the line at which the answer begins; all of it where there is none, or nothing below."""
    parts = _ANSWER_LINE.split(back, maxsplit=1)
    if len(parts) == 2 and not _NOTHING.fullmatch(parts[1]):
        return parts[1]
    return " ".join(parts)


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
        if part[1]:
            open_parts.append((number in _numbers(part[1]), []))
        elif len(open_parts) > 1:
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
        return html.escape(html.unescape(re.sub(r"<[^>]*>", "", text)), quote=False)
    if applied.startswith("tts"):
        return ""
    if applied == "furigana":
        return _FURIGANA.sub(r"<ruby>\1<rt>\2</rt></ruby>", text)
    if applied == "kanji":
        return _FURIGANA.sub(r"\1", text)
    if applied == "kana":
        return _FURIGANA.sub(r"\2", text)
    return text


def _is_filled(name: str, values: Mapping[str, str], number: int) -> bool:
    """Whether a section of this name shows. `c1` is one that shows on the cards of that cloze number."""
    if name in values:
        return not _NOTHING.fullmatch(values[name])
    return bool(re.fullmatch(r"c\d+", name)) and int(name[1:]) == number
