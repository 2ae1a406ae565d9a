"""What an operator sees of publishing: the outbox, the feed and its state, to look at; subscribers, to add and revoke.

The outbox and the items may hold millions of rows, so their lists never count a whole table and never load a payload.
"""

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Case, F, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, Greatest
from django.forms.models import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from kit.lists import EstimatingPaginator, ReadOnlyAdmin
from publish.kinds import CATALOGUE
from publish.models import (
    BackfillPosition,
    FeedState,
    PublishedItem,
    PublishOutbox,
    RelayHeartbeat,
    SetAside,
    Subscriber,
)
from publish.moments import shown_age
from publish.setting_aside import requeue
from publish.subscribers import create_subscriber, revoke

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[Any]
    BaseForm = ModelForm[Subscriber]
else:
    BaseAdmin, BaseForm = admin.ModelAdmin, ModelForm


class KindFilter(admin.SimpleListFilter):
    """By kind, from the catalogue: asking the table which kinds it holds would read all of it."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, kind) for kind in CATALOGUE]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class SnapshotAdmin(ReadOnlyAdmin):
    """What the outbox and the feed have in common: a payload with its hash, or a tombstone, under a key."""

    list_filter = [KindFilter]
    search_fields = ["source_id"]
    search_help_text = _("A source id, or a kind and a source id: card 42")
    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    moment = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # A payload may have 320 KiB, and a list shows a hundred rows.
        return super().get_queryset(request).defer("payload", "payload_hash")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """A look-up by key, which an index answers; Django's own would compare the numbers as texts."""
        words = search_term.split()
        if not words:
            return queryset, False
        kinds = [word for word in words if word in CATALOGUE]
        numbers = [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 19]
        if len(kinds) + len(numbers) < len(words):
            return queryset.none(), False
        if numbers:
            return queryset.filter(kind__in=kinds or list(CATALOGUE), source_id__in=numbers), False
        return queryset.filter(kind__in=kinds), False

    @admin.display(description=_("payload"))
    def pretty_payload(self, row: PublishOutbox | PublishedItem) -> SafeString:
        text = json.dumps(row.payload, ensure_ascii=False, indent=2)
        # A text area wraps long lines and scrolls by itself, where styles inside the page are not allowed.
        return format_html(
            '<textarea class="vLargeTextField" dir="auto" cols="80" rows="{}" aria-label="{}" readonly>{}</textarea>',
            min(text.count("\n") + 3, 30),
            _("payload"),
            text,
        )

    @admin.display(description=_("payload hash (SHA-256)"))
    def hash_hex(self, row: PublishOutbox | PublishedItem) -> SafeString:
        return format_html("<code>{}</code>", bytes(row.payload_hash).hex())

    @admin.display(description=_("tombstone"))
    def tombstone(self, row: PublishOutbox | PublishedItem) -> Any:
        # Not Django's icon, whose red cross would mark every row that is as it should be.
        return _("yes") if row.deleted else "–"

    @admin.display(description=_("age"))
    def age(self, row: PublishOutbox | PublishedItem) -> SafeString:
        return shown_age(getattr(row, self.moment))


@admin.register(PublishOutbox)
class PublishOutboxAdmin(SnapshotAdmin):
    list_display = ["id", "kind", "source_id", "learner_id", "tombstone", "age"]
    # No order but the relay's own: it drains by id.
    sortable_by = ["id"]
    fields = [
        "id", "kind", "source_id", "learner_id", "tombstone", "schema_version",
        "pretty_payload", "hash_hex", "created_at", "age",
    ]  # fmt: skip


@admin.register(PublishedItem)
class PublishedItemAdmin(SnapshotAdmin):
    list_display = ["seq", "kind", "source_id", "learner_id", "tombstone", "age"]
    sortable_by = ["seq"]
    ordering = ["-seq"]
    moment = "published_at"
    fields = [
        "seq", "kind", "source_id", "learner_id", "tombstone", "schema_version",
        "pretty_payload", "hash_hex", "outbox_id", "published_at", "age",
    ]  # fmt: skip


@admin.register(FeedState)
class FeedStateAdmin(ReadOnlyAdmin):
    list_display = ["epoch", "last_seq", "tombstone_floor"]


@admin.register(RelayHeartbeat)
class RelayHeartbeatAdmin(ReadOnlyAdmin):
    list_display = ["worker", "worked_at", "hindrance"]


@admin.register(BackfillPosition)
class BackfillPositionAdmin(ReadOnlyAdmin):
    list_display = ["kind", "last_id", "finished"]


@admin.register(SetAside)
class SetAsideAdmin(ReadOnlyAdmin):
    list_display = ["id", "kind", "source_id", "learner_id", "error", "set_aside_at"]
    list_filter = [KindFilter]
    show_full_result_count = False
    actions = ["requeue"]

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("publish.change_setaside")

    @admin.action(permissions=["requeue"], description=_("Publish the present state of the selected rows"))
    def requeue(self, request: HttpRequest, queryset: QuerySet[SetAside]) -> None:
        """What was wrong must have been mended before, or the relay sets them aside again."""
        count = requeue(list(queryset.order_by().values_list("pk", flat=True)))
        message = ngettext("%d row waits for the relay again.", "%d rows wait for the relay again.", count) % count
        self.message_user(request, message, messages.SUCCESS if count else messages.WARNING)


class SubscriberForm(BaseForm):
    kinds = forms.MultipleChoiceField(
        label=_("Kinds"),
        choices=lambda: [(kind, kind) for kind in CATALOGUE],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text=_("None chosen: all."),
    )


class RevokedFilter(admin.SimpleListFilter):
    title = _("token")
    parameter_name = "token"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("valid", _("Valid")), ("revoked", _("Revoked"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {"valid", "revoked"}:
            return queryset
        return queryset.filter(revoked_at__isnull=self.value() == "valid")


@admin.register(Subscriber)
class SubscriberAdmin(BaseAdmin):
    """Subscribers are added and revoked. What one may see is settled when it is added: its cursor has passed
    whatever it was not shown, so a wider view would have holes. Make a new one instead."""

    form = SubscriberForm
    list_display = [
        "name", "learner", "all_learners", "kinds_shown", "lag", "last_seen", "must_start_over", "revoked_at",
    ]  # fmt: skip
    list_filter = [RevokedFilter]
    list_select_related = ["learner"]
    search_fields = ["name", "token_prefix"]
    autocomplete_fields = ["learner"]
    actions = ["revoke"]

    def get_fields(self, request: HttpRequest, obj: Subscriber | None = None) -> Any:
        if obj is None:
            return ["name", "learner", "all_learners", "kinds"]
        return [
            "name", "learner", "all_learners", "kinds_shown", "token_begin",
            "last_seq", "lag", "last_seen_at", "must_start_over", "created_at", "revoked_at", "erased_learner_id",
        ]  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Subscriber | None = None) -> Any:
        return [name for name in self.get_fields(request, obj) if name != "name"] if obj else []

    def get_queryset(self, request: HttpRequest) -> Any:
        state = FeedState.objects.all()
        subscribers: QuerySet[Any] = super().get_queryset(request)
        return subscribers.alias(
            head=Coalesce(Subquery(state.values("last_seq")[:1]), 0),
            floor=Coalesce(Subquery(state.values("tombstone_floor")[:1]), 0),
            reach=Greatest("last_seq", "scan_head"),
        ).annotate(
            places_behind=F("head") - F("last_seq"),
            # As publish_status() says it: its cursor is older than the oldest tombstone that is kept.
            fell_behind=Case(
                When(last_seen_at__isnull=False, reach__lt=F("floor"), then=Value(True)), default=Value(False)
            ),
        )

    @admin.display(description=_("lag"), ordering="places_behind")
    def lag(self, subscriber: Any) -> int:
        """How many places of the feed it has yet to pass."""
        return int(subscriber.places_behind)

    @admin.display(description=_("last seen"), ordering="last_seen_at")
    def last_seen(self, subscriber: Subscriber) -> Any:
        if subscriber.last_seen_at is None:
            return _("never")
        return format_html(gettext("{} ago"), shown_age(subscriber.last_seen_at))

    @admin.display(description=_("must start over"))
    def must_start_over(self, subscriber: Any) -> Any:
        return _("yes") if subscriber.fell_behind else "–"

    @admin.display(description=_("kinds"))
    def kinds_shown(self, subscriber: Subscriber) -> str:
        return ", ".join(subscriber.kinds) or str(_("all"))

    @admin.display(description=_("token"))
    def token_begin(self, subscriber: Subscriber) -> str:
        return f"{subscriber.token_prefix}…"

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=[name for name in form.changed_data if name == "name"])
            return
        learner = form.cleaned_data["learner"]
        created, token = create_subscriber(
            name=form.cleaned_data["name"],
            learner_id=learner.pk if learner else None,
            all_learners=form.cleaned_data["all_learners"],
            kinds=form.cleaned_data["kinds"],
        )
        obj.pk = created.pk
        obj.refresh_from_db()
        obj.new_token = token

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """The token, in the answer itself: a message would be stored, and travel, until the next page shows it."""
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("The token of %s") % obj.name,
            "opts": self.opts,
            "subscriber": obj,
            "token": obj.new_token,
        }
        return TemplateResponse(request, "publish/new_token.html", context)

    def has_delete_permission(self, request: HttpRequest, obj: Subscriber | None = None) -> bool:
        # First revoked, then deleted: no click takes away a token in use and the record of it at once.
        revoked = obj is not None and obj.revoked_at is not None
        return revoked and super().has_delete_permission(request, obj)

    @admin.action(permissions=["change"], description=_("Revoke the token of the selected subscribers"))
    def revoke(self, request: HttpRequest, queryset: QuerySet[Subscriber]) -> None:
        keys = list(queryset.order_by().values_list("pk", flat=True))
        count = revoke(Subscriber.objects.filter(pk__in=keys))
        self.message_user(request, ngettext("%d token revoked.", "%d tokens revoked.", count) % count, messages.SUCCESS)
