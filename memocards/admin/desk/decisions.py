"""What a reviewer decides about one row, in one transaction: the edit, the decision, its entry in the history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.admin.models import CHANGE, DELETION
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from memocards.admin.desk.forms import DeskForm, Difference, desk_form
from memocards.admin.lists.choosing import user_id
from memocards.content.cards import cards
from memocards.content.editorial import Editorial
from memocards.content.editors import editor_for
from memocards.content.history import UNDONE, entries_of
from memocards.content.pile import Key, held_by_another, lock_item
from memocards.content.questions import questions
from memocards.content.versions import versions_of
from memocards.errors import DomainError, Invalid
from memocards.states import Item, State, state_of

EDITORIALS: Final[Mapping[str, Editorial[Any]]] = {"question": questions, "card": cards}

# Action → what it takes besides the permission to approve.
NEEDS = {"approve": "", "send_back": "", "save": "change", "delete": "delete"}
DONE = {
    "approve": gettext_lazy("Approved."),
    "send_back": gettext_lazy("Sent back to its author."),
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
    if state_of(item) != State.WAITING or held_by_another(item, reviewer_id=reviewer):
        raise Passed(who_was_first(item), item)
    if differences := form.differences():
        fresh = form.on_top_of(_again(key))
        raise Stale(fresh.instance, fresh, differences, _who_changed(item, key, reviewer))
    editorial, editor = EDITORIALS[key.kind], editor_for(request.user)
    if action != "delete":
        _save_edits(request, key, form)
    try:
        if action == "approve":
            # The row is locked as the reviewer saw it, and edited by nobody else since.
            versions = versions_of(key.model, [key.pk]) if form.has_changed() else {key.pk: item.version}
            editorial.approve(versions=versions, editor=editor)
        elif action == "send_back":
            editorial.send_back(keys=[key.pk], reason=request.POST.get("reason", ""), editor=editor)
        elif action == "delete":
            editorial.delete(keys=[key.pk], editor=editor)
    except DomainError as refusal:
        raise Refused(form, _sentences(refusal)) from refusal
    return item


def take_back(request: HttpRequest, key: Key, action: str) -> None:
    """Undo one's own decision; the caller holds a transaction. Raises Passed where there is none any more, and
    PermissionDenied."""
    if action not in {"approve", "send_back", "delete"} or not allowed(request, key.kind, action):
        raise PermissionDenied
    item = lock_item(key)
    if item is None:
        raise Passed(_("This is gone."))
    if state_of(item) == State.WAITING:
        raise Passed(_("There is nothing to undo any more."))
    if not _decided(item, key, action, by=user_id(request)):
        raise Passed(_("Not undone. %s") % who_was_first(item))
    editorial, editor = EDITORIALS[key.kind], editor_for(request.user)
    if action == "approve":
        editorial.unapprove(keys=[key.pk], editor=editor, event=UNDONE)
    elif action == "send_back":
        editorial.take_back(keys=[key.pk], editor=editor)
    else:
        editorial.restore(keys=[key.pk], editor=editor, event=UNDONE)


def who_was_first(item: Item) -> str:
    """Why this row is not this reviewer's any more."""
    named = {"name": str(item)}
    match state_of(item):
        case State.DELETED:
            return _("“%(name)s” was deleted meanwhile.") % named
        case State.SENT_BACK:
            return _("%(who)s sent “%(name)s” back: %(reason)s") % {
                **named,
                "who": item.sent_back_by or _("Somebody"),
                "reason": item.sent_back_reason,
            }
        case State.APPROVED:
            return _("%(who)s approved “%(name)s” meanwhile.") % {**named, "who": item.reviewed_by or _("Somebody")}
    return _("%(who)s has “%(name)s” before them now.") % {**named, "who": item.claimed_by or _("Somebody")}


def _decided(item: Item, key: Key, action: str, *, by: int) -> bool:
    """Whether the row is as this person's decision left it."""
    state = state_of(item)
    if action == "approve":
        return state == State.APPROVED and item.reviewed_by_id == by
    if action == "send_back":
        return state == State.SENT_BACK and item.sent_back_by_id == by
    if state != State.DELETED:
        return False
    # The row does not say who deleted it; its history does.
    last = entries_of(key.model, key.pk).filter(action_flag=DELETION).order_by("-pk").first()
    return last is not None and last.user_id == by


def _is_done(request: HttpRequest, item: Item, form: DeskForm, action: str) -> bool:
    """Whether the reviewer has made this very decision before, with these texts and this reason."""
    if (
        state_of(item) == State.WAITING
        or action == "save"
        or not _decided(item, Key.of(item), action, by=user_id(request))
    ):
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
    try:
        EDITORIALS[key.kind].update(key=key.pk, changes=form.changes(), editor=editor_for(request.user))
    except DomainError as refusal:
        raise Refused(form, _sentences(refusal)) from refusal


def _sentences(refusal: DomainError) -> list[str]:
    if isinstance(refusal, Invalid):
        return [sentence for sentences in refusal.fields.values() for sentence in sentences]
    return [str(refusal)]


def _who_changed(item: Item, key: Key, reviewer: int) -> str:
    """By the history. An entry is written after its change and in the same transaction, so one that is older than the
    row as it stands belongs to an earlier change, and nobody is named for a change without an entry."""
    entry = (
        entries_of(key.model, key.pk)
        .filter(action_flag=CHANGE, action_time__gte=item.updated_at)
        .order_by("-pk")
        .first()
    )
    if entry is not None and entry.user_id == reviewer:
        return _("You changed this elsewhere meanwhile, so nothing was done. Look again, and decide again.")
    return _("%(who)s changed this while you looked at it, so nothing was done. Look again, and decide again.") % {
        "who": entry.user if entry else _("Somebody")
    }
