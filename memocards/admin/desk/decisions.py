"""What a reviewer decides about one row, in one transaction: the edit, the decision, its entry in the history."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import construct_change_message
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from memocards.admin.desk.forms import DeskForm, Difference, desk_form
from memocards.admin.editing import update_question
from memocards.admin.lists.choosing import user_id
from memocards.content import cards, questions
from memocards.content.approval import Key, held_by_another, lock_item, waits
from memocards.content.history import log_rows
from memocards.content.versions import Item, versions_of
from memocards.errors import DomainError, Invalid

# Action → what it takes besides the permission to approve.
NEEDS = {"approve": "", "send_back": "", "save": "change", "delete": "delete"}
DONE = {
    "approve": gettext_lazy("Approved."),
    "send_back": gettext_lazy("Sent back: %s"),
    "delete": gettext_lazy("Deleted."),
    "save": gettext_lazy("Saved."),
}


class Passed(Exception):
    """There is nothing left to decide: somebody else has the row, or was first. `str()` says who.

    `item` is the row, where it is still there.
    """

    def __init__(self, sentence: str, item: Item | None = None) -> None:
        super().__init__(sentence)
        self.item = item


@dataclass
class Stale(Exception):
    """Somebody changed what the reviewer saw; `sentence` says who. Nothing is written."""

    item: Item
    form: DeskForm
    differences: Sequence[Difference]
    sentence: str


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

    What this reviewer has decided already just so, its answer having been lost on the way, is done: nothing is written.
    Raises Passed, Stale, Refused, PermissionDenied.
    """
    if not allowed(request, key.kind, action):
        raise PermissionDenied
    reviewer = user_id(request)
    item = lock_item(key)
    if item is None:
        raise Passed(_("This is gone."))
    form = desk_form(item, request.POST)
    if _is_done(request, item, form, action):
        return item
    if not waits(item) or held_by_another(item, reviewer_id=reviewer):
        raise Passed(who_was_first(item), item)
    if differences := form.differences():
        fresh = form.on_top_of(_again(key))
        raise Stale(fresh.instance, fresh, differences, _who_changed(item, key, reviewer))
    if action != "delete":
        _save_edits(request, key, form)
    message = str(DONE[action])
    try:
        if action == "approve":
            # The row is locked as the reviewer saw it, and edited by nobody else since.
            _approve(key, versions_of(key.model, [key.pk]) if form.has_changed() else {key.pk: item.version}, reviewer)
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


def take_back(request: HttpRequest, key: Key, action: str) -> None:
    """Undo one's own decision; the caller holds a transaction. Raises Passed where there is none any more, and
    PermissionDenied."""
    if action not in {"approve", "send_back", "delete"} or not allowed(request, key.kind, action):
        raise PermissionDenied
    item = lock_item(key)
    if item is None:
        raise Passed(_("This is gone."))
    if waits(item):
        raise Passed(_("There is nothing to undo any more."))
    if not _decided(item, key, action, by=user_id(request)):
        raise Passed(_("Not undone. %s") % who_was_first(item))
    question, pks = key.kind == "question", [key.pk]
    if action == "approve":
        changed = questions.unapprove_questions(question_ids=pks) if question else cards.unapprove_cards(card_ids=pks)
    elif action == "send_back":
        changed = questions.take_back_questions(question_ids=pks) if question else cards.take_back_cards(card_ids=pks)
    else:
        changed = questions.restore_questions(question_ids=pks) if question else cards.restore_cards(card_ids=pks)
    message = _("Undone at the review desk.")
    log_rows(key.model, changed, user_id=user_id(request), flag=CHANGE, message=message)


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


def _decided(item: Item, key: Key, action: str, *, by: int) -> bool:
    """Whether the row is as this person's decision left it."""
    if action == "approve":
        return item.deleted_at is None and not item.needs_review and item.reviewed_by_id == by
    if action == "send_back":
        return item.deleted_at is None and item.sent_back_at is not None and item.sent_back_by_id == by
    if item.deleted_at is None:
        return False
    # The row does not say who deleted it; its history does.
    last = _entries(key).filter(action_flag=DELETION).order_by("-pk").first()
    return last is not None and last.user_id == by


def _is_done(request: HttpRequest, item: Item, form: DeskForm, action: str) -> bool:
    """Whether the reviewer has made this very decision before, with these texts and this reason."""
    if waits(item) or action == "save" or not _decided(item, Key.of(item), action, by=user_id(request)):
        return False
    if action == "send_back" and item.sent_back_reason != request.POST.get("reason", "").strip():
        return False
    return action == "delete" or form.stands()


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
            update_question(key.pk, changes, may_approve=True)
    except DomainError as refusal:
        raise Refused(form, _sentences(refusal)) from refusal
    written: Any = form
    message = json.dumps(construct_change_message(written, [], False))
    log_rows(key.model, [key.pk], user_id=user_id(request), flag=CHANGE, message=message)


def _approve(key: Key, versions: Mapping[int, str], reviewer: int) -> None:
    if key.kind == "card":
        cards.approve_cards(versions=versions, reviewer_id=reviewer)
    else:
        questions.approve_questions(versions=versions, reviewer_id=reviewer)


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


def _entries(key: Key) -> QuerySet[LogEntry]:
    content_type = ContentType.objects.get_for_model(key.model)
    return LogEntry.objects.filter(content_type=content_type, object_id=str(key.pk)).select_related("user")


def _who_changed(item: Item, key: Key, reviewer: int) -> str:
    """By the history. An entry is written after its change and in the same transaction, so one that is older than the
    row as it stands belongs to an earlier change, and nobody is named for a change without an entry."""
    entry = _entries(key).filter(action_flag=CHANGE, action_time__gte=item.updated_at).order_by("-pk").first()
    if entry is not None and entry.user_id == reviewer:
        return _("You changed this elsewhere meanwhile, so nothing was done. Look again, and decide again.")
    return _("%(who)s changed this while you looked at it, so nothing was done. Look again, and decide again.") % {
        "who": entry.user if entry else _("Somebody")
    }
