"""The dialect of Markdown in which all texts are written: whoever shows, imports or exports one parses it by this.

It stands by itself, because the process that reads a file to be imported has no use for what rendering needs.
"""

from markdown_it import MarkdownIt


def parser(*, html: bool = False, images: bool = False) -> MarkdownIt:
    """CommonMark with tables and strikethrough.

    `html`: tags in the text are HTML, as strangers may mean it; in our own texts they are characters. `images`: they
    are read as such. They are never shown, for they would be fetched from elsewhere, which the content security policy
    forbids anyway.
    """
    markdown = MarkdownIt("commonmark", {"html": html}).enable(["table", "strikethrough"])
    return markdown if images else markdown.disable("image")
