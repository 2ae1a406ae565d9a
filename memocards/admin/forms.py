"""Forms that know what their editors saw, so that nobody overwrites what somebody else changed meanwhile."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.db import models
from django.db.models import Q, QuerySet
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from memocards.admin.fields import ChoicesField, LinesField, unix_lines
from memocards.errors import DomainError, Invalid
from memocards.states import LIVE

if TYPE_CHECKING:
    BaseForm = forms.ModelForm[Any]
else:
    BaseForm = forms.ModelForm


class ServiceForm(BaseForm):
    """A form that knows what its editor saw, so that it hands on what they changed and nothing else.

    Each field carries its value at the time the page was made. A field that the editor left alone is not written,
    whoever changed it meanwhile; one that both changed is refused once, with the other's text. Constraints are left
    to the service: only the database can judge them.
    """

    refusal: ClassVar[DomainError | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.show_hidden_initial = self.instance.pk is not None
            if isinstance(field, forms.ModelChoiceField) and name in {"topic", "question"}:
                rows: QuerySet[Any] = field.queryset  # type: ignore[assignment]
                field.widget.can_delete_related = False
                field.queryset = rows.filter(LIVE | Q(pk=getattr(self.instance, f"{name}_id")))

    def clean(self) -> dict[str, Any]:
        if self.instance.pk is not None:
            for name in self.fields:
                if name in self.changed_data:
                    self._refuse_a_conflict(name)
                elif "_approve" in self.data and not self._was_read(name):
                    self._refuse_unread(name)
                elif name in self.cleaned_data:
                    self.cleaned_data[name] = getattr(self.instance, name)
        if isinstance(self.refusal, Invalid):
            for name, sentences in self.refusal.fields.items():
                self.add_error(name if name in self.fields else None, sentences)
        elif self.refusal is not None:
            self.add_error(None, str(self.refusal))
        return self.cleaned_data

    def changes(self) -> dict[str, Any]:
        """What to write, by column: everything for a new row, else what was changed."""
        names = self.fields if self.instance._state.adding else self.changed_data
        return {self._column(name): self._value(name) for name in names}

    def _column(self, name: str) -> str:
        return str(getattr(self._meta.model._meta.get_field(name), "attname", name))

    def _value(self, name: str) -> Any:
        value = self.cleaned_data[name]
        return value.pk if isinstance(value, models.Model) else value

    def _refuse_a_conflict(self, name: str) -> None:
        bound = self[name]
        if name not in self.cleaned_data or not self._reads_otherwise(name):
            return
        if not bound.field.has_changed(self.cleaned_data[name], bound.field.prepare_value(bound.initial)):
            return
        # The editor now sees the other's text, so the next attempt is made knowingly.
        now = self._reads_now(name)
        self._send_as({bound.html_initial_name: now})
        sentence = _("Somebody else changed this meanwhile. It now reads: “%s”. Save again to replace that.")
        self.add_error(name, sentence % Truncator(now).chars(500))

    def _refuse_unread(self, name: str) -> None:
        """An approval holds for the text that was read."""
        self._send_as({**posted(self[name]), self[name].html_initial_name: self._reads_now(name)})
        self.add_error(name, _("Somebody else changed this meanwhile. Read it, and approve it again."))

    def _reads_otherwise(self, name: str) -> bool:
        """Whether the column is no longer what the editor saw."""
        seen = self.data.get(self[name].html_initial_name)
        return seen is not None and unix_lines(seen) != self._reads_now(name)

    def _was_read(self, name: str) -> bool:
        """Whether the page says that it showed the column as it is."""
        return self[name].html_initial_name in self.data and not self._reads_otherwise(name)

    def _reads_now(self, name: str) -> str:
        bound = self[name]
        widget = bound.field.hidden_widget()
        return unix_lines(str(widget.format_value(bound.field.prepare_value(bound.initial)) or ""))

    def _send_as(self, values: Mapping[str, str]) -> None:
        """Show these as what was sent."""
        data: Any = self.data
        data = data.copy()
        for name, value in values.items():
            data[name] = value
        self.data = data


def posted(bound: forms.BoundField) -> dict[str, str]:
    """What a browser would send for this field if nobody touched it."""
    value = bound.field.prepare_value(bound.initial)
    if isinstance(bound.field, ChoicesField):
        texts = [*value, *[""] * (bound.field.size - len(value))][: bound.field.size]
        return {f"{bound.html_name}_{place}": text for place, text in enumerate(texts)}
    return {bound.html_name: str(bound.field.widget.format_value(value) or "")}


class QuestionForm(ServiceForm):
    choices = ChoicesField(label=_("Choices"), help_text=_("2 to 10 texts; leave the other boxes empty."))


class MemoCardForm(ServiceForm):
    tags = LinesField(
        label=_("Tags"),
        required=False,
        widget=AdminTextareaWidget(attrs={"rows": 3, "dir": "auto"}),
        help_text=_("One a line."),
    )


class LearnerSettingsForm(ServiceForm):
    def clean(self) -> dict[str, Any]:
        self._validate_unique = True
        return super().clean()
