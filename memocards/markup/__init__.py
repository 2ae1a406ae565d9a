"""Markdown, as the hub keeps its texts, and HTML, as others do: each made of the other.

from_html.py makes Markdown of HTML and of Markdown with HTML in it, for imports; inline.py, its other half, writes what
stands within a line, and sets a mark only where CommonMark reads it. to_html.py makes HTML for a field of Anki's, for
exports. Which Markdown it is says kit.dialect; how it is shown to people, kit.markdown.
"""
