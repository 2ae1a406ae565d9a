"""Template filters for what authors wrote."""

from django import template
from django.template.defaultfilters import stringfilter
from django.utils.safestring import SafeString

from kit import markdown

register = template.Library()


@register.filter
@stringfilter
def as_markdown(text: str) -> SafeString:
    return markdown.render(text)


@register.filter
@stringfilter
def as_line(text: str) -> SafeString:
    return markdown.render_inline(text)


@register.filter
@stringfilter
def as_words(text: str) -> str:
    return markdown.plain(text)
