"""How the texts of a file are written."""

from enum import StrEnum


class Markup(StrEnum):
    """How the texts of a file are written. A column of this name says it of each row."""

    # What looks like HTML in it is HTML.
    MARKDOWN = "markdown"
    HTML = "html"
    # As a hub has them and as its exports say them: Markdown in which nothing is HTML. Nothing is done to them.
    EXACT = "exact"
