"""Small charts as SVG, drawn on the server: no script, no style of their own. Colours come from the page's sheet, so
that they follow its dark mode. Whatever a chart shows stands beside it in text as well."""

from collections.abc import Sequence
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# In units of the drawing, which the page stretches to its width.
BAR_WIDTH: Final = 100
BAR_HEIGHT: Final = 8
COLUMN_WIDTH: Final = 10
COLUMNS_HEIGHT: Final = 80
GAP: Final = 2


def bar(parts: Sequence[tuple[str, int]], most: int) -> SafeString:
    """One bar of parts side by side, (name, amount) each; `most` fills the width. Hidden from screen readers: it
    stands beside its figures."""
    at, drawn = 0.0, []
    for name, amount in parts:
        width = BAR_WIDTH * max(amount, 0) / most if most > 0 else 0.0
        drawn.append((name, _short(at), _short(width), BAR_HEIGHT))
        at += width
    return format_html(
        '<svg class="chart-bar" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        "{}</svg>",
        BAR_WIDTH,
        BAR_HEIGHT,
        format_html_join("", '<rect class="chart-{}" x="{}" width="{}" height="{}"/>', drawn),
    )


def columns(amounts: Sequence[tuple[str, int]], label: str) -> SafeString:
    """A column for each (name, amount); `label` says what they show to those who cannot see it."""
    most = max((amount for _name, amount in amounts), default=0)
    drawn = []
    for place, (name, amount) in enumerate(amounts):
        # What is not nothing is seen.
        height = max(COLUMNS_HEIGHT * amount / most, 1) if amount else 0
        x, y = _short(place * COLUMN_WIDTH + GAP / 2), _short(COLUMNS_HEIGHT - height)
        drawn.append((x, y, COLUMN_WIDTH - GAP, _short(height), f"{name}: {amount}"))
    width = max(len(amounts), 1) * COLUMN_WIDTH
    return format_html(
        '<svg class="chart-columns" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '{}<line class="chart-ground" x1="0" y1="{}" x2="{}" y2="{}"/></svg>',
        width,
        COLUMNS_HEIGHT + 1,
        label,
        format_html_join(
            "",
            '<rect class="chart-column" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
            drawn,
        ),
        COLUMNS_HEIGHT,
        width,
        COLUMNS_HEIGHT,
    )


def _short(number: float) -> str:
    """With a point in every language: this is markup, not text."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
