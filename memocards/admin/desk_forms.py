"""The forms of the review desk: a row is edited where it is read, and a decision counts for the text that was read."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.utils.text import Truncator

from memocards.admin.fields import ContentField, unix_lines
from memocards.admin.forms import MemoCardForm, QuestionForm, ServiceForm, posted
from memocards.models import MemoCard, Question
from memocards.review import Item

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
    """A form that refuses every decision on a text that is no longer what the reviewer saw, edited by them or not."""

    def _refuse_a_conflict(self, name: str) -> None:
        """differences() has compared all fields before the form is asked whether it is valid."""

    def differences(self) -> list[Difference]:
        found = []
        for name in self.fields:
            seen = self.data.get(self[name].html_initial_name)
            if seen is not None and unix_lines(seen) != (now := self._reads_now(name)):
                shown = [Truncator(text).chars(SHOWN) for text in (unix_lines(seen), now)]
                found.append(Difference(str(self[name].label), *shown))
        return found

    def on_top_of(self, item: Item) -> "DeskForm":
        """The same form over the row as it is now: what the reviewer wrote stays, what they left alone is renewed, so
        that the next attempt is made knowingly."""
        given: Any = self.data
        data = given.copy()
        fresh = type(self)(instance=item)
        for name in self.fields:
            if name not in self.changed_data:
                for part, text in posted(fresh[name]).items():
                    data[part] = text
            data[self[name].html_initial_name] = fresh._reads_now(name)
        return type(self)(data, instance=item)


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
