"""The review desk: what waits for review, one row at a time, decided by keyboard in one round trip.

A page holds two rows, the one that is read and the next. A decision is one POST: it answers how the pile stands and
brings the row after. A script shows the next row at once; without it the same forms work, a page for each row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.cache import never_cache

from kit.markdown import render, render_inline
from kit.transactions import in_transaction
from memocards.admin.desk.decisions import (
    DONE,
    NEEDS,
    Passed,
    Refused,
    Stale,
    allowed,
    decide,
    take_back,
    who_was_first,
)
from memocards.admin.desk.forms import DeskForm, Difference, desk_form
from memocards.admin.explanations import standing
from memocards.admin.lists.choosing import user_id
from memocards.content.pile import (
    MODELS,
    Key,
    Offered,
    Pile,
    claim,
    claim_one,
    left_in,
    lock_item,
    offered,
    release,
    renew,
)
from memocards.errors import DomainError
from memocards.models import Question
from memocards.states import Item

# Keys in one request: a page holds two, and those that came back undecided.
MOST_KEYS = 200
# What was skipped is kept in the session. Beyond so many the first of them come again, and the reviewer is told.
MOST_SKIPPED = 5000
SKIPPED = "skipped_at_the_desk"


@dataclass(frozen=True)
class Notice:
    """What is said above a row: why it was not decided, and what changed from what the reviewer saw to what it is."""

    sentences: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)


@dataclass(frozen=True)
class Sitting:
    """What a page knows and hands on in its address: the part of the pile, how many rows were decided."""

    pile: Pile
    done: int = 0

    @classmethod
    def of(cls, request: HttpRequest, kinds: tuple[str, ...]) -> "Sitting":
        query = request.GET
        kind = query.get("kind")
        return cls(
            pile=Pile(
                kinds=(kind,) if kind in kinds else kinds,
                topic_id=_number(query.get("topic")),
                source=query.get("source", "").replace("\0", ""),
                author_id=_number(query.get("author")),
            ),
            done=_number(query.get("done")) or 0,
        )

    def query(self, kinds: tuple[str, ...]) -> str:
        pile = self.pile
        parameters = {
            "kind": pile.kinds[0] if pile.kinds != kinds else "",
            "topic": pile.topic_id,
            "source": pile.source,
            "author": pile.author_id,
            "done": self.done,
        }
        return urlencode({name: value for name, value in parameters.items() if value})


@method_decorator(never_cache, name="dispatch")
class ReviewDesk(View):
    """`/admin/review/`: GET shows the next row, POST decides one."""

    site: AdminSite | None = None
    http_method_names = ["get", "post"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        self.kinds = tuple(kind for kind in MODELS if allowed(request, kind, "approve"))
        if not self.kinds:
            raise PermissionDenied
        self.reviewer = user_id(request)
        self.sitting = Sitting.of(request, self.kinds)
        # The script sends its own, more than the address knows.
        self.scripted = request.headers.get("Accept") == "application/json"
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest) -> HttpResponse:
        if "again" in request.GET:
            # What was skipped, too.
            request.session.pop(SKIPPED, None)
            return self._redirect()
        return self._page(request, self._claim(count=2))

    def post(self, request: HttpRequest) -> HttpResponse:
        action = request.POST.get("action", "")
        if action == "renew":
            return self._renew(_keys(request.POST.get("held", "")))
        if action == "next":
            return self._answer(request, None, "", "")
        key = Key.parse(request.POST.get("key", ""))
        if key is None:
            return self._answer(request, None, _("Nothing was chosen."), "warning")
        if action == "enter":
            # The Enter key without a script: the form's first button, which nobody sees, and which never approves.
            reason = request.POST.get("reason", "").strip()
            action = "send_back" if reason or not allowed(request, key.kind, "save") else "save"
        if action == "skip":
            return self._skip(request, key)
        if action == "undo":
            return self._undo(request, key, request.POST.get("undo", ""))
        if action in NEEDS:
            return self._decide(request, key, action)
        return self._answer(request, None, _("This is nothing that can be done here."), "warning")

    def _decide(self, request: HttpRequest, key: Key, action: str) -> HttpResponse:
        @in_transaction
        def act() -> tuple[Item, list[Item], int]:
            item = decide(request, key, action)
            coming = [] if action == "save" else self._next(request, key)
            return item, coming, left_in(self.sitting.pile)

        try:
            item, coming, left = act()
        except Passed as passed:
            return self._pass(request, key, action, passed)
        except Stale as stale:
            notice = Notice([stale.sentence], list(stale.differences))
            return self._again(request, stale.item, stale.form, notice, 409)
        except Refused as refused:
            row = in_transaction(lock_item)(key)
            if row is None:
                return self._answer(request, key, _("This is gone."), "warning")
            return self._again(request, row, refused.form, Notice(list(refused.sentences)), 422)
        if action == "save":
            row = in_transaction(claim_one)(key, reviewer_id=self.reviewer)
            return self._again(request, row or item, None, None, 200)
        self.sitting = replace(self.sitting, done=self.sitting.done + 1)
        text = str(DONE[action])
        undo = {"key": str(key), "action": action}
        return self._respond(request, coming, left, f"{text} {item}", "success", undo)

    def _pass(self, request: HttpRequest, key: Key, action: str, passed: Passed) -> HttpResponse:
        """A script has what the reviewer wrote, and keeps it on the page; without one it is shown once more."""
        if not self.scripted and passed.item is not None and action != "delete":
            form = desk_form(passed.item, request.POST)
            if form.has_changed() or request.POST.get("reason", "").strip():
                return self._again(request, passed.item, form, Notice([str(passed)]), 409)
        return self._answer(request, key, str(passed), "warning")

    def _renew(self, keys: list[Key]) -> JsonResponse:
        """Which rows of a page are still its reviewer's, or theirs again; of the others, why they are not."""

        @in_transaction
        def why_not(key: Key) -> str:
            item = lock_item(key) if key.kind in self.kinds else None
            if item is None:
                return _("This is gone.")
            return "" if claim_one(key, reviewer_id=self.reviewer) else who_was_first(item)

        held = renew(keys, reviewer_id=self.reviewer)
        gone = {str(key): why for key in keys if key not in held and (why := why_not(key))}
        return JsonResponse({"held": [str(key) for key in keys if str(key) not in gone], "gone": gone})

    def _skip(self, request: HttpRequest, key: Key) -> HttpResponse:
        release([key], reviewer_id=self.reviewer)
        skipped = list(dict.fromkeys([*map(str, self._skipped()), str(key)]))
        request.session[SKIPPED] = skipped[-MOST_SKIPPED:]
        if len(skipped) <= MOST_SKIPPED:
            return self._answer(request, key, "", "")
        text = _("You have skipped %(count)d rows. The first of them come again.") % {"count": MOST_SKIPPED}
        return self._answer(request, key, text, "warning")

    def _undo(self, request: HttpRequest, key: Key, action: str) -> HttpResponse:
        if key.kind not in self.kinds:
            raise PermissionDenied

        @in_transaction
        def act() -> Item | None:
            take_back(request, key, action)
            return claim_one(key, reviewer_id=self.reviewer)

        try:
            item = act()
        except Passed as passed:
            return self._answer(request, None, str(passed), "warning")
        except DomainError as refusal:
            return self._answer(request, None, str(refusal), "error")
        if item is None:
            return self._answer(request, None, _("There is nothing to undo any more."), "warning")
        self.sitting = replace(self.sitting, done=max(self.sitting.done - 1, 0))
        return self._again(request, item, None, Notice([_("Undone. It waits for review again.")]), 200)

    # Answers

    def _answer(self, request: HttpRequest, key: Key | None, text: str, level: str) -> HttpResponse:
        """Without a decision: on with the pile, less this row where it is named."""
        coming = self._next(request, key) if self.scripted else []
        return self._respond(request, coming, left_in(self.sitting.pile), text, level, None)

    def _respond(
        self, request: HttpRequest, coming: list[Item], left: int, text: str, level: str, undo: Mapping[str, str] | None
    ) -> HttpResponse:
        if self.scripted:
            return JsonResponse(
                {
                    "text": text,
                    "level": level,
                    "left": left,
                    "next": [self._fragment(request, row) for row in coming],
                    "undo": undo,
                }
            )
        if text:
            messages.add_message(request, getattr(messages, level.upper()), text)
        return self._redirect()

    def _redirect(self) -> HttpResponseRedirect:
        return HttpResponseRedirect(f"{reverse('admin:review')}?{self.sitting.query(self.kinds)}")

    def _again(
        self, request: HttpRequest, item: Item, form: DeskForm | None, notice: Notice | None, status: int
    ) -> HttpResponse:
        """The same row once more: saved, stale, or refused."""
        if not self.scripted:
            return self._page(request, [item], form=form, notice=notice, status=status)
        left = left_in(self.sitting.pile)
        answer = {
            "item": self._fragment(request, item, form, notice),
            "left": left,
            "next": [],
            "text": "",
            "level": "",
        }
        return JsonResponse(answer, status=status)

    def _page(
        self,
        request: HttpRequest,
        items: list[Item],
        *,
        form: DeskForm | None = None,
        notice: Notice | None = None,
        status: int = 200,
    ) -> HttpResponse:
        assert self.site is not None  # noqa: S101
        left = left_in(self.sitting.pile)
        pile = self.sitting.pile
        filters = offered(self.kinds)
        context = {
            **self.site.each_context(request),
            "title": _("Review desk"),
            "item": self._shown(items[0], form, notice) if items else None,
            "coming": [self._shown(item) for item in items[1:]],
            "kinds": self.kinds,
            "kind": pile.kinds[0] if pile.kinds != self.kinds else "",
            "pile": pile,
            "offered": filters,
            "chosen": _chosen(pile, self.kinds, filters),
            "left": left,
            "done": self.sitting.done,
            "all": self.sitting.done + left,
            "query": self.sitting.query(self.kinds),
            "skipped": len(self._skipped()),
            "can_save": any(allowed(request, kind, "save") for kind in self.kinds),
            "can_delete": any(allowed(request, kind, "delete") for kind in self.kinds),
        }
        return TemplateResponse(request, "memocards/desk/page.html", context, status=status)

    def _fragment(
        self, request: HttpRequest, item: Item, form: DeskForm | None = None, notice: Notice | None = None
    ) -> str:
        return render_to_string("memocards/desk/item.html", {"item": self._shown(item, form, notice)}, request)

    def _shown(self, item: Item, form: DeskForm | None = None, notice: Notice | None = None) -> dict[str, Any]:
        """A row as the template wants it."""
        key = Key.of(item)
        # A reason that was written for this row stays with it.
        written = self.request.POST if self.request.POST.get("key") == str(key) else {}
        shown = {
            "key": str(key),
            "kind": key.kind,
            "row": item,
            "form": form or desk_form(item),
            "editing": form is not None and (form.has_changed() or not form.is_valid()),
            "notice": notice,
            "reason": written.get("reason", ""),
            "page": reverse(f"admin:memocards_{item._meta.model_name}_change", args=[item.pk]),
            "can_save": allowed(self.request, key.kind, "save"),
            "can_delete": allowed(self.request, key.kind, "delete"),
        }
        if isinstance(item, Question):
            choices = enumerate(item.choices, 1)
            return shown | {
                "stem": render(item.stem),
                "choices": [(number, render_inline(text), number == item.answer) for number, text in choices],
                "explanation": render(item.explanation) if item.explanation.strip() else "",
                "standing": standing(item),
            }
        if item.question_id is not None:
            shown["question_page"] = reverse("admin:memocards_question_change", args=[item.question_id])
        return shown | {"front": render(item.front), "back": render(item.back)}

    # The pile

    def _skipped(self) -> list[Key]:
        kept = self.request.session.get(SKIPPED, [])
        return [key for text in kept if (key := Key.parse(text))]

    def _claim(self, *, count: int, besides: Iterable[Key] = ()) -> list[Item]:
        left_out = [*self._skipped(), *besides]
        return claim(self.sitting.pile, reviewer_id=self.reviewer, count=count, besides=left_out)

    def _next(self, request: HttpRequest, key: Key | None) -> list[Item]:
        """What a page that holds some rows lacks to have two, once `key` has left it."""
        held = [other for other in _keys(request.POST.get("held", "")) if other != key]
        if not self.scripted or len(held) >= 2:
            return []
        # Decided on the page, but not here yet.
        under_way = _keys(request.POST.get("under_way", ""))
        return self._claim(count=2 - len(held), besides=[*under_way, *held, *filter(None, [key])])


def _chosen(pile: Pile, kinds: tuple[str, ...], filters: Offered) -> list[str]:
    """What the pile is filtered by, in words."""
    names = {"question": _("Questions"), "card": _("Cards")}
    return [
        *([names[pile.kinds[0]]] if pile.kinds != kinds else []),
        *(name for key, name in filters.topics if key == pile.topic_id),
        *([pile.source] if pile.source else []),
        *(name for key, name in filters.authors if key == pile.author_id),
    ]


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _keys(text: str) -> list[Key]:
    return [key for word in text.split()[:MOST_KEYS] if (key := Key.parse(word))]
