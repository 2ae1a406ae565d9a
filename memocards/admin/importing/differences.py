"""Values of a preview as HTML: what goes, what comes, and a little of what stays around it."""

import re
from typing import Any, Final

from diff_match_patch import diff_match_patch
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator

SHOWN: Final = 200
AROUND: Final = 40
# Words of both texts, blanks and signs included. Longer texts are shown one after the other, without a comparison,
# because a page has many of them.
MOST_WORDS: Final = 4_000
_SECONDS: Final = 0.05  # for one text; if the comparison takes longer, larger pieces are shown as replaced
_WORD: Final = re.compile(r"\w+|\W", re.DOTALL)
_FIRST: Final = 0x10000  # no character from here on is a blank or a line end, to which the comparison pays heed


def plain(value: Any) -> SafeString:
    """A value by itself, as of a new row."""
    return format_html("{}", Truncator(_text(value)).chars(SHOWN))


def marked(before: Any, after: Any) -> SafeString:
    """Both values in one text, compared by words: what is deleted stands in <del>, what is added in <ins>."""
    old, new = _text(before), _text(after)
    if old == new:
        return plain(new)
    pieces = _compared(old, new)
    last = len(pieces) - 1
    return format_html_join(
        "",
        "{}",
        ((_piece(kind, text, first=place == 0, last=place == last),) for place, (kind, text) in enumerate(pieces)),
    )


def _compared(old: str, new: str) -> list[tuple[int, str]]:
    """(kind, text) from beginning to end. For the comparison each word is one character, as lines are in the paper
    that diff-match-patch goes by: https://github.com/google/diff-match-patch/wiki/Line-or-Word-Diffs."""
    numbers: dict[str, int] = {}
    shortened = [
        "".join(chr(numbers.setdefault(word, len(numbers) + _FIRST)) for word in _WORD.findall(text))
        for text in (old, new)
    ]
    if sum(map(len, shortened)) > MOST_WORDS:
        return [(diff_match_patch.DIFF_DELETE, old), (diff_match_patch.DIFF_INSERT, new)]
    comparison = diff_match_patch()
    comparison.Diff_Timeout = _SECONDS
    pieces = comparison.diff_main(*shortened, False)
    comparison.diff_cleanupSemantic(pieces)
    words = list(numbers)
    return [(kind, "".join(words[ord(character) - _FIRST] for character in text)) for kind, text in pieces]


def _piece(kind: int, text: str, *, first: bool, last: bool) -> SafeString:
    if kind == diff_match_patch.DIFF_DELETE:
        return format_html("<del>{}</del>", Truncator(text).chars(SHOWN))
    if kind == diff_match_patch.DIFF_INSERT:
        return format_html("<ins>{}</ins>", Truncator(text).chars(SHOWN))
    return format_html("{}", _shortened(text, first=first, last=last))


def _shortened(text: str, *, first: bool, last: bool) -> str:
    """Text that stays, cut to its beginning and its end, where changes stand beside it."""
    head, tail = ("" if first else text[:AROUND]), ("" if last else text[-AROUND:])
    return text if len(text) <= len(head) + len(tail) + 3 else f"{head} … {tail}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
