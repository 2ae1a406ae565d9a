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

from memocards import review
from memocards.admin.choosing import user_id
from memocards.admin.decisions import DONE, NEEDS, Passed, Refused, Stale, allowed, decide, take_back
from memocards.admin.desk_forms import DeskForm, Difference, desk_form
from memocards.admin.explanations import standing
from memocards.admin.markdown import render, render_inline
from memocards.errors import DomainError
from memocards.models import Question
from memocards.review import KINDS, Item, Key, Pile
from publish.transactions import in_transaction

# Keys in one request: a page holds two, and what was skipped in one sitting is kept in its address.
MOST_KEYS = 200


@dataclass(frozen=True)
class Notice:
    """What is said above a row: why it was not decided. `by` changed it, from what the reviewer saw to what it is."""

    sentences: list[str] = field(default_factory=list)
    by: str = ""
    differences: list[Difference] = field(default_factory=list)


@dataclass(frozen=True)
class Sitting:
    """What a page knows and hands on: the part of the pile, how many rows were decided, which were skipped."""

    pile: Pile
    done: int = 0
    skipped: tuple[Key, ...] = ()

    @classmethod
    def of(cls, request: HttpRequest, kinds: tuple[str, ...]) -> "Sitting":
        given = request.GET
        kind = given.get("kind")
        return cls(
            pile=Pile(
                kinds=(kind,) if kind in kinds else kinds,
                topic_id=_number(given.get("topic")),
                source=given.get("source", "").replace("\0", ""),
                author_id=_number(given.get("author")),
            ),
            done=_number(given.get("done")) or 0,
            skipped=tuple(_keys(given.get("skipped", ""))),
        )

    def query(self, kinds: tuple[str, ...]) -> str:
        pile = self.pile
        given = {
            "kind": pile.kinds[0] if pile.kinds != kinds else "",
            "topic": pile.topic_id,
            "source": pile.source,
            "author": pile.author_id,
            "done": self.done,
            "skipped": " ".join(str(key) for key in self.skipped),
        }
        return urlencode({name: value for name, value in given.items() if value})


@method_decorator(never_cache, name="dispatch")
class ReviewDesk(View):
    """`/admin/review/`: GET shows the next row, POST decides one."""

    site: AdminSite | None = None
    http_method_names = ["get", "post"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        self.kinds = tuple(kind for kind in KINDS if allowed(request, kind, "approve"))
        if not self.kinds:
            raise PermissionDenied
        self.reviewer = user_id(request)
        self.sitting = Sitting.of(request, self.kinds)
        # The script sends its own, more than the address knows.
        self.scripted = request.headers.get("Accept") == "application/json"
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, self._claim(count=2, besides=self.sitting.skipped))

    def post(self, request: HttpRequest) -> HttpResponse:
        action = request.POST.get("action", "")
        if action == "renew":
            held = review.renew(_keys(request.POST.get("held", "")), reviewer_id=self.reviewer)
            return JsonResponse({"held": [str(key) for key in held]})
        key = Key.parse(request.POST.get("key", ""))
        if key is None:
            return self._answer(request, None, _("Nothing was chosen."), "warning")
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
            return item, coming, review.left_in(self.sitting.pile)

        try:
            item, coming, left = act()
        except Passed as passed:
            return self._answer(request, key, str(passed), "warning")
        except Stale as stale:
            notice = Notice(by=stale.by, differences=list(stale.differences))
            return self._again(request, stale.item, stale.form, notice, 409)
        except Refused as refused:
            row = in_transaction(review.lock_item)(key)
            if row is None:
                return self._answer(request, key, _("This is gone."), "warning")
            return self._again(request, row, refused.form, Notice(sentences=list(refused.sentences)), 422)
        if action == "save":
            row = in_transaction(review.claim_one)(key, reviewer_id=self.reviewer)
            return self._again(request, row or item, None, None, 200)
        self.sitting = replace(self.sitting, done=self.sitting.done + 1)
        text = str(DONE[action]) if action != "send_back" else _("Sent back to its author.")
        undo = {"key": str(key), "action": action}
        return self._respond(request, coming, left, f"{text} {item}", "success", undo)

    def _skip(self, request: HttpRequest, key: Key) -> HttpResponse:
        review.release([key], reviewer_id=self.reviewer)
        self.sitting = replace(self.sitting, skipped=tuple(dict.fromkeys([*self.sitting.skipped, key])))
        return self._answer(request, key, "", "")

    def _undo(self, request: HttpRequest, key: Key, action: str) -> HttpResponse:
        if key.kind not in self.kinds:
            raise PermissionDenied

        @in_transaction
        def act() -> Item | None:
            return review.claim_one(key, reviewer_id=self.reviewer) if take_back(request, key, action) else None

        try:
            item = act()
        except DomainError as refusal:
            return self._answer(request, None, str(refusal), "error")
        if item is None:
            return self._answer(request, None, _("There is nothing to undo any more."), "warning")
        self.sitting = replace(self.sitting, done=max(self.sitting.done - 1, 0))
        return self._again(request, item, None, Notice(sentences=[_("Undone. It waits for review again.")]), 200)

    # Answers

    def _answer(self, request: HttpRequest, key: Key | None, text: str, level: str) -> HttpResponse:
        """Without a decision: on with the pile, less this row where it is named."""
        coming = self._next(request, key) if self.scripted else []
        return self._respond(request, coming, review.left_in(self.sitting.pile), text, level, None)

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
        return HttpResponseRedirect(f"{reverse('admin:review')}?{self.sitting.query(self.kinds)}")

    def _again(
        self, request: HttpRequest, item: Item, form: DeskForm | None, notice: Notice | None, status: int
    ) -> HttpResponse:
        """The same row once more: saved, stale, or refused."""
        if not self.scripted:
            return self._page(request, [item], form=form, notice=notice, status=status)
        left = review.left_in(self.sitting.pile)
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
        left = review.left_in(self.sitting.pile)
        pile = self.sitting.pile
        offered = review.offered(self.kinds)
        context = {
            **self.site.each_context(request),
            "title": _("Review desk"),
            "item": self._shown(items[0], form, notice) if items else None,
            "coming": [self._shown(item) for item in items[1:]],
            "kinds": self.kinds,
            "kind": pile.kinds[0] if pile.kinds != self.kinds else "",
            "pile": pile,
            "offered": offered,
            "chosen": _chosen(pile, self.kinds, offered),
            "left": left,
            "done": self.sitting.done,
            "all": self.sitting.done + left,
            "skipped": " ".join(str(key) for key in self.sitting.skipped),
            "skipped_count": len(self.sitting.skipped),
            "query": self.sitting.query(self.kinds),
            "without_skipped": replace(self.sitting, skipped=()).query(self.kinds),
        }
        return TemplateResponse(request, "memocards/desk/page.html", context, status=status)

    def _fragment(
        self, request: HttpRequest, item: Item, form: DeskForm | None = None, notice: Notice | None = None
    ) -> str:
        return render_to_string("memocards/desk/item.html", {"item": self._shown(item, form, notice)}, request)

    def _shown(self, item: Item, form: DeskForm | None = None, notice: Notice | None = None) -> dict[str, Any]:
        """A row as the template wants it."""
        key = Key.of(item)
        shown = {
            "key": str(key),
            "kind": key.kind,
            "row": item,
            "form": form or desk_form(item),
            "editing": form is not None and (form.has_changed() or not form.is_valid()),
            "notice": notice,
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
        return shown | {"front": render(item.front), "back": render(item.back)}

    # The pile

    def _claim(self, *, count: int, besides: Iterable[Key]) -> list[Item]:
        return review.claim(self.sitting.pile, reviewer_id=self.reviewer, count=count, besides=list(besides))

    def _next(self, request: HttpRequest, key: Key | None) -> list[Item]:
        """What a page that holds some rows lacks to have two, once `key` has left it."""
        if not self.scripted:
            return []
        held = [other for other in _keys(request.POST.get("held", "")) if other != key]
        besides = [*self.sitting.skipped, *_keys(request.POST.get("skipped", "")), *held, *filter(None, [key])]
        return self._claim(count=max(2 - len(held), 1), besides=besides)


def _chosen(pile: Pile, kinds: tuple[str, ...], offered: review.Offered) -> list[str]:
    """What the pile is filtered by, in words."""
    names = {"question": _("Questions"), "card": _("Cards")}
    return [
        *([names[pile.kinds[0]]] if pile.kinds != kinds else []),
        *(name for key, name in offered.topics if key == pile.topic_id),
        *([pile.source] if pile.source else []),
        *(name for key, name in offered.authors if key == pile.author_id),
    ]


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _keys(text: str) -> list[Key]:
    return [key for word in text.split()[:MOST_KEYS] if (key := Key.parse(word))]
