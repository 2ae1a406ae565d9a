"""Markdown to HTML that is safe to show, at a bounded cost. Hub and viewer show the same text the same way.

Text is rendered without raw HTML, then sanitised all the same. A text that is made of too many parts, or stands on a
page whose time for rendering is used up, is shown as its source, with a sentence that says so. What was rendered is
kept, by the hash of its text and up to a number of characters, so that a page costs its texts once.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from html import unescape
from typing import Final

import nh3
from cachetools import LRUCache
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from kit.dialect import parser

# A table of 20,000 characters can have 65,000 cells. What people write has a tenth of this many tokens.
MOST_TOKENS: Final = 20_000
PAGE_SECONDS: Final = 2.0
CACHE_CHARACTERS: Final = 16_000_000

BLOCKS = {
    *("paragraph_open", "heading_open", "blockquote_open", "bullet_list_open", "ordered_list_open"),
    *("list_item_open", "table_open", "th_open", "td_open"),
}
ALLOWED_TAGS = {
    *("p", "br", "hr", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "pre"),
    *("strong", "em", "s", "a", "code", "table", "thead", "tbody", "tr", "th", "td"),
}
ALLOWED_ATTRIBUTES = {"*": {"dir"}, "a": {"href", "title"}, "ol": {"start"}}
ALLOWED_CLASSES = {tag: {f"align-{side}" for side in ("left", "center", "right")} for tag in ("th", "td")}

_page_ends_at: ContextVar[float | None] = ContextVar("page_ends_at", default=None)
_cache: LRUCache[bytes, str] = LRUCache(CACHE_CHARACTERS, getsizeof=len)
_cache_lock = threading.Lock()


class TooCostly(Exception):
    """A text has more parts than are rendered, or its page has no time left."""


@contextmanager
def page() -> Iterator[None]:
    """All texts rendered within take about PAGE_SECONDS together. What comes later is shown as source."""
    token = _page_ends_at.set(time.monotonic() + PAGE_SECONDS)
    try:
        yield
    finally:
        _page_ends_at.reset(token)


def bounded_pages(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: each page has its time for rendering."""

    def respond(request: HttpRequest) -> HttpResponse:
        with page():
            return get_response(request)

    return respond


def render(text: str) -> SafeString:
    """A block of Markdown."""
    try:
        return mark_safe(_cached(_block, text))  # noqa: S308 - nh3 has sanitised it
    except TooCostly:
        sentence = _("This text is too large to be laid out here. This is its source:")
        return format_html('<p class="source-note">{}</p><pre class="source" dir="auto">{}</pre>', sentence, text)


def render_inline(text: str) -> SafeString:
    """One line of Markdown without a block around it, as for a choice."""
    try:
        return mark_safe(_cached(_inline, text))  # noqa: S308 - as above
    except TooCostly:
        return format_html("{}", text)


def plain(text: str) -> str:
    """The words alone, on one line, as for a list of cards or a page's title."""
    try:
        return _cached(_words, text)
    except TooCostly:
        return " ".join(text.split())


class _Allowance:
    """How many more tokens one text may have, while its page has time."""

    def __init__(self) -> None:
        self._left = MOST_TOKENS

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooCostly
        if self._left % 512 == 0:
            _check_time()


class _Tokens(list[Token]):
    """A list of tokens for the parser, which raises TooCostly where there come to be too many."""

    def __init__(self, allowance: _Allowance) -> None:
        self._allowance = allowance

    def append(self, token: Token) -> None:
        self._allowance.spend()
        super().append(token)


def _parse_blocks(state: StateCore) -> None:
    """The parser's own rule, with an allowance."""
    allowance = state.env["allowance"] = _Allowance()
    state.tokens = _Tokens(allowance)
    if state.inlineMode:
        state.tokens.append(Token("inline", "", 0, content=state.src, map=[0, 1], children=[]))
    else:
        state.md.block.parse(state.src, state.md, state.env, state.tokens)


def _parse_inlines(state: StateCore) -> None:
    """The parser's own rule, with what the blocks left of the allowance."""
    for token in state.tokens:
        if token.type == "inline":
            token.children = _Tokens(state.env["allowance"])
            state.md.inline.parse(token.content, state.md, state.env, token.children)


_parser = parser()
_parser.core.ruler.at("block", _parse_blocks)
_parser.core.ruler.at("inline", _parse_inlines)


def _check_time() -> None:
    ends_at = _page_ends_at.get()
    if ends_at is not None and time.monotonic() > ends_at:
        raise TooCostly


def _block(text: str) -> str:
    tokens = _parser.parse(text)
    _prepare(tokens)
    return _clean(_parser.renderer.render(tokens, _parser.options, {}))


def _inline(text: str) -> str:
    return _clean(_parser.renderInline(text))


def _words(text: str) -> str:
    return " ".join(unescape(nh3.clean(_parser.render(text), tags=set())).split())


def _cached(form: Callable[[str], str], text: str) -> str:
    """The text in that form, from the cache or rendered now. Raises TooCostly."""
    key = hashlib.blake2b(f"{form.__name__}\0{text}".encode(errors="surrogatepass"), digest_size=20).digest()
    with _cache_lock:
        result = _cache.get(key)
    if result is None:
        _check_time()
        result = form(text)
        with _cache_lock:
            _cache[key] = result
    return result


def _prepare(tokens: Sequence[Token]) -> None:
    for token in tokens:
        if token.type in BLOCKS:
            # Each block finds its own direction: a Hebrew paragraph reads from the right.
            token.attrSet("dir", "auto")
        if token.type in {"fence", "code_block"}:
            # Code is read from the left in every language.
            token.attrSet("dir", "ltr")
        if token.type in {"heading_open", "heading_close"}:
            # The page has the first two levels for itself.
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
        style = token.attrs.pop("style", None)
        if isinstance(style, str):
            # Table cells bring their alignment as an inline style, which the policy forbids: a class instead.
            token.attrSet("class", f"align-{style.removeprefix('text-align:').strip()}")


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=ALLOWED_TAGS,
        attributes=ALLOWED_ATTRIBUTES,
        allowed_classes=ALLOWED_CLASSES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
