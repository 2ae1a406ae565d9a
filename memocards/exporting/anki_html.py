"""Markdown as the HTML of an Anki field."""

from markdown_it import MarkdownIt

# As the viewer reads it, without raw HTML: what looks like a tag is text. Images would be fetched from elsewhere.
_markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")


def as_html(text: str) -> str:
    """The HTML of a text. A single paragraph stands without `<p>`, as a person would have typed it into Anki."""
    html: str = _markdown.render(text).strip()
    if html.startswith("<p>") and html.endswith("</p>") and html.count("<p>") == 1:
        html = html.removeprefix("<p>").removesuffix("</p>")
    # Anki would play these.
    return html.replace("[sound:", "[<!-- -->sound:").replace("[anki:", "[<!-- -->anki:")
