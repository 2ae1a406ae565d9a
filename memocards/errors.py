"""What the services refuse: each error is a sentence for whoever asked, and knows what it is over HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from kit.problems import ProblemError


class DomainError(ProblemError):
    """The base of all refusals: `str(error)` is a sentence that says what to do.

    `review_id`: the answer that was refused, if it was one; a client tells by it what the refusal is about.
    """

    review_id: UUID | None = None

    def particulars(self) -> dict[str, Any]:
        return {} if self.review_id is None else {"review_id": str(self.review_id)}


class NotFound(DomainError):
    """What was named does not exist, or is not the asker's to see."""

    status, slug = 404, "not-found"

    def __init__(self, what: str, key: object) -> None:
        super().__init__(_("There is no %(what)s %(key)s.") % {"what": what, "key": key})


class Invalid(DomainError):
    """Fields that cannot be accepted: `fields` maps each to its sentences; `__all__` holds for the whole."""

    status, slug = 422, "invalid"

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self.fields = {name: list(messages) for name, messages in fields.items()}
        super().__init__(" ".join(message for messages in self.fields.values() for message in messages))

    def particulars(self) -> dict[str, Any]:
        return {"errors": self.fields, **super().particulars()}


class Conflict(DomainError):
    """The request is sound, but not with the present state."""

    status, slug = 409, "conflict"


class TopicHasContent(Conflict):
    slug = "topic-has-content"

    def __init__(self, questions: int, cards: int) -> None:
        super().__init__(
            _(
                "This topic still has %(questions)d questions and %(cards)d cards. "
                "Delete them first, or ask for cascade."
            )
            % {"questions": questions, "cards": cards}
        )


@dataclass(frozen=True)
class ChangedRow:
    """A row that is no longer as it was read. `fields`: column → its name on a page, of what changed."""

    key: int
    name: str
    fields: Mapping[str, str]

    def __str__(self) -> str:
        return f"“{self.name}” ({', '.join(self.fields.values())})" if self.fields else f"“{self.name}”"


class ChangedSince(Conflict):
    """Rows are no longer as they were read, so nothing was done to any."""

    slug = "changed-since-read"
    NAMED: Final = 10

    def __init__(self, rows: Sequence[ChangedRow]) -> None:
        self.rows = list(rows)
        names = ", ".join(map(str, self.rows[: self.NAMED])) + (" …" if len(self.rows) > self.NAMED else "")
        sentence = ngettext(
            "%(count)d row has changed since it was read, so nothing was done: %(names)s. Read it again.",
            "%(count)d rows have changed since they were read, so nothing was done: %(names)s. Read them again.",
            len(self.rows),
        )
        super().__init__(sentence % {"count": len(self.rows), "names": names})

    def particulars(self) -> dict[str, Any]:
        changed = [{"id": row.key, "fields": list(row.fields)} for row in self.rows]
        return {"changed": changed, **super().particulars()}


class PreconditionFailed(ChangedSince):
    """The same, of a request that names in If-Match what it is about."""

    status = 412


class WaitsForReview(Conflict):
    slug = "card-waits-for-review"

    def __init__(self) -> None:
        super().__init__(_("This card waits for review, so it cannot be rated yet."))


class ReviewIdReused(Conflict):
    slug = "review-id-reused"

    def __init__(self) -> None:
        super().__init__(_("This review_id was used for another review. Make a new one for each review."))


class CardDeleted(DomainError):
    """The card was there and is gone."""

    status, slug = 410, "card-deleted"

    def __init__(self, deleted_at: datetime) -> None:
        super().__init__(_("This card was deleted on %s.") % f"{deleted_at:%Y-%m-%d}")
