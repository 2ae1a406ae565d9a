"""What a reviewer decides about one row, in one transaction: the edit, the decision, its entry in the history."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import construct_change_message
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from memocards import cards, questions
from memocards.admin.choosing import user_id
from memocards.admin.desk_forms import DeskForm, Difference, desk_form
from memocards.errors import DomainError, Invalid
from memocards.history import log_rows
from memocards.review import Item, Key, held_by_another, lock_item, waits

# Action → what it takes besides the permission to approve.
NEEDS = {"approve": "", "send_back": "", "save": "change", "delete": "delete"}
DONE = {
    "approve": gettext_lazy("Approved."),
    "send_back": gettext_lazy("Sent back: %s"),
    "delete": gettext_lazy("Deleted."),
    "save": gettext_lazy("Saved."),
}


class Passed(Exception):
    """There is nothing left to decide: somebody else has the row, or was first. `str()` says who."""


@dataclass
class Stale(Exception):
    """Somebody changed what the reviewer saw. Nothing is written."""

    item: Item
    form: DeskForm
    differences: Sequence[Difference]
    by: str


@dataclass
class Refused(Exception):
    """The form, or a service, does not accept what the reviewer wrote. The caller's transaction is to be undone."""

    form: DeskForm
    sentences: Sequence[str]


def allowed(request: HttpRequest, kind: str, action: str) -> bool:
    """Whether the user may do this to questions, or to cards, at the desk."""
    name = Key(kind, 0).model._meta.model_name
    needed = ["approve", *filter(None, [NEEDS[action]])]
    return all(request.user.has_perm(f"memocards.{verb}_{name}") for verb in needed)


def decide(request: HttpRequest, key: Key, action: str) -> Item:
    """Carry out what the reviewer decided, edits included; the caller holds a transaction.

    Raises Passed, Stale, Refused, PermissionDenied.
    """
    if not allowed(request, key.kind, action):
        raise PermissionDenied
    reviewer = user_id(request)
    item = lock_item(key)
    if item is None:
        raise Passed(_("This is gone."))
    if not waits(item) or held_by_another(item, reviewer_id=reviewer):
        raise Passed(who_was_first(item))
    form = desk_form(item, request.POST)
    if differences := form.differences():
        fresh = form.on_top_of(_again(key))
        raise Stale(fresh.instance, fresh, differences, _who_changed(item, key, _moment(request), reviewer))
    if action != "delete":
        _save_edits(request, key, form)
    message = str(DONE[action])
    try:
        if action == "approve":
            _approve(key, reviewer)
        elif action == "send_back":
            message %= _send_back(key, request.POST.get("reason", ""), reviewer)
        elif action == "delete":
            _delete(key)
    except DomainError as refusal:
        raise Refused(form, _sentences(refusal)) from refusal
    if action != "save":
        flag = DELETION if action == "delete" else CHANGE
        log_rows(key.model, [key.pk], user_id=reviewer, flag=flag, message=message)
    return item


def take_back(request: HttpRequest, key: Key, action: str) -> bool:
    """Undo a decision. Returns whether there was anything to undo; the caller holds a transaction."""
    if action not in {"approve", "send_back", "delete"} or not allowed(request, key.kind, action):
        raise PermissionDenied
    question, pks = key.kind == "question", [key.pk]
    if action == "approve":
        changed = questions.unapprove_questions(question_ids=pks) if question else cards.unapprove_cards(card_ids=pks)
    elif action == "send_back":
        changed = questions.take_back_questions(question_ids=pks) if question else cards.take_back_cards(card_ids=pks)
    else:
        changed = questions.restore_questions(question_ids=pks) if question else cards.restore_cards(card_ids=pks)
    message = _("Undone at the review desk.")
    log_rows(key.model, changed, user_id=user_id(request), flag=CHANGE, message=message)
    return bool(changed)


def who_was_first(item: Item) -> str:
    """Why this row is not this reviewer's any more."""
    named = {"name": str(item)}
    if item.deleted_at is not None:
        return _("“%(name)s” was deleted meanwhile.") % named
    if item.sent_back_at is not None:
        return _("%(who)s sent “%(name)s” back: %(reason)s") % {
            **named,
            "who": item.sent_back_by or _("Somebody"),
            "reason": item.sent_back_reason,
        }
    if not item.needs_review:
        return _("%(who)s approved “%(name)s” meanwhile.") % {**named, "who": item.reviewed_by or _("Somebody")}
    return _("%(who)s has “%(name)s” before them now.") % {**named, "who": item.claimed_by or _("Somebody")}


def _again(key: Key) -> Item:
    """The row once more: a form has written into the one that it was given."""
    item = lock_item(key)
    assert item is not None  # noqa: S101
    return item


def _save_edits(request: HttpRequest, key: Key, form: DeskForm) -> None:
    if not form.has_changed():
        return
    if not allowed(request, key.kind, "save"):
        raise PermissionDenied
    if not form.is_valid():
        raise Refused(form, [])
    changes = form.changes()
    try:
        if key.kind == "card":
            cards.update_card(card_id=key.pk, changes=changes)
        else:
            _update_question(key.pk, changes)
    except DomainError as refusal:
        raise Refused(form, _sentences(refusal)) from refusal
    written: Any = form
    message = json.dumps(construct_change_message(written, [], False))
    log_rows(key.model, [key.pk], user_id=user_id(request), flag=CHANGE, message=message)


def _update_question(key: int, changes: dict[str, Any]) -> None:
    explanation = changes.pop("explanation", None)
    if changes:
        questions.update_question(question_id=key, changes=changes)
    if explanation:
        questions.set_explanation(question_id=key, body=explanation)
    elif explanation is not None:
        questions.clear_explanation(question_id=key)


def _approve(key: Key, reviewer: int) -> None:
    if key.kind == "card":
        cards.approve_cards(card_ids=[key.pk], reviewer_id=reviewer)
    else:
        questions.approve_questions(question_ids=[key.pk], reviewer_id=reviewer)


def _send_back(key: Key, reason: str, reviewer: int) -> str:
    if key.kind == "card":
        cards.send_back_cards(card_ids=[key.pk], reason=reason, reviewer_id=reviewer)
    else:
        questions.send_back_questions(question_ids=[key.pk], reason=reason, reviewer_id=reviewer)
    return reason.strip()


def _delete(key: Key) -> None:
    if key.kind == "card":
        cards.delete_cards(card_ids=[key.pk])
    else:
        questions.delete_questions(question_ids=[key.pk])


def _sentences(refusal: DomainError) -> list[str]:
    if isinstance(refusal, Invalid):
        return [sentence for sentences in refusal.fields.values() for sentence in sentences]
    return [str(refusal)]


def _moment(request: HttpRequest) -> datetime | None:
    try:
        return datetime.fromisoformat(request.POST.get("seen_at", ""))
    except ValueError:
        return None


def _who_changed(item: Item, key: Key, since: datetime | None, reviewer: int) -> str:
    """By the history: whoever changed it last in the back office since the page was made."""
    entries = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(key.model), object_id=str(key.pk), action_flag=CHANGE
    ).exclude(user_id=reviewer)
    if since is not None and since.tzinfo is not None:
        entries = entries.filter(action_time__gte=since)
    entry = entries.select_related("user").order_by("-action_time").first()
    return str(entry.user) if entry else _("Somebody")
