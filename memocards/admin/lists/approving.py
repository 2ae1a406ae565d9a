"""Rows that are seen once somebody approved them: what a list does with any number of them at once."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from memocards.admin.lists.choosing import as_read, moment_asked, pin, versions_read
from memocards.admin.lists.columns import Published, published
from memocards.admin.lists.confirmation import (
    AskingActionForm,
    Confirmation,
    ask,
    at_stake,
    confirmed,
    content_at_stake,
)
from memocards.admin.lists.filters import ReviewStateFilter
from memocards.admin.lists.soft_deletion import SoftDeleteAdmin
from memocards.content import history
from memocards.content.editorial import Editorial
from memocards.content.editors import Editor, editor_for
from memocards.content.topics import lock_with_topic
from memocards.content.versions import changed_rows, lock_as_read, versions_of, with_versions
from memocards.errors import ChangedSince
from memocards.models import Topic
from memocards.states import APPROVED, DELETED, LIVE, SEEN, SENT_BACK, UNAPPROVED, state_of
from publish.moments import shown_moment


class MoveForm(forms.Form):
    topic = forms.ModelChoiceField(Topic.objects.filter(LIVE), label=_("New topic"))


def applying(sentences: Iterable[str | int]) -> list[str]:
    """Those of the sentences that apply; one that does not is empty, or the 0 that it would be about."""
    return [str(sentence) for sentence in sentences if sentence] or [now("Viewers see no change.")]


class ReviewedAdmin(SoftDeleteAdmin):
    """Their list opens with the pile that waits."""

    actions = ["approve", "unapprove", "move", *SoftDeleteAdmin.actions]
    action_form = AskingActionForm
    change_list_template = "admin/memocards/review_pile.html"
    list_select_related = ["topic", "author", "reviewed_by"]
    # The name in the feed's catalogue, and that of the review desk.
    kind: ClassVar[str]
    editorial: ClassVar[Editorial[Any]]

    def create(self, request: HttpRequest, fields: dict[str, Any]) -> Any:
        return self.editorial.create(**fields, editor=editor_for(request.user))

    def update(self, request: HttpRequest, key: int, changes: dict[str, Any]) -> None:
        self.editorial.update(key=key, changes=changes, editor=editor_for(request.user))

    def delete_rows(self, keys: list[int], editor: Editor) -> list[int]:
        return self.editorial.delete(keys=keys, editor=editor)

    def restore_rows(self, keys: list[int], editor: Editor) -> list[int]:
        return self.editorial.restore(keys=keys, editor=editor)

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"memocards.approve_{self.opts.model_name}")

    def texts_of(self, row: Any) -> list[str]:
        """What a reviewer vouches for, as it was written."""
        raise NotImplementedError

    # What is asked first

    def must_ask(self, request: HttpRequest, keys: list[int]) -> bool:
        """The list's own form asks, and asks anew when the rows are no longer those of which it spoke."""
        if "confirmed" in request.POST:
            return not confirmed(request, at_stake(self.model, keys))
        return "ask" in request.POST

    def confirmation(
        self, keys: list[int], title: Any, question: str, *sentences: str | int, form: Any = None
    ) -> Confirmation:
        return Confirmation(title, question, applying(sentences), at_stake(self.model, keys), form)

    def count(self, keys: list[int], where: Q) -> int:
        return int(self.model._base_manager.filter(where, pk__in=keys).count())

    # Actions

    @admin.action(permissions=["approve"], description=_("Approve selected %(verbose_name_plural)s"))
    def approve(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Of the rows that a page showed it approves what it showed. The others of all that match nobody has read; they
        are approved as they were when the question was asked."""
        keys = pin(queryset)
        present = versions_of(self.model, keys)
        shown = {key: version for key, version in versions_read(request).items() if key in present}
        versions = {**present, **shown} if request.POST.get("select_across") == "1" else shown
        if len(versions) < len(keys):
            unread = _("Nothing was done: choose the rows in the list, where you have them before you.")
            self.message_user(request, unread, messages.ERROR)
            return None
        if changed := {key: version for key, version in shown.items() if version != present[key]}:
            self.tell_refusal(request, ChangedSince(changed_rows(self.model, changed)))
            return None
        if not confirmed(request, content_at_stake(present)):
            return ask(request, self, "approve", self.approval_confirmation(request, present, shown))

        def approve_some(keys: list[int], editor: Editor) -> list[int]:
            return self.editorial.approve(versions={key: versions[key] for key in keys}, editor=editor)

        self.carry_out(request, keys, approve_some, history.APPROVED.said())
        return None

    def approval_confirmation(
        self, request: HttpRequest, present: Mapping[int, str], shown: Mapping[int, str]
    ) -> Confirmation:
        rows = self.model._base_manager.filter(pk__in=list(present))
        counts = rows.aggregate(
            waiting=Count("pk", filter=LIVE & UNAPPROVED),
            sent_back=Count("pk", filter=SENT_BACK),
        )
        waiting, sent_back = counts["waiting"], counts["sent_back"]
        rest = len(present) - waiting
        sentences = [
            self.changed_since(request, rows),
            waiting
            and ngettext("Viewers will show %d more row.", "Viewers will show %d more rows.", waiting) % waiting,
            sent_back
            and ngettext(
                "%d of them was sent back and not edited since.",
                "%d of them were sent back and not edited since.",
                sent_back,
            )
            % sent_back,
            self.unaffected(rest) if waiting else "",
        ]
        return Confirmation(
            _("Approve"),
            ngettext("Approve %d row?", "Approve %d rows?", len(present)) % len(present),
            applying(sentences),
            content_at_stake(present),
            carried={"read": as_read(shown), "asked_at": timezone.now().isoformat()},
            # After the versions: a row that is written in between is another one than is approved, and refused.
            rows=[self.texts_of(row) for row in rows.filter(pk__in=list(shown)).order_by("pk")],
        )

    def changed_since(self, request: HttpRequest, rows: QuerySet[Any]) -> str:
        """Which of the rows that nobody has read changed since the question was asked before, if it was."""
        asked_at = moment_asked(request)
        if asked_at is None:
            return ""
        changed = rows.filter(updated_at__gte=asked_at).order_by("pk")
        if not (count := changed.count()):
            return now("Nothing was done: the rows are no longer those of which you were asked.")
        sentence = ngettext(
            "Nothing was done: %(count)d row has changed since you were asked: %(names)s.",
            "Nothing was done: %(count)d rows have changed since you were asked: %(names)s.",
            count,
        )
        names = ", ".join(f"“{row}”" for row in changed[: ChangedSince.NAMED])
        return sentence % {"count": count, "names": names + (" …" if count > ChangedSince.NAMED else "")}

    @admin.action(permissions=["approve"], description=_("Un-approve selected %(verbose_name_plural)s"))
    def unapprove(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        keys = pin(queryset)
        if self.must_ask(request, keys):
            seen = self.count(keys, SEEN)
            question = ngettext("Un-approve %d row?", "Un-approve %d rows?", len(keys)) % len(keys)
            unaffected = self.unaffected(len(keys) - seen) if seen else ""
            confirmation = self.confirmation(keys, _("Un-approve"), question, self.dropped(seen), unaffected)
            return ask(request, self, "unapprove", confirmation)

        def unapprove_some(keys: list[int], editor: Editor) -> list[int]:
            return self.editorial.unapprove(keys=keys, editor=editor)

        self.carry_out(request, keys, unapprove_some, history.UNAPPROVED.said())
        return None

    @admin.action(permissions=["change"], description=_("Move selected %(verbose_name_plural)s to another topic"))
    def move(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        keys = pin(queryset)
        form = MoveForm(request.POST if "confirmed" in request.POST else None)
        if not confirmed(request, at_stake(self.model, keys)) or not form.is_valid():
            question = ngettext("Move %d row to which topic?", "Move %d rows to which topic?", len(keys)) % len(keys)
            sentences = self.move_sentences(request, keys)
            confirmation = self.confirmation(keys, _("Move to topic"), question, *sentences, form=form)
            return ask(request, self, "move", confirmation)
        topic = form.cleaned_data["topic"]

        def move_some(keys: list[int], editor: Editor) -> list[int]:
            return self.editorial.move(keys=keys, topic_id=topic.pk, editor=editor)

        self.carry_out(request, keys, move_some, history.MOVED.said(topic=topic.name))
        return None

    def move_sentences(self, request: HttpRequest, keys: list[int]) -> list[str]:
        seen = self.count(keys, SEEN)
        if not seen:
            return []
        if not self.has_approve_permission(request):
            return [self.dropped_until_approved(seen)]
        return [
            ngettext(
                "Viewers will show up to %d row under the new topic.",
                "Viewers will show up to %d rows under the new topic.",
                seen,
            )
            % seen
        ]

    @admin.action(permissions=["restore"], description=_("Restore selected %(verbose_name_plural)s"))
    def restore(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        keys = pin(queryset)
        if self.must_ask(request, keys):
            seen = self.count(keys, DELETED & APPROVED)
            question = ngettext("Restore %d row?", "Restore %d rows?", len(keys)) % len(keys)
            appear = seen and ngettext("Viewers will show %d row again.", "Viewers will show %d rows again.", seen)
            waiting = self.count(keys, DELETED & UNAPPROVED)
            wait = waiting and ngettext("%d row waits for review.", "%d rows wait for review.", waiting)
            confirmation = self.confirmation(
                keys, _("Restore"), question, appear and appear % seen, wait and wait % waiting if seen else ""
            )
            return ask(request, self, "restore", confirmation)
        self.carry_out(request, keys, self.restore_rows, history.RESTORED.said())
        return None

    def deletion_confirmation(self, keys: list[int]) -> Confirmation:
        seen = self.count(keys, SEEN)
        return self.confirmation(
            keys,
            _("Delete"),
            ngettext("Delete %d row?", "Delete %d rows?", len(keys)) % len(keys),
            self.dropped(seen),
            now("What is deleted stays in the hub and can be restored."),
        )

    def dropped(self, seen: int) -> str:
        """What un-approving or deleting so many rows that learners see does."""
        if not seen:
            return ""
        return ngettext("Viewers will drop %d row.", "Viewers will drop %d rows.", seen) % seen

    def dropped_until_approved(self, seen: int) -> str:
        """What another change of so many rows that learners see does, made by somebody who may not approve it. Which of
        them are so already is not known before the answer."""
        if not seen:
            return ""
        sentence = ngettext(
            "Viewers will drop up to %d row until it is approved again.",
            "Viewers will drop up to %d rows until they are approved again.",
            seen,
        )
        return sentence % seen

    def unaffected(self, count: int) -> str:
        if not count:
            return ""
        return ngettext("For %d row nothing changes.", "For %d rows nothing changes.", count) % count

    # The page of one row

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        decides = change and ("_approve" in request.POST or "_unapprove" in request.POST)
        if decides and not self.has_approve_permission(request):
            raise PermissionDenied
        if change and "_approve" in request.POST:
            self.lock_as_shown(obj, form)
        was_approved = change and not obj.needs_review and not self.has_approve_permission(request)
        super().save_model(request, obj, form, change)
        if was_approved and self.count([obj.pk], UNAPPROVED):
            dropped = _("It waits for review again. Viewers drop it until it is approved.")
            self.message_user(request, dropped, messages.WARNING)
        if change and "_approve" in request.POST:
            versions = versions_of(self.model, [obj.pk])
            self.editorial.approve(versions=versions, editor=editor_for(request.user))
        if change and "_unapprove" in request.POST:
            self.editorial.unapprove(keys=[obj.pk], editor=editor_for(request.user))

    def lock_as_shown(self, obj: Any, form: Any) -> None:
        """See to it that the row stays as the form has just compared it with what its reviewer saw: what is approved
        is that, with their own edits. Raises ChangedSince."""
        lock_with_topic(self.model, obj.pk, form.changes())
        lock_as_read(self.model, {obj.pk: obj.version}, Q())

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["can_approve"] = self.has_approve_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or not obj.sent_back_reason:
            return fieldsets
        fields = ["sent_back_reason", "sent_back_by", "sent_back_at"]
        return [(_("Sent back to its author"), {"fields": fields}), *fieldsets]

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_versions(super().get_queryset(request))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        desk = reverse("admin:review") if self.has_approve_permission(request) else ""
        context = {"review_desk": desk, **(extra_context or {})}
        response = super().changelist_view(request, context)
        shown: dict[str, Any] = getattr(response, "context_data", {})
        if "cl" in shown:
            # The list keeps the rows that it has read, so what is found out here is there when they are shown.
            rows = list(shown["cl"].result_list)
            self.complete(rows)
            if form := shown["action_form"]:
                form.fields["read"].initial = as_read({row.pk: row.version for row in rows})
        return response

    def complete(self, rows: list[Any]) -> None:
        """Give the rows of one page what their columns show, with one statement for each other table."""
        states = published(self.kind, [row.pk for row in rows])
        for row in rows:
            row.published = states[row.pk]

    @admin.display(description=_("state"))
    def state(self, row: Any) -> Any:
        return ReviewStateFilter.states[state_of(row)][0]

    @admin.display(description=_("in the feed"))
    def published_state(self, row: Any) -> Any:
        state: Published | None = getattr(row, "published", None)
        return state.shown() if state else published(self.kind, [row.pk])[row.pk].shown()

    @admin.display(description=_("approved"), ordering="reviewed_at")
    def approval(self, row: Any) -> Any:
        if row.reviewed_at is None:
            return "–"
        return format_html("{}, {}", row.reviewed_by or now("somebody"), shown_moment(row.reviewed_at))
