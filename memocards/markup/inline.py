"""One run of inline Markdown: text that is escaped, and marks that are set only where CommonMark will read them."""

import re
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeAlias

_PUNCTUATION: Final = re.escape(string.punctuation)
# Signs that mean something anywhere in a line. The end of a piece counts too: there a mark, a link or code may begin.
_ANYWHERE: Final = (
    rf"\\(?=[{_PUNCTUATION}]|$)|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?]|$)|&(?=#?\w{{1,40}};)|~(?=~|$)|(?<=~)~|^~"
)
# A bracket alone is harmless, a link's address or definition after it is not.
_SPECIAL: Final = re.compile(rf"[`*]|\](?=[(\[:])|{_ANYWHERE}")
_SPECIAL_IN_LINK: Final = re.compile(rf"[`*\[\]]|{_ANYWHERE}")
_LIST_NUMBER: Final = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
_LINE_START: Final = re.compile(r"^(?=#{1,6}(?:\s|$)|[-+](?:\s|$)|>|[-:|=+ ]+$)")


@dataclass(eq=False, slots=True)
class _Mark:
    sign: str
    opens: bool
    partner: "_Mark | None" = None


@dataclass(slots=True)
class _Text:
    """Text that is not escaped yet. In a link, no bracket may stand bare."""

    value: str
    in_link: bool = False


@dataclass(slots=True)
class _Code:
    value: str


@dataclass(slots=True)
class _Ready:
    """Markdown that stays as it is: the ends of a link."""

    value: str


class _Break:
    """The end of a line."""


_Piece: TypeAlias = _Text | _Code | _Ready | _Mark | _Break


class Inline:
    """Collects a run piece by piece; `paragraphs()` gives it as Markdown. With `one_line`, breaks become blanks."""

    def __init__(self, *, one_line: bool = False) -> None:
        self._one_line = one_line
        self._pieces: list[_Piece] = []
        self._signs: list[str] = []
        self._in_link = False

    @staticmethod
    def escape(text: str) -> str:
        """Text as Markdown, but for what means something at the start of a line only."""
        return _SPECIAL.sub(_behind_backslash, text)

    def text(self, value: str) -> None:
        if value:
            self._pieces.append(_Text(value, self._in_link))

    def code(self, value: str) -> None:
        if not value.strip():
            self.text(value)
            return
        self._pieces.append(_Code(value))

    def line_break(self) -> None:
        if self._one_line:
            self.text(" ")
        else:
            self._pieces.append(_Break())

    def open(self, sign: str) -> _Mark | None:
        """Begin emphasis. None where it is on already."""
        if sign in self._signs:
            return None
        self._signs.append(sign)
        mark = _Mark(sign, opens=True)
        self._pieces.append(mark)
        return mark

    def close(self, mark: _Mark) -> None:
        self._signs.remove(mark.sign)
        self._pieces.append(_closing(mark))

    def open_link(self) -> None:
        self._in_link = True
        self._pieces.append(_Ready("["))

    def close_link(self, address: str) -> None:
        quoted = re.sub(r"[\s()<>\\`|*_]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), address)
        self._in_link = False
        self._pieces.append(_Ready(f"]({quoted})"))

    def paragraphs(self) -> list[str]:
        """The run as Markdown: two breaks in a row begin another paragraph."""
        paragraphs = (_assemble(pieces) for pieces in self._split())
        return [paragraph for paragraph in paragraphs if paragraph]

    def _split(self) -> list[list[_Piece]]:
        """Apart at every double break; a mark that spans it is closed before and opened again after."""
        parts: list[list[_Piece]] = [[]]
        opened: list[tuple[_Mark, _Mark]] = []  # as in the run, as in this part
        breaks = 0
        in_link = False
        for piece in self._pieces:
            if isinstance(piece, _Ready) and (piece.value == "[" or piece.value.startswith("](")):
                in_link = piece.value == "["
            if isinstance(piece, _Break):
                breaks += 1
                continue
            blank = isinstance(piece, _Text) and not piece.value.strip()
            if breaks and blank:
                continue
            if breaks and not isinstance(piece, _Mark):
                if breaks == 1 or in_link:
                    parts[-1].append(_Break())
                else:
                    parts[-1].extend(_closing(here) for _, here in reversed(opened))
                    opened = [(there, _Mark(there.sign, opens=True)) for there, _ in opened]
                    parts.append([here for _, here in opened])
                breaks = 0
            if not isinstance(piece, _Mark):
                parts[-1].append(piece)
            elif piece.opens:
                opened.append((piece, _Mark(piece.sign, opens=True)))
                parts[-1].append(opened[-1][1])
            else:
                here = next(here for there, here in opened if there is piece.partner)
                opened = [pair for pair in opened if pair[1] is not here]
                parts[-1].append(_closing(here))
        return parts


def _behind_backslash(match: re.Match[str]) -> str:
    return "\\" + match[0]


def escape_line_start(line: str) -> str:
    """Keep a line from being read as a heading, a list item, a quotation, a rule or part of a table."""
    return _LINE_START.sub(r"\\", _LIST_NUMBER.sub(r"\1\\\2", line))


def _closing(mark: _Mark) -> _Mark:
    closing = _Mark(mark.sign, opens=False, partner=mark)
    mark.partner = closing
    return closing


def _assemble(pieces: list[_Piece]) -> str:
    pieces = _trimmed(_blanks_outside(_merged(pieces)))
    unreadable = _unreadable(_all_written(pieces))
    pieces = _merged([piece for piece in pieces if not (isinstance(piece, _Mark) and piece in unreadable)])
    text = "".join(piece if isinstance(piece, str) else piece.sign for piece in _all_written(pieces))
    lines = (re.sub(" {2,}", " ", line).strip() for line in text.strip().split("\n"))
    return "\\\n".join(escape_line_start(line) for line in lines if line)


def _all_written(pieces: list[_Piece]) -> list[str | _Mark]:
    written = [_written(piece) for piece in pieces]
    for place, piece in enumerate(pieces[1:]):
        # An exclamation mark before a link would make an image of it.
        if isinstance(piece, _Ready) and isinstance(before := written[place], str) and before.endswith("!"):
            written[place] = f"{before[:-1]}\\!"
    return written


def _trimmed(pieces: list[_Piece]) -> list[_Piece]:
    """No blanks at the ends of a line."""
    for place, piece in enumerate(pieces):
        if isinstance(piece, _Text):
            if place == 0 or isinstance(pieces[place - 1], _Break):
                piece.value = piece.value.lstrip(" ")
            if place + 1 == len(pieces) or isinstance(pieces[place + 1], _Break):
                piece.value = piece.value.rstrip(" ")
    return [piece for piece in pieces if not isinstance(piece, _Text) or piece.value]


def _written(piece: _Piece) -> str | _Mark:
    if isinstance(piece, _Text):
        return _SPECIAL_IN_LINK.sub(_behind_backslash, piece.value) if piece.in_link else Inline.escape(piece.value)
    if isinstance(piece, _Code):
        return _code_span(piece.value)
    if isinstance(piece, _Ready):
        return piece.value
    return "\n" if isinstance(piece, _Break) else piece


def _code_span(value: str) -> str:
    longest = max((len(run) for run in re.findall("`+", value)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if value[0] in "` " or value[-1] in "` " else ""
    return f"{fence}{padding}{value}{padding}{fence}"


def _merged(pieces: list[_Piece]) -> list[_Piece]:
    """Texts side by side as one, for only a whole text can be escaped; and code likewise, whose fences would meet."""
    merged: list[_Piece] = []
    for kind, group in groupby(pieces, key=type):
        if kind is _Text:
            # All of them stand in one link or in none, for the ends of a link are pieces too.
            texts = [piece for piece in group if isinstance(piece, _Text)]
            merged.append(_Text("".join(text.value for text in texts), texts[0].in_link))
        elif kind is _Code:
            merged.append(_Code("".join(piece.value for piece in group if isinstance(piece, _Code))))
        else:
            merged.extend(group)
    return merged


def _blanks_outside(pieces: list[_Piece]) -> list[_Piece]:
    """Blanks just inside a mark move out of it: `** a**` is no emphasis."""
    forward: list[_Piece] = []
    for piece in pieces:
        if isinstance(piece, _Text) and piece.value[:1] == " ":
            place = len(forward)
            while place and isinstance(mark := forward[place - 1], _Mark) and mark.opens:
                place -= 1
            if place < len(forward):
                forward.insert(place, _Text(" ", piece.in_link))
                piece = _Text(piece.value.lstrip(" "), piece.in_link)  # noqa: PLW2901
        if not isinstance(piece, _Text) or piece.value:
            forward.append(piece)
    backward: list[_Piece] = []
    for piece in reversed(forward):
        if isinstance(piece, _Text) and piece.value[-1:] == " ":
            place = len(backward)
            while place and isinstance(mark := backward[place - 1], _Mark) and not mark.opens:
                place -= 1
            if place < len(backward):
                backward.insert(place, _Text(" ", piece.in_link))
                piece = _Text(piece.value.rstrip(" "), piece.in_link)  # noqa: PLW2901
        if not isinstance(piece, _Text) or piece.value:
            backward.append(piece)
    return _merged(backward[::-1])


def _unreadable(written: Sequence[str | _Mark]) -> set[_Mark | None]:
    """The marks that CommonMark would not read as meant, and their partners.

    Each is looked at once, from left to right. A mark that passes has text on both sides, so that it makes no
    difference to any other mark if it still goes, with its partner: no two marks come to stand side by side by that.
    """
    gone: set[_Mark | None] = set()
    before = " "
    for place, mark in enumerate(written):
        if isinstance(mark, str):
            before = mark
        elif mark not in gone:
            beside = place + 1
            # Of two marks side by side the later one gives way; an empty pair goes as a whole.
            while beside < len(written) and isinstance(after := written[beside], _Mark) and after is not mark.partner:
                gone |= {after, after.partner}
                beside += 1
            after = written[beside] if beside < len(written) else " "
            if isinstance(after, _Mark) or not _is_readable(mark, before, after):
                gone |= {mark, mark.partner}
    return gone


def _is_readable(mark: _Mark, before: str, after: str) -> bool:
    """Whether CommonMark would read the mark as meant between these texts."""
    outside, inside = (before[-1:], after[:1]) if mark.opens else (after[:1], before[-1:])
    if inside.isspace() or inside == mark.sign[0] or outside == mark.sign[0]:
        return False
    return outside.isspace() or _is_punctuation(outside) or not _may_be_punctuation(inside)


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character)[0] == "P"


def _may_be_punctuation(character: str) -> bool:
    # Renderers do not agree on whether symbols are punctuation.
    return character in string.punctuation or unicodedata.category(character)[0] in "PS"
