"""The page that asks before an action, and says what viewers will see change."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, ActionForm
from django.contrib.postgres.aggregates import StringAgg
from django.db.models import CharField, Model, Value
from django.db.models.functions import MD5, Cast, Concat
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from memocards.admin.lists.choosing import as_read


class AskingActionForm(ActionForm):
    """The form of a list of which every action asks first. Whoever posts without it has made up their mind."""

    ask = forms.CharField(label="", widget=forms.HiddenInput, initial="1", required=False)
    # The rows of the page as it shows them.
    read = forms.CharField(label="", widget=forms.HiddenInput, required=False)


TAKE_AWAY = {"unapprove", "delete_selected", "delete_with_content"}


@dataclass(frozen=True)
class Confirmation:
    """What is asked before an action. `question`: the question itself. `sentences`: what viewers will see change.
    `at_stake`: what that holds for; when it differs by the time of the answer, it is asked again. `form`: what the
    action needs to know besides. `carried`: what the answer brings back, by name. `rows`: the texts of each row, where
    they must have been read."""

    title: Any
    question: str
    sentences: Sequence[str]
    at_stake: str
    form: forms.Form | None = field(default=None)
    carried: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[Sequence[str]] = ()


def at_stake(model: type[Model], keys: Collection[int]) -> str:
    """How many rows these are, and a digest of when each was last written."""
    version = Concat(Cast("pk", CharField()), Value(" "), Cast("updated_at", CharField()))
    rows = model._base_manager.filter(pk__in=keys)
    digest = rows.aggregate(digest=MD5(StringAgg(version, ",", order_by="pk")))["digest"]
    return f"{len(keys)}-{digest}"


def content_at_stake(versions: Mapping[int, str]) -> str:
    """How many rows these are, and a digest of their content."""
    digest = sha256(as_read(dict(sorted(versions.items()))).encode()).hexdigest()
    return f"{len(versions)}-{digest}"


def confirmed(request: HttpRequest, at_stake: str) -> bool:
    return request.POST.get("confirmed") == at_stake


def ask(request: HttpRequest, model_admin: Any, action: str, confirmation: Confirmation) -> HttpResponse:
    context = {
        **model_admin.admin_site.each_context(request),
        "title": confirmation.title,
        "opts": model_admin.opts,
        "question": confirmation.question,
        "sentences": confirmation.sentences,
        "form": confirmation.form,
        "carried": confirmation.carried,
        "rows": confirmation.rows,
        "action": action,
        "takes_away": action in TAKE_AWAY,
        "confirmed": confirmation.at_stake,
        "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "select_across": request.POST.get("select_across", "0"),
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
        "media": model_admin.media,
    }
    return TemplateResponse(request, "admin/memocards/confirm_action.html", context)
