"""The right choice of a question, as people name it: by its text, its letter or its number, in whatever dress.

Each way in which a cell can be read names a choice or none. Where they name one and the same, that is the answer; where
they name two, the cell is ambiguous, and nobody guesses.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

_HANGUL: Final = "가나다라마바사아자차"
# Circled numbers and letters may stand side by side without a blank: they are one each.
_CIRCLED: Final = re.compile("([\u2460-\u24ff\u2776-\u2793\u3260-\u327b])")
# A label: a word before it, brackets around it, and 번, a full stop or a bracket behind it.
_LABEL: Final = re.compile(
    r"(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|answer|number|no|보기|선택지|정답|답)[\s.:#-]*)?"
    r"[(\[{<【「]?\s*(?P<name>\d{1,2}(?=\.0+(?!\d)|\D|$)|[a-z](?![a-z])|[가-힣](?![가-힣]))(?:\.0+(?!\d))?\s*"
    r"[)\]}>】」]?\s*(?:번(?![가-힣]))?\s*[.):]?\s*",
    re.IGNORECASE,
)
_BETWEEN: Final = re.compile(r"[\s,;/&+·、]+|\b(?:and)\b|와|과|및")
# What true and false are called.
_VERDICTS: Final = (
    frozenset({"o", "○", "◯", "true", "t", "yes", "y", "right", "correct", "예", "네", "참", "맞다", "그렇다", "옳다"}),
    frozenset({"x", "×", "✕", "✗", "false", "f", "no", "n", "wrong", "incorrect"})
    | {"아니오", "아니요", "거짓", "틀리다", "그렇지 않다", "옳지 않다"},
)


class Unanswerable(Exception):
    """No choice, or more than one, is named; in a sentence."""


class CountsFromZero(Exception):
    """The answer is a number 0: so the whole file counts from 0, this row says nothing about it."""


def right_choice(value: Any, choices: Sequence[str], letters: Sequence[str], *, counted_from: int) -> int:
    """The place of the right choice, from 1.

    `value` is the cell: a text, a number, true or false, or a list of one of these. `choices` are as the file has them,
    `letters` what they are called there, and `counted_from` what the first one's number is, 0 or 1. Raises Unanswerable
    and CountsFromZero.
    """
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    value = "" if value is None else value
    if isinstance(value, list | tuple):
        raise Unanswerable(_several([str(each) for each in value]))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    cell = _cleaned(str(value))
    folded = [_folded(choice) for choice in choices]
    # A number beside texts is no text: so JSON says whether 1 is the first choice or the choice "1".
    by_text = [] if is_number else [place for place, text in enumerate(folded, 1) if text == _folded(str(value))]
    if len(by_text) > 1:
        sentence = _("The answer %(answer)r is the text of the choices %(places)s.")
        raise Unanswerable(sentence % {"answer": _short(value), "places": ", ".join(map(str, by_text))})
    names = _names(letters, counted_from)
    by_name = _named(cell, names, folded)
    if by_text and by_name and by_text[0] != by_name:
        sentence = _(
            "The answer %(answer)r is choice %(named)d by its number or letter, and choice %(text)d by its text."
        )
        raise Unanswerable(sentence % {"answer": _short(value), "named": by_name, "text": by_text[0]})
    if place := (by_text[0] if by_text else by_name) or _by_verdict(cell, folded):
        return place
    label = _LABEL.fullmatch(cell)
    if counted_from == 1 and label and label["name"] == "0":
        raise CountsFromZero
    if len(several := _all_named(cell, names)) > 1:
        raise Unanswerable(_several(several))
    sentence = _(
        "The answer %(answer)r is none of the choices: it is the text of one, a number from %(first)d to %(last)d, or "
        "one of the letters %(letters)s."
    )
    last = counted_from + len(choices) - 1
    raise Unanswerable(
        sentence % {"answer": _short(value), "first": counted_from, "last": last, "letters": ", ".join(letters)}
    )


def _short(value: Any) -> str:
    return str(value)[:40]


def _cleaned(text: str) -> str:
    """Without dress that Unicode has characters for: full width, circles and brackets."""
    return " ".join(unicodedata.normalize("NFKC", _CIRCLED.sub(_undressed, text)).split())


def _undressed(circled: "re.Match[str]") -> str:
    number = unicodedata.numeric(circled[0], None)
    return f" {circled[0] if number is None else int(number)} "


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _names(letters: Sequence[str], counted_from: int) -> Mapping[str, int]:
    """Each name of a choice, in capitals, with its place."""
    places = range(1, len(letters) + 1)
    numbers = {str(counted_from + place - 1): place for place in places}
    return {**dict(zip(_HANGUL, places, strict=False)), **numbers, **dict(zip(letters, places, strict=True))}


def _named(cell: str, names: Mapping[str, int], folded: Sequence[str]) -> int:
    """The choice whose name the cell is, or whose name and text; 0 for none."""
    if place := names.get(cell.upper()):
        return place
    label = _LABEL.match(cell)
    place = names.get(_name(label), 0) if label else 0
    if not label or not place:
        return 0
    rest = cell[label.end() :]
    return place if not rest or _folded(rest) == _cleaned(folded[place - 1]) else 0


def _name(label: "re.Match[str]") -> str:
    name = label["name"].upper()
    return str(int(name)) if name.isdecimal() else name


def _by_verdict(cell: str, folded: Sequence[str]) -> int:
    """The choice that says true where the cell says true in another word, or false; 0 for none or several."""
    for words in _VERDICTS:
        if cell.casefold() in words:
            places = [place for place, text in enumerate(folded, 1) if text in words]
            return places[0] if len(places) == 1 else 0
    return 0


def _all_named(cell: str, names: Mapping[str, int]) -> list[str]:
    """The names, where the cell is a list of them and of nothing else."""
    parts = [part for part in _BETWEEN.split(cell) if part]
    if len(parts) == 1 and parts[0].isalpha() and parts[0].isupper():
        parts = list(parts[0])
    labels = [_LABEL.fullmatch(part) for part in parts]
    known = [_name(label) for label in labels if label and _name(label) in names]
    return list(dict.fromkeys(known)) if len(known) == len(parts) else []


def _several(names: Sequence[str]) -> str:
    sentence = ngettext(
        "This row names %(count)d right answer (%(names)s); a question has one here.",
        "This row names %(count)d right answers (%(names)s); a question has one here.",
        len(names),
    )
    return sentence % {"count": len(names), "names": ", ".join(name[:20] for name in names[:10])}
