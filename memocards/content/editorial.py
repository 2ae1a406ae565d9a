"""What an editor does to questions and cards, each operation written once: one transaction that locks, writes, notes in
the history who did what, and enqueues.

`questions.py` and `cards.py` say what differs. Deleting or un-approving a row leaves learners' progress alone: readers
join it away, and re-approval restores it.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from django.db import IntegrityError
from django.db.models import Q
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from kit.transactions import in_transaction
from memocards.content import history
from memocards.content.editors import Editor
from memocards.content.topics import lock_with_topic, require_open_topics
from memocards.content.versions import VOUCHED_FOR, lock_as_read
from memocards.errors import Conflict, Invalid
from memocards.models import MemoCard, Question
from memocards.states import (
    APPROVED,
    DELETED,
    INTO_THE_PILE,
    LIVE,
    NEVER_SENT_BACK,
    UNAPPROVED,
    WITHOUT_APPROVAL,
    approving,
    sending_back,
    unapproving,
)
from memocards.writing import lock_keys, refusal, save_valid, update_rows
from publish.keys import among

R = TypeVar("R", Question, MemoCard)

REASON_LIMIT = 500


class Editorial(ABC, Generic[R]):
    """The operations on the rows of one model. `keys` are primary keys; what returns keys returns those that changed,
    in a constant number of statements, however many rows there are."""

    model: type[R]
    # What whoever edits a deleted row is told.
    deleted_sentence: ClassVar[Promise]

    @abstractmethod
    def enqueue(self, *rows: int | R) -> int:
        """Publish the present state of these rows."""

    @abstractmethod
    def waits_at_first(self, editor: Editor) -> bool:
        """Whether a new row of this editor waits for review, if nothing is said about it."""

    @in_transaction
    def create(self, *, topic_id: int, editor: Editor, needs_review: bool | None = None, **fields: Any) -> R:
        """A new row, whose author is the editor.

        Raises NotFound for the topic, Invalid, Conflict; PermissionDenied where it is not to wait for review, and its
        editor may not approve it.
        """
        require_open_topics([topic_id])
        if needs_review is None:
            needs_review = self.waits_at_first(editor)
        if not needs_review:
            editor.require_approval(self.model)
        row = self.model(topic_id=topic_id, author_id=editor.user_id)
        save_valid(row, {**self._completed(fields, new=True), "needs_review": needs_review})
        self._after_creation(row)
        history.log_addition(row, editor=editor)
        self.enqueue(row)
        return row

    @in_transaction
    def update(self, *, key: int, changes: Mapping[str, Any], editor: Editor) -> R:
        """Change some columns. Raises NotFound, Invalid, Conflict.

        A row that was sent back to its author waits for a reviewer again. So does an approved one of which learners
        would see something else, unless the editor may approve it.
        """
        row = lock_with_topic(self.model, key, changes)
        if row.deleted_at:
            raise Conflict(str(self.deleted_sentence))
        changes = self._completed(changes, new=False)
        edited = [column for column, value in changes.items() if getattr(row, column) != value]
        unapproved = (
            not row.needs_review
            and not editor.may_approve(self.model)
            and not VOUCHED_FOR[self.model].isdisjoint(edited)
        )
        if unapproved:
            changes = {**changes, **WITHOUT_APPROVAL, "unapproved_at": timezone.now()}
        elif changes and row.sent_back_at:
            changes = {**changes, **INTO_THE_PILE}
        save_valid(row, changes)
        self._after_edit(row, edited)
        # Last, so that an entry is never older than what it tells of.
        history.log_edit(row, edited, editor=editor, unapproved=unapproved)
        self.enqueue(row)
        return row

    @in_transaction
    def approve(self, *, versions: Mapping[int, str], editor: Editor) -> list[int]:
        """Let these rows be seen as they were read: primary key → the version that the reviewer had before them.

        Raises ChangedSince where one that waits is another by now, whoever changed it; then none is approved. Raises
        PermissionDenied.
        """
        editor.require_approval(self.model)
        keys = lock_as_read(self.model, versions, LIVE & UNAPPROVED)
        return self._write(keys, approving(editor.user_id, timezone.now()), history.APPROVED, editor)

    def unapprove(
        self, *, keys: Collection[int], editor: Editor, event: history.Event = history.UNAPPROVED
    ) -> list[int]:
        """Let these rows wait for review again; learners no longer see them. Raises PermissionDenied."""
        editor.require_approval(self.model)
        return self._change(keys, APPROVED, unapproving(timezone.now()), event, editor)

    def send_back(self, *, keys: Collection[int], reason: str, editor: Editor) -> list[int]:
        """Return these rows to their authors, who read the reason; learners no longer see them.

        They leave the reviewers' pile until they are edited. Raises Invalid, PermissionDenied.
        """
        editor.require_approval(self.model)
        reason = reason.strip()
        if not reason or len(reason) > REASON_LIMIT or "\0" in reason:
            raise Invalid({"reason": [_("Say in 1 to 500 characters what is to be mended.")]})
        changes = sending_back(reason, editor.user_id, timezone.now())
        return self._change(keys, LIVE, changes, history.SENT_BACK, editor, reason=reason)

    def take_back(self, *, keys: Collection[int], editor: Editor) -> list[int]:
        """Undo a sending back: these rows wait for a reviewer again. Raises PermissionDenied."""
        editor.require_approval(self.model)
        return self._change(keys, Q(sent_back_at__isnull=False), NEVER_SENT_BACK, history.UNDONE, editor)

    @in_transaction
    def move(self, *, keys: Collection[int], topic_id: int, editor: Editor) -> list[int]:
        """Put these rows under another topic.

        Those that are approved wait for a reviewer again, unless the editor may approve them. Raises NotFound; Conflict
        where the topic is deleted, or has a row of the same external id.
        """
        (topic,) = require_open_topics([topic_id])
        elsewhere = LIVE & ~Q(topic_id=topic_id)
        changes = {"topic_id": topic_id, **self._without_approval(editor)}
        changed = self._change(keys, elsewhere, changes, history.MOVED, editor, topic=topic.name)
        self._after_move(changed, topic_id)
        return changed

    def delete(self, *, keys: Collection[int], editor: Editor) -> list[int]:
        """Delete softly."""
        return self._change(keys, LIVE, {"deleted_at": timezone.now()}, history.DELETED, editor)

    @in_transaction
    def restore(self, *, keys: Collection[int], editor: Editor, event: history.Event = history.RESTORED) -> list[int]:
        """Undelete. Raises Conflict where a topic is deleted."""
        rows = self.model._base_manager.filter(among(keys)).order_by()
        topics = list(rows.values_list("topic_id", flat=True).distinct())
        require_open_topics(topics)
        # One that was moved meanwhile stays deleted: its new topic was not looked at.
        return self._change(keys, DELETED & Q(topic_id__in=topics), {"deleted_at": None}, event, editor)

    # What differs

    def _completed(self, fields: Mapping[str, Any], *, new: bool) -> Mapping[str, Any]:
        """These values with what follows from them."""
        return fields

    def _after_creation(self, row: R) -> None:
        """What a new row brings about."""

    def _after_edit(self, row: R, edited: Collection[str]) -> None:
        """What an edit of these columns brings about."""

    def _after_move(self, keys: list[int], topic_id: int) -> None:
        """What moves along."""

    # What they are made of

    def _without_approval(self, editor: Editor) -> dict[str, Any]:
        """What a change by this editor writes besides, where learners would see something else of every row."""
        return {} if editor.may_approve(self.model) else unapproving(timezone.now())

    @in_transaction
    def _change(
        self,
        keys: Collection[int],
        where: Q,
        changes: Mapping[str, Any],
        event: history.Event,
        editor: Editor,
        **parameters: str,
    ) -> list[int]:
        """Lock those of these rows that match, and write. Afterwards their keys alone still name them: `where` may no
        longer match."""
        return self._write(lock_keys(self.model, among(keys) & where), changes, event, editor, **parameters)

    def _write(
        self, keys: list[int], changes: Mapping[str, Any], event: history.Event, editor: Editor, **parameters: str
    ) -> list[int]:
        try:
            update_rows(self.model, keys, changes)
        except IntegrityError as error:
            raise refusal(self.model, error) from error
        history.log_event(self.model, keys, event, editor=editor, **parameters)
        self.enqueue(*keys)
        return keys
