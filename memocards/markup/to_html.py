"""Markdown as the HTML of an Anki field."""

import html
import re
from typing import Final

from kit.dialect import parser

_markdown = parser()

# U+001F would end a field of Anki's, and the other control characters cannot be seen. The ends of a line or a page
# become line ends.
_CONTROLS: Final = {
    **dict.fromkeys([*range(0x20), 0x7F], "\ufffd"),
    **dict.fromkeys((0x0B, 0x0C), "\n"),
    **{ord(character): character for character in "\t\n\r"},
}
_NOTHING: Final = re.compile(r"(?:<(?!hr\b)[^>]*>|\s)*")


def as_html(text: str) -> str:
    """The HTML of a text. A single paragraph stands without `<p>`, as a person would have typed it into Anki.

    Where there would be nothing to see, as of `[x]: http://y`, it is the text as it is written: of an empty front Anki
    makes no card.
    """
    text = without_controls(text)
    field: str = _markdown.render(text).strip()
    if _NOTHING.fullmatch(field):
        field = html.escape(text.strip(), quote=False).replace("\n", "<br>")
    elif field.startswith("<p>") and field.endswith("</p>") and field.count("<p>") == 1:
        field = field.removeprefix("<p>").removesuffix("</p>")
    # Anki would play what stands in such brackets.
    return field.replace("[sound:", "[<!-- -->sound:").replace("[anki:", "[<!-- -->anki:")


def without_controls(text: str) -> str:
    """The text with U+FFFD for control characters, of which Anki takes no more than tab and line end."""
    return text.translate(_CONTROLS)
