"""Memo cards, with their tags, and with the progress rows that know their topic."""

from collections.abc import Collection, Sequence
from typing import Final

from django.db.models import F, Func, Q, Value
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from memocards.content import history
from memocards.content.editorial import Editorial
from memocards.content.editors import Editor
from memocards.errors import Invalid
from memocards.models import CardProgress, MemoCard
from memocards.states import LIVE
from memocards.writing import lock_keys
from publish.keys import among
from publish.services import enqueue_card_progress_publish, enqueue_card_publish

TAG_LIMIT = 100


class Cards(Editorial[MemoCard]):
    model = MemoCard
    deleted_sentence = gettext_lazy("This card is deleted. Restore it first.")

    def enqueue(self, *rows: int | MemoCard) -> int:
        return enqueue_card_publish(*rows)

    def waits_at_first(self, editor: Editor) -> bool:
        """A new card waits for review, whoever wrote it."""
        return True

    def tag(
        self, *, keys: Collection[int], add: Sequence[str] = (), remove: Sequence[str] = (), editor: Editor
    ) -> list[int]:
        """Add tags to these cards, behind those they have, and take tags away.

        Those that are approved and change wait for a reviewer again, unless the editor may approve them. Raises
        Invalid.
        """
        for tag in add:
            if not tag.strip() or len(tag) > TAG_LIMIT or "\0" in tag:
                raise Invalid({"tags": [_("A tag has 1 to 100 characters.")]})
        tags = MemoCard._meta.get_field("tags")
        kept = _Without(F("tags"), Value(list(remove), output_field=tags), output_field=tags)
        new = _Without(Value(list(dict.fromkeys(add)), output_field=tags), F("tags"), output_field=tags)
        where = Q(tags__overlap=list(remove)) if remove else Q(pk__in=[])
        if add:
            where |= ~Q(tags__contains=list(add))
        changes = {"tags": Func(kept, new, function="array_cat"), **self._without_approval(editor)}
        return self._change(keys, LIVE & where, changes, history.TAGGED, editor, tags=change_of_tags(add, remove))

    def _after_edit(self, card: MemoCard, edited: Collection[str]) -> None:
        if "topic_id" in edited:
            self._after_move([card.pk], card.topic_id)

    def _after_move(self, keys: list[int], topic_id: int) -> None:
        """The progress rows name the topic of their card."""
        if keys:
            rows = lock_keys(CardProgress, among(keys, "card"))
            CardProgress.objects.filter(among(rows)).update(topic_id=topic_id, updated_at=timezone.now())
            enqueue_card_progress_publish(*rows)


def change_of_tags(add: Sequence[str], remove: Sequence[str]) -> str:
    """What was done to tags, in a line."""
    return ", ".join([*(f"+{tag}" for tag in add), *(f"−{tag}" for tag in remove)])


class _Without(Func):
    """(texts, others) → those of the texts that are not among the others, in their order."""

    template = "ARRAY(SELECT text FROM unnest(%(expressions)s) ORDER BY place)"
    arg_joiner = ") WITH ORDINALITY AS given(text, place) WHERE text <> ALL ("
    arity = 2


cards: Final = Cards()
