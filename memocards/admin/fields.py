"""Form fields for study content, such as texts of several lines, tags and choices; and what cells of lists show."""

import json
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.contrib.postgres.forms import SimpleArrayField, SplitArrayField, SplitArrayWidget
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as now
from django.utils.translation import gettext_lazy as _

SHORT = 80


def short(text: str) -> SafeString:
    """The beginning of a text, for a cell of a list."""
    return format_html('<span dir="auto">{}</span>', Truncator(text).chars(SHORT))


def unix_lines(text: str) -> str:
    """Browsers send a line break as CR LF; content is kept with LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


class ContentField(forms.CharField):
    """Text of several lines."""

    def to_python(self, value: Any) -> Any:
        return unix_lines(super().to_python(value) or "")


class LinesField(SimpleArrayField):
    """Short texts, one a line: a tag may hold a comma."""

    def __init__(self, **options: Any) -> None:
        super().__init__(forms.CharField(), delimiter="\n", **options)

    def to_python(self, value: Any) -> Any:
        lines = value if isinstance(value, list) else unix_lines(value or "").split("\n")
        return super().to_python([line for line in lines if line.strip()])


class JSONHiddenInput(forms.HiddenInput):
    def format_value(self, value: Any) -> str | None:
        return json.dumps(value) if isinstance(value, list) else value


class ChoicesWidget(SplitArrayWidget):
    """The boxes of the choices: numbered, since the answer is the number of a choice."""

    template_name = "memocards/widgets/choices.html"

    def get_context(self, name: str, value: Any, attrs: Any = None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        for number, box in enumerate(context["widget"]["subwidgets"], 1):
            box["attrs"] = {**box["attrs"], "aria-label": now("Choice %d") % number}
        return context


class ChoicesField(SplitArrayField):
    """The choices of a question, each in a box of its own: a choice may have several lines."""

    hidden_widget = JSONHiddenInput

    def __init__(self, **options: Any) -> None:
        choice = ContentField(widget=AdminTextareaWidget(attrs={"rows": 2, "dir": "auto"}))
        widget = ChoicesWidget(choice.widget, size=10)
        super().__init__(choice, size=10, remove_trailing_nulls=True, widget=widget, **options)

    def to_python(self, value: Any) -> Any:
        if not isinstance(value, list):
            try:
                value = json.loads(value or "[]")
            except ValueError as error:
                raise ValidationError(_("This is not a list of choices.")) from error
        return super().to_python(value)
