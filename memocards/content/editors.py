"""Who acts on content: whoever changes it says so, and whether learners may see it without another's approval."""

from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import PermissionDenied

from memocards.models import MemoCard, Question
from memocards.states import Item


@dataclass(frozen=True)
class Editor:
    """`user_id`: in whose name the history is written; None for a machine, which has no history.

    `approves`: the models whose rows learners see as this editor leaves them. What anybody else changes of an approved
    row waits for a reviewer again.
    """

    user_id: int | None
    approves: frozenset[type[Item]] = frozenset()

    def may_approve(self, model: type[Item]) -> bool:
        return model in self.approves

    def require_approval(self, model: type[Item]) -> None:
        """Raises PermissionDenied for an editor who may not approve rows of this model."""
        if not self.may_approve(model):
            raise PermissionDenied


def editor_for(user: Any) -> Editor:
    """A user as an editor, by their permissions."""
    approves = [model for model in (Question, MemoCard) if user.has_perm(f"memocards.approve_{model._meta.model_name}")]
    return Editor(user.pk, frozenset(approves))


# Sample content, and whatever else no person does.
SYSTEM: Final = Editor(None, frozenset({Question, MemoCard}))
