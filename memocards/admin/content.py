"""The pages of topics, questions and cards."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminTextareaWidget
from django.db.models import Count, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from memocards.admin.explanations import ExplainedAdmin
from memocards.admin.fields import LinesField, short
from memocards.admin.forms import MemoCardForm, QuestionForm
from memocards.admin.importing import ImportingAdmin
from memocards.admin.lists.approving import ReviewedAdmin
from memocards.admin.lists.choosing import pin
from memocards.admin.lists.columns import leeches
from memocards.admin.lists.confirmation import Confirmation, ask, at_stake, confirmed
from memocards.admin.lists.filters import LiveStateFilter, LiveTopicFilter, ReviewStateFilter, StaffFilter
from memocards.admin.lists.soft_deletion import DROPPED, SoftDeleteAdmin
from memocards.content import history, topics
from memocards.content.cards import cards, change_of_tags
from memocards.content.editors import Editor, editor_for
from memocards.content.questions import questions
from memocards.errors import DomainError, TopicHasContent
from memocards.importing.rows import RowKind
from memocards.learning.leeches import LeechFilter
from memocards.models import CardProgress, ExplanationStatus, MemoCard, Question, Topic
from memocards.states import LIVE, SEEN


@admin.register(Topic)
class TopicAdmin(SoftDeleteAdmin):
    list_display = ["name", "position", "scheduler", "exam_date", "live_questions", "live_cards"]
    list_filter = [LiveStateFilter, "scheduler"]
    search_fields = ["name", "description"]
    readonly_fields = ["created_at", "updated_at", "deleted_at"]
    fieldsets = [
        (None, {"fields": ["name", "description", "position", "scheduler", "exam_date"]}),
        (_("History"), {"fields": ["created_at", "updated_at", "deleted_at"]}),
    ]
    actions = [*SoftDeleteAdmin.actions, "delete_with_content"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.annotate(  # type: ignore[no-any-return]
            question_count=_live_rows(Question), card_count=_live_rows(MemoCard)
        )

    @admin.display(description=_("questions"))
    def live_questions(self, topic: Any) -> SafeString:
        return _link_to_list(Question, topic, topic.question_count)

    @admin.display(description=_("cards"))
    def live_cards(self, topic: Any) -> SafeString:
        return _link_to_list(MemoCard, topic, topic.card_count)

    def create(self, request: HttpRequest, fields: dict[str, Any]) -> Topic:
        return topics.create_topic(**fields, editor=editor_for(request.user))

    def update(self, request: HttpRequest, key: int, changes: dict[str, Any]) -> None:
        topics.update_topic(topic_id=key, changes=changes, editor=editor_for(request.user))

    def delete_rows(self, keys: list[int], editor: Editor) -> list[int]:
        return [key for key in keys if topics.delete_topic(topic_id=key, editor=editor)]

    def delete_rows_with_content(self, keys: list[int], editor: Editor) -> list[int]:
        return [key for key in keys if topics.delete_topic(topic_id=key, editor=editor, cascade=True)]

    def restore_rows(self, keys: list[int], editor: Editor) -> list[int]:
        return [key for key in keys if topics.restore_topic(topic_id=key, editor=editor)]

    def delete_chosen(self, request: HttpRequest, keys: list[int]) -> None:
        live = pin(Topic.objects.filter(LIVE, pk__in=keys))
        self._one_by_one(request, live, self.delete_rows, history.DELETED.said())

    @admin.action(permissions=["restore"], description=_("Restore selected topics with what was deleted along"))
    def restore(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._one_by_one(request, pin(queryset.exclude(LIVE)), self.restore_rows, history.RESTORED.said())

    @admin.action(permissions=["delete_content"], description=_("Delete selected topics with all content"))
    def delete_with_content(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        keys = pin(queryset)
        counts = {
            "topics": len(keys),
            "questions": Question.objects.filter(LIVE, topic__in=keys).count(),
            "cards": MemoCard.objects.filter(LIVE, topic__in=keys).count(),
        }
        content = "-".join(str(count) for count in counts.values())
        if not confirmed(request, content):
            question = _("Delete %(topics)d topics with %(questions)d questions and %(cards)d cards?") % counts
            confirmation = Confirmation(_("Delete"), question, [str(DROPPED)], content)
            return ask(request, self, "delete_with_content", confirmation)
        live = pin(queryset.filter(LIVE))
        self._one_by_one(request, live, self.delete_rows_with_content, history.DELETED_WITH_CONTENT.said())
        return None

    def has_delete_content_permission(self, request: HttpRequest) -> bool:
        names = ("delete_topic", "delete_question", "delete_memocard")
        return all(request.user.has_perm(f"memocards.{name}") for name in names)

    def tell_refusal(self, request: HttpRequest, refusal: DomainError) -> None:
        super().tell_refusal(request, refusal)
        if isinstance(refusal, TopicHasContent):
            hint = _("The action “Delete selected topics with all content” in the list of topics does that.")
            self.message_user(request, hint, messages.INFO)

    def _one_by_one(
        self,
        request: HttpRequest,
        keys: list[int],
        service: Callable[[list[int], Editor], list[int]],
        done: str,
    ) -> None:
        """Each topic in a transaction of its own. Several in one would lock a topic after another's cards, and one
        that is refused would hold up the rest."""
        changed = 0
        for key in keys:
            try:
                service([key], editor_for(request.user))
                changed += 1
            except DomainError as refusal:
                self.tell_refusal(request, refusal)
        self.tell_done(request, done, changed, len(keys))


def _live_rows(model: type[Question] | type[MemoCard]) -> Coalesce:
    rows = model._base_manager.filter(LIVE, topic=OuterRef("pk")).order_by().values("topic")
    return Coalesce(Subquery(rows.annotate(count=Count("pk")).values("count")), 0)


def _link_to_list(model: type[Question] | type[MemoCard], topic: Any, count: int) -> SafeString:
    page = reverse(f"admin:memocards_{model._meta.model_name}_changelist")
    return format_html('<a href="{}?state=live&amp;topic__id__exact={}">{}</a>', page, topic.pk, count)


@admin.register(Question)
class QuestionAdmin(ImportingAdmin, ExplainedAdmin):
    form = QuestionForm
    imports = RowKind.QUESTION
    list_display = [
        "short_stem", "state", "published_state", "topic", "explanation_status", "author", "approval", "updated_at",
    ]  # fmt: skip
    list_filter = [ReviewStateFilter, "explanation_status", ("topic", LiveTopicFilter), ("author", StaffFilter)]
    search_fields = ["stem", "source", "external_id"]
    readonly_fields = [
        "state", "published_state", "author", "approval", "sent_back_reason", "sent_back_by", "sent_back_at",
        "explanation_state", "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "topic", "stem", "choices", "answer", "explanation", "explanation_state", "source", "external_id",
                ]
            },
        ),
        (_("State"), {"fields": ["state", "published_state", "author", "approval"]}),
        (_("History"), {"fields": ["created_at", "updated_at", "deleted_at"]}),
    ]  # fmt: skip
    actions = ["approve", "unapprove", "move", "explain", *SoftDeleteAdmin.actions]
    kind = "question"
    editorial = questions

    @admin.display(description=_("stem"), ordering="stem")
    def short_stem(self, question: Question) -> SafeString:
        return short(question.stem)

    @admin.action(permissions=["change"], description=_("Have explanations written for selected questions"))
    def explain(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        def ask_for(keys: list[int], editor: Editor) -> list[int]:
            return questions.request_explanations(keys=keys, editor=editor)

        self.carry_out(request, pin(queryset), ask_for, history.EXPLANATION_REQUESTED.said())

    def texts_of(self, row: Question) -> list[str]:
        choices = (
            f"{'✓' if number == row.answer else '·'} {choice}" for number, choice in enumerate(row.choices, start=1)
        )
        return [text for text in (row.stem, *choices, row.explanation) if text]

    def move_sentences(self, request: HttpRequest, keys: list[int]) -> list[str]:
        stay = MemoCard.objects.filter(LIVE, question__in=keys).count()
        sentence = ngettext("%d card of theirs stays where it is.", "%d cards of theirs stay where they are.", stay)
        return [*super().move_sentences(request, keys), *([sentence % stay] if stay else [])]


class TagForm(forms.Form):
    add = LinesField(
        label=_("Add"),
        required=False,
        widget=AdminTextareaWidget(attrs={"rows": 3, "dir": "auto"}),
        help_text=_("One a line."),
    )
    remove = LinesField(
        label=_("Take away"),
        required=False,
        widget=AdminTextareaWidget(attrs={"rows": 3, "dir": "auto"}),
        help_text=_("One a line."),
    )

    def clean(self) -> dict[str, Any]:
        tags = self.cleaned_data
        if not self.errors and not tags["add"] and not tags["remove"]:
            raise forms.ValidationError(_("Name a tag at least."))
        return tags


@admin.register(MemoCard)
class MemoCardAdmin(ImportingAdmin, ReviewedAdmin):
    form = MemoCardForm
    imports = RowKind.CARD
    list_display = [
        "short_front", "state", "published_state", "topic", "shown_tags", "leech", "explanation_state", "author",
        "approval", "updated_at",
    ]  # fmt: skip
    list_filter = [ReviewStateFilter, ("topic", LiveTopicFilter), ("author", StaffFilter), LeechFilter]
    search_fields = ["front", "back", "source", "external_id"]
    actions = ["approve", "unapprove", "move", "tag", *SoftDeleteAdmin.actions]
    autocomplete_fields = ["question"]
    readonly_fields = [
        "state", "published_state", "leech", "author", "reviewed_by", "reviewed_at", "unapproved_at",
        "sent_back_reason", "sent_back_by", "sent_back_at", "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["topic", "question", "front", "back", "tags", "source", "external_id"]}),
        (
            _("State"),
            {
                "fields": [
                    "state", "published_state", "leech", "author", "reviewed_by", "reviewed_at", "unapproved_at",
                ]
            },
        ),
        (_("History"), {"fields": ["created_at", "updated_at", "deleted_at"]}),
    ]  # fmt: skip
    kind = "card"
    editorial = cards

    @admin.display(description=_("front"), ordering="front")
    def short_front(self, card: MemoCard) -> SafeString:
        return short(card.front)

    @admin.display(description=_("tags"))
    def shown_tags(self, card: MemoCard) -> SafeString:
        return short(", ".join(card.tags))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.annotate(explained=F("question__explanation_status"))  # type: ignore[no-any-return]

    def complete(self, rows: list[Any]) -> None:
        super().complete(rows)
        known = leeches([row.pk for row in rows])
        for row in rows:
            row.known_leech = known.get(row.pk)

    @admin.display(description=_("leech"))
    def leech(self, card: Any) -> Any:
        known = card.known_leech if hasattr(card, "known_leech") else leeches([card.pk]).get(card.pk)
        return known.shown() if known else "–"

    @admin.display(description=_("explanation"))
    def explanation_state(self, card: Any) -> Any:
        """Of the question that the card is from."""
        return "–" if card.explained is None else ExplanationStatus(card.explained).label

    @admin.action(permissions=["change"], description=_("Tag selected %(verbose_name_plural)s"))
    def tag(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        keys = pin(queryset)
        form = TagForm(request.POST if "confirmed" in request.POST else None)
        if not confirmed(request, at_stake(self.model, keys)) or not form.is_valid():
            question = ngettext("Change the tags of %d card?", "Change the tags of %d cards?", len(keys)) % len(keys)
            seen = self.count(keys, SEEN)
            shown = ngettext(
                "Viewers will show up to %d card with its new tags.",
                "Viewers will show up to %d cards with their new tags.",
                seen,
            )
            may_approve = self.has_approve_permission(request)
            effect = seen and shown % seen if may_approve else self.dropped_until_approved(seen)
            return ask(request, self, "tag", self.confirmation(keys, _("Tag"), question, effect, form=form))
        add, remove = form.cleaned_data["add"], form.cleaned_data["remove"]

        def tag(keys: list[int], editor: Editor) -> list[int]:
            return cards.tag(keys=keys, add=add, remove=remove, editor=editor)

        self.carry_out(request, keys, tag, history.TAGGED.said(tags=change_of_tags(add, remove)))
        return None

    def texts_of(self, row: MemoCard) -> list[str]:
        return [row.front, row.back]

    def move_sentences(self, request: HttpRequest, keys: list[int]) -> list[str]:
        progress = CardProgress.objects.filter(card__in=keys).count()
        along = ngettext(
            "The progress of learners moves along: %d row.",
            "The progress of learners moves along: %d rows.",
            progress,
        )
        return [*super().move_sentences(request, keys), *([along % progress] if progress else [])]

    def dropped(self, seen: int) -> str:
        kept = now("Learners keep their progress, and find it again when the cards come back.")
        return f"{sentence} {kept}" if (sentence := super().dropped(seen)) else ""
