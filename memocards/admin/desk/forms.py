"""The forms of the review desk: a row is edited where it is read, and a decision counts for the text that was read."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.utils.text import Truncator, capfirst

from memocards.admin.fields import ContentField, unix_lines
from memocards.admin.forms import MemoCardForm, QuestionForm, ServiceForm, posted
from memocards.content.versions import VOUCHED_FOR
from memocards.models import MemoCard, Question
from memocards.states import Item

SHOWN = 200


def _area(rows: int) -> AdminTextareaWidget:
    return AdminTextareaWidget(attrs={"rows": rows, "dir": "auto"})


@dataclass(frozen=True)
class Difference:
    """A field that somebody else changed since the page was made: its label, what was seen and what it reads now."""

    label: str
    seen: str
    now: str


class DeskForm(ServiceForm):
    """A form that refuses every decision on a row that is no longer what the reviewer saw, edited by them or not.

    What a reviewer vouches for is its fields and, not to be edited here, where the row belongs: its `links`.
    """

    def _refuse_a_conflict(self, name: str) -> None:
        """differences() has compared all fields before the form is asked whether it is valid."""

    def differences(self) -> list[Difference]:
        differences = []
        for name in self.fields:
            # A page that does not say what it showed has shown nothing.
            seen = self.data.get(self[name].html_initial_name, "")
            if unix_lines(seen) == (now := self._reads_now(name)):
                continue
            # What the reviewer wrote themselves is no news: the answer to their saving it was lost.
            if not self._stands(name):
                shown = [Truncator(text).chars(SHOWN) for text in (unix_lines(seen), now)]
                differences.append(Difference(str(self[name].label), *shown))
        for link in self._links():
            seen = self.data.get(_seen(link), "")
            if seen != _number(self.instance, link):
                shown = [_named(link, seen), _named(link, _number(self.instance, link))]
                differences.append(Difference(str(capfirst(link.verbose_name)), *shown))
        return differences

    def links(self) -> list[tuple[str, str]]:
        """For the page to hand back: the name of a hidden input and the primary key, or nothing, in it."""
        return [(_seen(link), _number(self.instance, link)) for link in self._links()]

    def stands(self) -> bool:
        """Whether the row reads just as this form would make it."""
        return all(self._stands(name) for name in self.fields)

    def _stands(self, name: str) -> bool:
        bound = self[name]
        return not bound.field.has_changed(bound.field.prepare_value(bound.initial), bound.data)

    def _links(self) -> list[Any]:
        model = type(self.instance)
        return [field for field in model._meta.fields if field.is_relation and field.attname in VOUCHED_FOR[model]]

    def on_top_of(self, item: Item) -> "DeskForm":
        """The same form over the row as it is now: what the reviewer wrote stays, what they left alone is renewed, so
        that the next attempt is made knowingly."""
        posted_values: Any = self.data
        data = posted_values.copy()
        fresh = type(self)(instance=item)
        for name in self.fields:
            if name not in self.changed_data:
                for part, text in posted(fresh[name]).items():
                    data[part] = text
            data[self[name].html_initial_name] = fresh._reads_now(name)
        return type(self)(data, instance=item)


def _seen(link: Any) -> str:
    return f"seen-{link.name}"


def _number(item: Item, link: Any) -> str:
    return str(getattr(item, link.attname) or "")


def _named(link: Any, number: str) -> str:
    """What a primary key of a page names, which may be anything."""
    if not number.isdecimal() or len(number) > 18:
        return "–"
    return str(link.related_model._base_manager.filter(pk=number).first() or "–")


class CardDeskForm(DeskForm, MemoCardForm):
    class Meta:
        model = MemoCard
        fields = ["front", "back", "tags", "source"]
        field_classes = {"front": ContentField, "back": ContentField}
        widgets = {"front": _area(4), "back": _area(6), "source": AdminTextInputWidget(attrs={"dir": "auto"})}


class QuestionDeskForm(DeskForm, QuestionForm):
    class Meta:
        model = Question
        fields = ["stem", "choices", "answer", "explanation", "source"]
        field_classes = {"stem": ContentField, "explanation": ContentField}
        widgets = {
            "stem": _area(4),
            "answer": forms.NumberInput(attrs={"min": 1, "max": 10}),
            "explanation": _area(6),
            "source": AdminTextInputWidget(attrs={"dir": "auto"}),
        }


def desk_form(item: Item, data: Any = None) -> DeskForm:
    return QuestionDeskForm(data, instance=item) if isinstance(item, Question) else CardDeskForm(data, instance=item)
