"""The pile that waits for review, and who looks at which row of it: two reviewers never get the same one at once.

A claim is two columns of the row, who and until when. It is taken with SKIP LOCKED, so nobody waits for anybody, and
it lapses by itself: no job clears it up. A page renews it while its reviewer works. Nothing of a claim is published,
so claiming is no touch, and enqueues nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import DateTimeField, ExpressionWrapper, Q, QuerySet, Value
from django.db.models.functions import Now
from django.utils import timezone

from kit.transactions import in_transaction
from memocards.content.versions import with_versions
from memocards.models import MemoCard, Question, Topic
from memocards.states import NOBODYS, WAITING, Item, State, state_of

CLAIM_LASTS: Final = timedelta(minutes=5)
# So many sources and authors are offered to filter the pile by.
OFFERED: Final = 100

# The name in a row's key, which is that in the feed's catalogue, and the model.
MODELS: Final[Mapping[str, type[Item]]] = {"question": Question, "card": MemoCard}


@dataclass(frozen=True, order=True)
class Key:
    """Names a row of the pile, as `card-17`."""

    kind: str
    pk: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.pk}"

    @classmethod
    def parse(cls, text: str) -> "Key | None":
        kind, _dash, number = text.partition("-")
        if kind in MODELS and number.isascii() and number.isdigit() and len(number) < 19:
            return cls(kind, int(number))
        return None

    @classmethod
    def of(cls, item: Item) -> "Key":
        return cls("question" if isinstance(item, Question) else "card", item.pk)

    @property
    def model(self) -> type[Item]:
        return MODELS[self.kind]


@dataclass(frozen=True)
class Pile:
    """Which part of what waits. None, and an empty source: all."""

    kinds: tuple[str, ...] = tuple(MODELS)
    topic_id: int | None = None
    source: str = ""
    author_id: int | None = None

    @property
    def where(self) -> Q:
        where = WAITING
        if self.topic_id is not None:
            where &= Q(topic_id=self.topic_id)
        if self.source:
            where &= Q(source=self.source)
        if self.author_id is not None:
            where &= Q(author_id=self.author_id)
        return where


@in_transaction
def claim(pile: Pile, *, reviewer_id: int, count: int = 1, besides: Collection[Key] = ()) -> list[Item]:
    """The next rows of the pile, at most `count`: questions before cards, the oldest first, none that another reviewer
    holds. Two statements for each kind that is looked at.

    What this reviewer held already comes again, and is renewed; `besides` is left out. Each row has its topic and its
    author.
    """
    items: list[Item] = []
    for kind in pile.kinds:
        if len(items) == count:
            break
        without = [key.pk for key in besides if key.kind == kind]
        free = Q(claimed_until__isnull=True) | Q(claimed_until__lt=Now()) | Q(claimed_by_id=reviewer_id)
        rows = (
            _base(MODELS[kind])
            .filter(pile.where & free)
            .exclude(pk__in=without)
            .annotate(lasts_until=_lasts_until())
            .order_by("pk")
            .select_for_update(no_key=True, skip_locked=True, of=("self",))
        )
        free_rows = list(rows[: count - len(items)])
        if free_rows:
            _hold(MODELS[kind], free_rows, reviewer_id, free_rows[0].lasts_until)
        items += free_rows
    return items


@in_transaction
def claim_one(key: Key, *, reviewer_id: int) -> Item | None:
    """This very row, held for the reviewer; None where it no longer waits, or somebody else has it."""
    item = lock_item(key)
    if item is None or state_of(item) != State.WAITING or held_by_another(item, reviewer_id=reviewer_id):
        return None
    until = key.model._base_manager.filter(pk=key.pk).values_list(_lasts_until(), flat=True).get()
    _hold(key.model, [item], reviewer_id, until)
    return item


@in_transaction
def renew(keys: Collection[Key], *, reviewer_id: int) -> list[Key]:
    """Hold these rows for longer. Returns those that are still this reviewer's to review, in order."""
    held: list[Key] = []
    for kind, model in MODELS.items():
        wanted = [key.pk for key in keys if key.kind == kind]
        if not wanted:
            continue
        rows = (
            _base(model)
            .filter(WAITING, pk__in=wanted, claimed_by_id=reviewer_id)
            .annotate(lasts_until=_lasts_until())
            .order_by("pk")
            .select_for_update(no_key=True, of=("self",))
        )
        kept = list(rows)
        if kept:
            _hold(model, kept, reviewer_id, kept[0].lasts_until)
        held += [Key(kind, row.pk) for row in kept]
    return held


@in_transaction
def release(keys: Collection[Key], *, reviewer_id: int) -> None:
    """Give these rows back to the pile, where this reviewer holds them."""
    for kind, model in MODELS.items():
        wanted = [key.pk for key in keys if key.kind == kind]
        if wanted:
            held = model._base_manager.filter(pk__in=wanted, claimed_by_id=reviewer_id).order_by("pk")
            pinned = list(held.select_for_update(no_key=True).values_list("pk", flat=True))
            model._base_manager.filter(pk__in=pinned).update(**NOBODYS)


def lock_item(key: Key) -> Item | None:
    """The row with its version, its topic and the names of its people, locked until the transaction ends."""
    rows = with_versions(_base(key.model).filter(pk=key.pk))
    return rows.order_by("pk").select_for_update(no_key=True, of=("self",)).first()


def held_by_another(item: Item, *, reviewer_id: int) -> bool:
    """Whether another reviewer has this row before them now."""
    return (
        item.claimed_by_id not in {None, reviewer_id}
        and item.claimed_until is not None
        and item.claimed_until > timezone.now()
    )


def left_in(pile: Pile) -> int:
    """How many rows wait, claimed or not; one statement."""
    counted = [_counted(kind, pile) for kind in pile.kinds]
    return counted[0].union(*counted[1:], all=True).count() if counted else 0


@dataclass(frozen=True)
class Offered:
    """What the pile can be filtered by: of what waits, the topics, the sources, the authors (primary key and name)."""

    topics: list[tuple[int, str]]
    sources: list[str]
    authors: list[tuple[int, str]]


def offered(kinds: Collection[str]) -> Offered:
    """One statement for each kind and column."""
    waiting: list[QuerySet[Any]] = [MODELS[kind]._base_manager.filter(WAITING).order_by() for kind in kinds]
    topics = {key for rows in waiting for key in rows.values_list("topic_id", flat=True).distinct()}
    sources = {text for rows in waiting for text in rows.exclude(source="").values_list("source", flat=True).distinct()}
    authors = {
        pair
        for rows in waiting
        for pair in rows.exclude(author=None).values_list("author_id", "author__username").distinct()
    }
    return Offered(
        topics=list(Topic.objects.filter(pk__in=topics).values_list("pk", "name")),
        sources=sorted(sources)[:OFFERED],
        authors=sorted(authors, key=lambda pair: pair[1])[:OFFERED],
    )


def _base(model: type[Item]) -> QuerySet[Any]:
    people = ("author", "claimed_by", "reviewed_by", "sent_back_by")
    return model._base_manager.select_related("topic", *people)


def _counted(kind: str, pile: Pile) -> QuerySet[Any]:
    return MODELS[kind]._base_manager.filter(pile.where).order_by().values_list("pk")


def _lasts_until() -> Any:
    # By the database's clock, which all servers of the hub share.
    return ExpressionWrapper(Now() + Value(CLAIM_LASTS), output_field=DateTimeField())


def _hold(model: type[Item], rows: Sequence[Any], reviewer_id: int, until: datetime) -> None:
    model._base_manager.filter(pk__in=[row.pk for row in rows]).update(claimed_by_id=reviewer_id, claimed_until=until)
    for row in rows:
        row.claimed_by_id, row.claimed_until = reviewer_id, until
