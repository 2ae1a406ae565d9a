"""Markdown as learners will see it: rendered without raw HTML, then sanitised all the same.

The rules are the viewer's. It is a program of its own that shares no code with the hub, so they are written here too.
"""

from collections.abc import Sequence

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

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

# Images are left out: they would be fetched from elsewhere, which the content security policy forbids anyway.
_parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")


def render(text: str) -> SafeString:
    """A block of Markdown."""
    tokens = _parser.parse(text)
    _prepare(tokens)
    return _clean(_parser.renderer.render(tokens, _parser.options, {}))


def render_inline(text: str) -> SafeString:
    """One line of Markdown without a block around it, as for a choice."""
    return _clean(_parser.renderInline(text))


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


def _clean(html: str) -> SafeString:
    return mark_safe(  # noqa: S308 - nh3 has just made it safe
        nh3.clean(
            html,
            tags=ALLOWED_TAGS,
            attributes=ALLOWED_ATTRIBUTES,
            allowed_classes=ALLOWED_CLASSES,
            url_schemes={"http", "https", "mailto"},
            link_rel="noopener noreferrer nofollow",
        )
    )
