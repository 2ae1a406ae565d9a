"""What a person sees of a page, without what a program, or another person, has written there."""

import re
from html.parser import HTMLParser

# What an attribute says is seen or read out, too; the desk's script shows what its data say.
SPOKEN_ATTRIBUTES = {
    *("title", "placeholder", "aria-label", "alt", "label"),
    *("data-away", "data-out", "data-login", "data-behind", "data-reason", "data-returned", "data-read"),
    *("data-onward", "data-saved", "data-leave", "data-drop", "data-nothing", "data-undo"),
}
UNSEEN = {"script", "style"}
# Keys of the keyboard, and values as a program writes them.
AS_IS = {"kbd", "code", "pre"}
EMPTY = {"input", "img", "br", "hr", "link", "meta", "col", "source", "wbr"}
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_'’-]+")
# Addresses, extensions of files, settings by their names, and long identifiers.
NO_WORDS = re.compile(
    r"https?://\S+|\.[a-z]{2,6}(?![a-z])|\b[A-Z]+(?:_[A-Z]+)+(?![A-Z])|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
)


class VisibleText(HTMLParser):
    """`pieces`: the texts of a page in their order, blanks reduced to one."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        # Of each open element, whether its text is looked at.
        self._open: list[tuple[str, bool]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        for name, value in attributes.items():
            is_button = tag == "input" and attributes.get("type") in {"submit", "button", "reset"}
            if name in SPOKEN_ATTRIBUTES or (name == "value" and is_button):
                self._add(value)
        if tag not in EMPTY:
            self._open.append((tag, self._looks() and not _is_left_out(tag, attributes)))

    def handle_endtag(self, tag: str) -> None:
        # An element that was never closed ends with the one around it.
        if any(name == tag for name, _seen in self._open):
            while self._open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._looks():
            self._add(data)

    def _looks(self) -> bool:
        return self._open[-1][1] if self._open else True

    def _add(self, text: str) -> None:
        if words := " ".join(text.split()):
            self.pieces.append(words)


def _is_left_out(tag: str, attributes: dict[str, str]) -> bool:
    # The names of permissions are rows of Django's, in English whatever the language.
    permissions = tag == "select" and attributes.get("name") in {"permissions", "user_permissions"}
    payload = tag == "textarea" and "readonly" in attributes
    return tag in UNSEEN | AS_IS or permissions or payload


def latin_words(text: str) -> list[str]:
    """The words in Latin letters; a single letter is none."""
    return WORD.findall(NO_WORDS.sub("", text))
