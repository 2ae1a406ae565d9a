"""The hub's back office: topics, questions and cards are edited here; progress and reviews are looked at.

Nothing here writes a published row itself. A form hands what its editor changed to a service, an action hands over
primary keys, and what a service refuses comes back as an error of the form or as a message.
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.contrib.postgres.forms import SimpleArrayField, SplitArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from memocards import cards, questions, topics
from memocards.errors import DomainError, Invalid, TopicHasContent
from memocards.models import CardProgress, LearnerSettings, MemoCard, Question, Review, Topic
from memocards.writing import lock_row, save_valid
from publish.admin import EstimatingPaginator, ReadOnlyAdmin
from publish.transactions import in_transaction

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[Any]
    BaseForm = forms.ModelForm[Any]
else:
    BaseAdmin, BaseForm = admin.ModelAdmin, forms.ModelForm

admin.site.site_header = admin.site.site_title = "StudyHub"
admin.site.index_title = _("Back office")

SHORT = 80
LIVE = Q(deleted_at__isnull=True)


def _short(text: str) -> SafeString:
    return format_html('<span dir="auto">{}</span>', Truncator(text).chars(SHORT))


# Fields


def _unix_lines(text: str) -> str:
    """Browsers send a line break as CR LF; content is kept with LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


class ContentField(forms.CharField):
    """Text of several lines."""

    def to_python(self, value: Any) -> Any:
        return _unix_lines(super().to_python(value) or "")


class LinesField(SimpleArrayField):
    """Short texts, one a line: a tag may hold a comma."""

    def __init__(self, **options: Any) -> None:
        super().__init__(forms.CharField(), delimiter="\n", **options)

    def to_python(self, value: Any) -> Any:
        lines = value if isinstance(value, list) else _unix_lines(value or "").split("\n")
        return super().to_python([line for line in lines if line.strip()])


class JSONHiddenInput(forms.HiddenInput):
    def format_value(self, value: Any) -> str | None:
        return json.dumps(value) if isinstance(value, list) else value


class ChoicesField(SplitArrayField):
    """The choices of a question, each in a box of its own: a choice may have several lines."""

    hidden_widget = JSONHiddenInput

    def __init__(self, **options: Any) -> None:
        box = AdminTextareaWidget(attrs={"rows": 2, "dir": "auto"})
        super().__init__(ContentField(widget=box), size=10, remove_trailing_nulls=True, **options)
        self.widget.template_name = "memocards/widgets/choices.html"

    def to_python(self, value: Any) -> Any:
        if not isinstance(value, list):
            try:
                value = json.loads(value or "[]")
            except ValueError as error:
                raise ValidationError(_("This is not a list of choices.")) from error
        return super().to_python(value)


# Forms


class ServiceForm(BaseForm):
    """A form that knows what its editor saw, so that it hands on what they changed and nothing else.

    Each field carries its value at the time the page was made. A field that the editor left alone is not written,
    whoever changed it meanwhile; one that both changed is refused once, with the other's text. Constraints are left
    to the service: only the database can judge them.
    """

    refusal: ClassVar[DomainError | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.show_hidden_initial = self.instance.pk is not None
            if isinstance(field, forms.ModelChoiceField) and name in {"topic", "question"}:
                rows: QuerySet[Any] = field.queryset  # type: ignore[assignment]
                field.widget.can_delete_related = False
                field.queryset = rows.filter(LIVE | Q(pk=getattr(self.instance, f"{name}_id")))

    def clean(self) -> dict[str, Any]:
        if self.instance.pk is not None:
            for name in self.fields:
                if name in self.changed_data:
                    self._refuse_a_conflict(name)
                elif name in self.cleaned_data:
                    self.cleaned_data[name] = getattr(self.instance, name)
        if isinstance(self.refusal, Invalid):
            for name, sentences in self.refusal.fields.items():
                self.add_error(name if name in self.fields else None, sentences)
        elif self.refusal is not None:
            self.add_error(None, str(self.refusal))
        return self.cleaned_data

    def changes(self) -> dict[str, Any]:
        """What to write, by column: everything for a new row, else what was changed."""
        names = self.fields if self.instance._state.adding else self.changed_data
        return {self._column(name): self._value(name) for name in names}

    def _column(self, name: str) -> str:
        return str(getattr(self._meta.model._meta.get_field(name), "attname", name))

    def _value(self, name: str) -> Any:
        value = self.cleaned_data[name]
        return value.pk if isinstance(value, models.Model) else value

    def _refuse_a_conflict(self, name: str) -> None:
        bound = self[name]
        if name not in self.cleaned_data or bound.html_initial_name not in self.data:
            return
        widget = bound.field.hidden_widget()
        now = _unix_lines(widget.format_value(bound.field.prepare_value(bound.initial)) or "")
        if _unix_lines(self.data[bound.html_initial_name]) == now:
            return
        if not bound.field.has_changed(self.cleaned_data[name], bound.field.prepare_value(bound.initial)):
            return
        # The editor now sees the other's text, so the next attempt is made knowingly.
        data: Any = self.data
        data = data.copy()
        data[bound.html_initial_name] = now
        self.data = data
        shown = Truncator(now).chars(500)
        self.add_error(
            name,
            _("Somebody else changed this meanwhile. It now reads: “%s”. Save again to replace that.") % shown,
        )


class QuestionForm(ServiceForm):
    choices = ChoicesField(label=_("Choices"), help_text=_("2 to 10 texts; leave the other boxes empty."))


class MemoCardForm(ServiceForm):
    tags = LinesField(
        label=_("Tags"),
        required=False,
        widget=AdminTextareaWidget(attrs={"rows": 3, "dir": "auto"}),
        help_text=_("One a line."),
    )


class LearnerSettingsForm(ServiceForm):
    def clean(self) -> dict[str, Any]:
        self._validate_unique = True
        return super().clean()


class ServiceAdmin(BaseAdmin):
    """An admin whose forms write through services."""

    form = ServiceForm
    formfield_overrides = {
        models.TextField: {
            "form_class": ContentField,
            "widget": AdminTextareaWidget(attrs={"rows": 6, "dir": "auto"}),
        },
        models.CharField: {"widget": AdminTextInputWidget(attrs={"dir": "auto"})},
    }

    class Media:
        css = {"all": ["memocards/admin.css"]}

    def create(self, fields: dict[str, Any]) -> models.Model:
        raise NotImplementedError

    def update(self, key: int, changes: dict[str, Any]) -> None:
        raise NotImplementedError

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        show = super().changeform_view
        if request.method != "POST":
            return show(request, *args, **kwargs)
        try:
            return in_transaction(show)(request, *args, **kwargs)
        except DomainError as refusal:
            # All is undone. The same form once more, which now refuses and is shown with the reason.
            request._refusal = refusal  # type: ignore[attr-defined]
            return show(request, *args, **kwargs)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form_class: Any = super().get_form(request, obj, change=change, **kwargs)
        form_class.refusal = getattr(request, "_refusal", None)
        return form_class

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        changes = form.changes()
        if change:
            # A deleted row is offered to the service even without a change, to be refused.
            if changes or getattr(obj, "deleted_at", None):
                self.update(obj.pk, changes)
        else:
            obj.pk = self.create(changes).pk
            obj._state.adding = False
            obj.refresh_from_db()


# Lists


class StateFilter(admin.SimpleListFilter):
    """Exactly one state is always chosen; without a choice, the first."""

    title = _("state")
    parameter_name = "state"
    states: ClassVar[Mapping[str, tuple[Any, Q]]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, title) for name, (title, _where) in self.states.items()]

    def value(self) -> str:
        value = super().value()
        return value if value is not None and value in self.states else next(iter(self.states))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(self.states[self.value()][1])

    def choices(self, changelist: Any) -> Any:
        _everything, *states = super().choices(changelist)
        return states


class LiveStateFilter(StateFilter):
    states = {"live": (_("Live"), LIVE), "deleted": (_("Deleted"), ~LIVE)}


class ReviewStateFilter(StateFilter):
    states = {
        "waiting": (_("Waits for review"), LIVE & Q(needs_review=True)),
        "approved": (_("Approved"), LIVE & Q(needs_review=False)),
        "live": (_("Both"), LIVE),
        "deleted": (_("Deleted"), ~LIVE),
    }


class LiveTopicFilter(admin.RelatedFieldListFilter):
    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        ordering = self.field_admin_ordering(field, request, model_admin)
        return field.get_choices(include_blank=False, ordering=ordering, limit_choices_to=LIVE)


class SoftDeleteAdmin(ServiceAdmin):
    """Rows that are deleted softly, one by one or by an action on any number of them, and restored."""

    actions = ["delete_selected", "restore"]
    show_full_result_count = False
    # Django counts each choice of a filter by a subquery that PostgreSQL cannot hash beyond its work memory: with
    # 300,000 cards one click on "Show counts" ran for minutes.
    show_facets = admin.ShowFacets.NEVER
    # The column that __str__ reads.
    named_by: str

    def delete_rows(self, keys: list[int]) -> list[int]:
        raise NotImplementedError

    def restore_rows(self, keys: list[int]) -> list[int]:
        raise NotImplementedError

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.delete_rows([obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.carry_out(request, _pin(queryset), self.delete_rows, _("Deleted."), DELETION)

    @admin.action(permissions=["delete"], description=_("Delete selected %(verbose_name_plural)s"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        count = queryset.count()
        question = ngettext("Delete %d row?", "Delete %d rows?", count) % count
        if page := self.unconfirmed(request, "delete_selected", str(count), question):
            return page
        self.delete_queryset(request, queryset)
        return None

    @admin.action(permissions=["change"], description=_("Restore selected %(verbose_name_plural)s"))
    def restore(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.carry_out(request, _pin(queryset), self.restore_rows, _("Restored."), CHANGE)

    def unconfirmed(self, request: HttpRequest, action: str, confirmed: str, question: str) -> HttpResponse | None:
        """The page that asks, until `confirmed`, which says how much is at stake, comes back unchanged."""
        if request.POST.get("confirmed") == confirmed:
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": _("Delete"),
            "opts": self.opts,
            "question": question,
            "action": action,
            "confirmed": confirmed,
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "select_across": request.POST.get("select_across", "0"),
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/memocards/confirm_deletion.html", context)

    def carry_out(
        self,
        request: HttpRequest,
        keys: list[int],
        service: Callable[[list[int]], list[int]],
        done: Any,
        flag: int,
    ) -> None:
        """One service call on these rows and its entry in their histories, in one transaction; then a message."""

        @in_transaction
        def act() -> list[int]:
            changed = service(keys)
            self.log_rows(request, changed, flag, str(done))
            return changed

        try:
            changed = act()
        except DomainError as refusal:
            self.tell_refusal(request, refusal)
        else:
            self.tell_done(request, done, len(changed), len(keys))

    def tell_done(self, request: HttpRequest, done: Any, changed: int, chosen: int) -> None:
        told = ngettext("%(changed)d of %(chosen)d row.", "%(changed)d of %(chosen)d rows.", chosen)
        told %= {"changed": changed, "chosen": chosen}
        self.message_user(request, f"{done} {told}", messages.SUCCESS if changed else messages.WARNING)

    def tell_refusal(self, request: HttpRequest, refusal: DomainError) -> None:
        self.message_user(request, str(refusal), messages.ERROR)

    def log_rows(self, request: HttpRequest, keys: list[int], flag: int, message: str) -> None:
        rows = self.model._base_manager.filter(pk__in=keys).order_by("pk").only("pk", self.named_by)
        LogEntry.objects.log_actions(user_id=_user_id(request), queryset=rows, action_flag=flag, change_message=message)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        show = super().delete_view
        try:
            return in_transaction(show)(request, object_id, extra_context)
        except DomainError as refusal:
            self.tell_refusal(request, refusal)
            page = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return HttpResponseRedirect(reverse(page, args=[object_id]))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """A soft deletion takes along nothing that Django's collector would find."""
        return [str(row) for row in objs], {str(self.opts.verbose_name_plural): len(objs)}, set(), []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.deleted_at is None)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        names = super().get_readonly_fields(request, obj)
        # Only as a page to look at. An editor whose row is deleted meanwhile gets their text back, and the reason.
        posted = request.method == "POST" and "_restore" not in request.POST
        if obj is None or obj.deleted_at is None or posted:
            return names
        return [name for _title, options in self.get_fieldsets(request, obj) for name in options["fields"]]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        # What has not been written yet has no history.
        return fieldsets if obj else fieldsets[:1]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        # Asked by the select boxes of other forms: there is nothing to choose among the deleted.
        return (found.filter(LIVE) if "field_name" in request.GET else found), may_have_duplicates

    def state_of(self, row: Any) -> str:
        return "deleted" if row.deleted_at else "live"

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context["original"]
        context["state"] = self.state_of(row) if row else ""
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change and "_restore" in request.POST:
            self.log_rows(request, self.restore_rows([obj.pk]), CHANGE, str(_("Restored.")))
            return
        super().save_model(request, obj, form, change)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        # A button writes its own entry; "no fields changed" is none.
        return super().log_change(request, obj, message) if message else None


def _user_id(request: HttpRequest) -> int:
    key = request.user.pk
    assert key is not None  # noqa: S101
    return key


def _pin(queryset: QuerySet[Any]) -> list[int]:
    """The chosen rows, by primary key: after a change the filter of the list may match others, or none."""
    return list(queryset.order_by().values_list("pk", flat=True))


class ReviewedAdmin(SoftDeleteAdmin):
    """Rows that are seen once somebody approved them. Their list opens with the pile that waits."""

    actions = ["approve", "unapprove", *SoftDeleteAdmin.actions]
    change_list_template = "admin/memocards/review_pile.html"
    list_select_related = ["topic"]

    def approve_rows(self, request: HttpRequest, keys: list[int]) -> list[int]:
        raise NotImplementedError

    def unapprove_rows(self, keys: list[int]) -> list[int]:
        raise NotImplementedError

    @admin.action(permissions=["change"], description=_("Approve selected %(verbose_name_plural)s"))
    def approve(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.carry_out(request, _pin(queryset), lambda keys: self.approve_rows(request, keys), _("Approved."), CHANGE)

    @admin.action(permissions=["change"], description=_("Send selected %(verbose_name_plural)s back to review"))
    def unapprove(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.carry_out(request, _pin(queryset), self.unapprove_rows, _("Sent back to review."), CHANGE)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "_approve" in request.POST:
            self.log_rows(request, self.approve_rows(request, [obj.pk]), CHANGE, str(_("Approved.")))
        if change and "_unapprove" in request.POST:
            self.log_rows(request, self.unapprove_rows([obj.pk]), CHANGE, str(_("Sent back to review.")))

    def state_of(self, row: Any) -> str:
        if row.deleted_at:
            return "deleted"
        return "waiting" if row.needs_review else "approved"

    @admin.display(description=_("state"))
    def state(self, row: Any) -> Any:
        return ReviewStateFilter.states[self.state_of(row)][0]


# The pages


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
    named_by = "name"

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

    def create(self, fields: dict[str, Any]) -> Topic:
        return topics.create_topic(**fields)

    def update(self, key: int, changes: dict[str, Any]) -> None:
        topics.update_topic(topic_id=key, changes=changes)

    def delete_rows(self, keys: list[int]) -> list[int]:
        return [topics.delete_topic(topic_id=key).pk for key in keys]

    def restore_rows(self, keys: list[int]) -> list[int]:
        return [topics.restore_topic(topic_id=key).pk for key in keys]

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._one_by_one(request, queryset.filter(LIVE), self.delete_rows, _("Deleted."), DELETION)

    @admin.action(permissions=["change"], description=_("Restore selected topics with what was deleted along"))
    def restore(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._one_by_one(request, queryset.exclude(LIVE), self.restore_rows, _("Restored."), CHANGE)

    @admin.action(permissions=["delete_content"], description=_("Delete selected topics with all content"))
    def delete_with_content(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        keys = _pin(queryset)
        at_stake = {
            "topics": len(keys),
            "questions": Question.objects.filter(LIVE, topic__in=keys).count(),
            "cards": MemoCard.objects.filter(LIVE, topic__in=keys).count(),
        }
        question = _("Delete %(topics)d topics with %(questions)d questions and %(cards)d cards?") % at_stake
        confirmed = "-".join(str(count) for count in at_stake.values())
        if page := self.unconfirmed(request, "delete_with_content", confirmed, question):
            return page
        self._one_by_one(
            request,
            queryset.filter(LIVE),
            lambda keys: [topics.delete_topic(topic_id=key, cascade=True).pk for key in keys],
            _("Deleted with all content."),
            DELETION,
        )
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
        queryset: QuerySet[Any],
        service: Callable[[list[int]], list[int]],
        done: Any,
        flag: int,
    ) -> None:
        """Each topic in a transaction of its own. Several in one would lock a topic after another's cards, and one
        that is refused would hold up the rest."""
        keys = _pin(queryset)
        changed = 0
        for key in keys:

            @in_transaction
            def act(key: int = key) -> None:
                self.log_rows(request, service([key]), flag, str(done))

            try:
                act()
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
class QuestionAdmin(ReviewedAdmin):
    form = QuestionForm
    list_display = ["short_stem", "topic", "state", "explanation_status", "updated_at"]
    list_filter = [ReviewStateFilter, "explanation_status", ("topic", LiveTopicFilter)]
    search_fields = ["stem", "source", "external_id"]
    readonly_fields = [
        "state", "explanation_status", "explanation_generator", "explanation_attempts",
        "explanation_error", "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["topic", "stem", "choices", "answer", "explanation", "source", "external_id"]}),
        (
            _("State"),
            {
                "fields": [
                    "state", "explanation_status", "explanation_generator", "explanation_attempts",
                    "explanation_error",
                ]
            },
        ),
        (_("History"), {"fields": ["created_at", "updated_at", "deleted_at"]}),
    ]  # fmt: skip
    named_by = "stem"

    @admin.display(description=_("stem"), ordering="stem")
    def short_stem(self, question: Question) -> SafeString:
        return _short(question.stem)

    def create(self, fields: dict[str, Any]) -> Question:
        explanation = fields.pop("explanation", "")
        question = questions.create_question(**fields)
        if explanation:
            questions.set_explanation(question_id=question.pk, body=explanation)
        return question

    def update(self, key: int, changes: dict[str, Any]) -> None:
        explanation = changes.pop("explanation", None)
        if changes or explanation is None:
            questions.update_question(question_id=key, changes=changes)
        # A person's words are ready; taking them away withdraws the explanation.
        if explanation:
            questions.set_explanation(question_id=key, body=explanation)
        elif explanation is not None:
            questions.clear_explanation(question_id=key)

    def approve_rows(self, request: HttpRequest, keys: list[int]) -> list[int]:
        return questions.approve_questions(question_ids=keys)

    def unapprove_rows(self, keys: list[int]) -> list[int]:
        return questions.unapprove_questions(question_ids=keys)

    def delete_rows(self, keys: list[int]) -> list[int]:
        return questions.delete_questions(question_ids=keys)

    def restore_rows(self, keys: list[int]) -> list[int]:
        return questions.restore_questions(question_ids=keys)


@admin.register(MemoCard)
class MemoCardAdmin(ReviewedAdmin):
    form = MemoCardForm
    list_display = ["short_front", "topic", "shown_tags", "state", "updated_at"]
    list_filter = [ReviewStateFilter, ("topic", LiveTopicFilter)]
    search_fields = ["front", "back", "external_id"]
    autocomplete_fields = ["question"]
    readonly_fields = [
        "state", "reviewed_by", "reviewed_at", "unapproved_at", "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["topic", "question", "front", "back", "tags", "external_id"]}),
        (_("State"), {"fields": ["state", "reviewed_by", "reviewed_at", "unapproved_at"]}),
        (_("History"), {"fields": ["created_at", "updated_at", "deleted_at"]}),
    ]
    named_by = "front"

    @admin.display(description=_("front"), ordering="front")
    def short_front(self, card: MemoCard) -> SafeString:
        return _short(card.front)

    @admin.display(description=_("tags"))
    def shown_tags(self, card: MemoCard) -> SafeString:
        return _short(", ".join(card.tags))

    def create(self, fields: dict[str, Any]) -> MemoCard:
        return cards.create_card(**fields)

    def update(self, key: int, changes: dict[str, Any]) -> None:
        cards.update_card(card_id=key, changes=changes)

    def approve_rows(self, request: HttpRequest, keys: list[int]) -> list[int]:
        return cards.approve_cards(card_ids=keys, reviewer_id=_user_id(request))

    def unapprove_rows(self, keys: list[int]) -> list[int]:
        return cards.unapprove_cards(card_ids=keys)

    def delete_rows(self, keys: list[int]) -> list[int]:
        return cards.delete_cards(card_ids=keys)

    def restore_rows(self, keys: list[int]) -> list[int]:
        return cards.restore_cards(card_ids=keys)


@admin.register(LearnerSettings)
class LearnerSettingsAdmin(ServiceAdmin):
    form = LearnerSettingsForm
    list_display = ["learner", "time_zone", "rollover_hour", "new_per_day", "desired_retention"]
    list_select_related = ["learner"]
    search_fields = ["learner__username"]
    autocomplete_fields = ["learner"]
    fields = ["learner", "time_zone", "rollover_hour", "new_per_day", "desired_retention"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["learner"] if obj else []

    @in_transaction
    def create(self, fields: dict[str, Any]) -> LearnerSettings:
        row = LearnerSettings()
        save_valid(row, fields)
        return row

    @in_transaction
    def update(self, key: int, changes: dict[str, Any]) -> None:
        # The lock that the learner's ratings take: none of them sees half of a change.
        row = lock_row(LearnerSettings, key)
        for name, value in changes.items():
            setattr(row, name, value)
        row.save(update_fields=list(changes))


class LearnerRowAdmin(ReadOnlyAdmin):
    """What learners did. Only ratings write it; here it is looked at."""

    list_select_related = ["learner", "card"]
    search_fields = ["=learner__username"]
    search_help_text = _("The user name of a learner")
    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ["memocards/admin.css"]}

    @admin.display(description=_("card"))
    def short_card(self, row: CardProgress | Review) -> SafeString:
        return _short(row.card.front)


@admin.register(CardProgress)
class CardProgressAdmin(LearnerRowAdmin):
    list_display = ["id", "learner", "short_card", "last_outcome", "last_reviewed_at", "due_at", "review_stage"]
    list_filter = ["last_outcome"]
    # The primary key alone has an index that orders the whole table.
    sortable_by = ["id"]


@admin.register(Review)
class ReviewAdmin(LearnerRowAdmin):
    list_display = ["reviewed_at", "learner", "short_card", "outcome", "stage_before", "stage_after", "undone_at"]
    list_filter = ["outcome"]
    ordering = ["-reviewed_at", "-id"]
    sortable_by = ["reviewed_at"]
