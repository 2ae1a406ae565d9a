"""Texts of a file as the hub's Markdown, each converted once."""

from collections.abc import Callable, Mapping
from typing import Final

from memocards.exchange.markup import Markup
from memocards.markup.from_html import TooIntricate, from_html, from_markdown

_CONVERT: Final[Mapping[Markup, Callable[[str], tuple[str, list[str]]]]] = {
    Markup.MARKDOWN: from_markdown,
    Markup.HTML: from_html,
    Markup.EXACT: lambda text: (text, []),
}
# Characters of the texts whose conversion is remembered.
_MOST_REMEMBERED: Final = 4_000_000


class Conversions:
    """What the texts of one file became, so that a text that stands in ten thousand rows is converted once.

    Converting is what takes long in an import. What is remembered is bounded, and forgotten when it is full.
    """

    def __init__(self) -> None:
        self._remembered: dict[tuple[Markup, str], tuple[str, list[str]] | None] = {}
        self._length = 0

    def convert(self, text: str, markup: Markup) -> tuple[str, list[str]] | None:
        """The text as our Markdown, and the media that are left out; None where its markup is too intricate."""
        key = (markup, text)
        if key not in self._remembered:
            if self._length > _MOST_REMEMBERED:
                self._remembered, self._length = {}, 0
            self._length += len(text)
            try:
                self._remembered[key] = _CONVERT[markup](text)
            except TooIntricate:
                self._remembered[key] = None
        return self._remembered[key]
