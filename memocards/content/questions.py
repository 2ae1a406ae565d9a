"""Questions, with the explanation that each carries."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from kit.transactions import in_transaction
from memocards.content import history
from memocards.content.editorial import Editorial
from memocards.content.editors import Editor
from memocards.errors import Invalid
from memocards.explaining import requesting
from memocards.models import ExplanationStatus, Question
from publish.services import enqueue_question_publish

# What an explanation explains: see requesting.content_of().
_EXPLAINED: Final = {"stem", "choices", "answer"}


class Questions(Editorial[Question]):
    """An explanation is written as a column is. A text is ready at once, and wins over one that is under way; an empty
    one withdraws what is there, or the request for it: a tombstone follows where it was published."""

    model = Question
    deleted_sentence = gettext_lazy("This question is deleted. Restore it first.")

    def enqueue(self, *rows: int | Question) -> int:
        return enqueue_question_publish(*rows)

    def waits_at_first(self, editor: Editor) -> bool:
        return not editor.may_approve(Question)

    def set_explanation(self, *, key: int, body: str, editor: Editor) -> Question:
        """Write an explanation. Raises NotFound, Conflict; Invalid for a blank one too."""
        if not body.strip():
            raise _blank()
        return self.update(key=key, changes={"explanation": body}, editor=editor)

    def clear_explanation(self, *, key: int, editor: Editor) -> Question:
        """Withdraw an explanation, or the request for one. Raises NotFound, Conflict."""
        return self.update(key=key, changes={"explanation": ""}, editor=editor)

    @in_transaction
    def request_explanation(self, *, key: int, editor: Editor) -> bool:
        """Have an explanation written: see requesting.request_explanation(). Returns whether it was asked for now."""
        is_asked = requesting.request_explanation(question_id=key)
        history.log_event(Question, [key] * is_asked, history.EXPLANATION_REQUESTED, editor=editor)
        return is_asked

    @in_transaction
    def request_explanations(self, *, keys: Collection[int], editor: Editor) -> list[int]:
        """Have explanations written: see requesting.request_explanations()."""
        asked = requesting.request_explanations(question_ids=keys)
        history.log_event(Question, asked, history.EXPLANATION_REQUESTED, editor=editor)
        return asked

    def _completed(self, fields: Mapping[str, Any], *, new: bool) -> Mapping[str, Any]:
        if new and not fields.get("explanation"):
            asks = requesting.endpoint_is_set() and "explanation_status" not in fields
            return {**fields, "explanation_status": ExplanationStatus.PENDING} if asks else fields
        if "explanation" not in fields:
            return fields
        body = fields["explanation"]
        if body and not body.strip():
            raise _blank()
        status = ExplanationStatus.READY if body else ExplanationStatus.NONE
        follows = {"explanation_status": status, "explanation_generator": "", "explanation_error": ""}
        return {**fields, **{name: value for name, value in follows.items() if name not in fields}}

    def _after_creation(self, question: Question) -> None:
        if question.explanation_status == ExplanationStatus.PENDING:
            requesting.defer([question.pk])

    def _after_edit(self, question: Question, edited: Collection[str]) -> None:
        if requesting.is_under_way(question) and not _EXPLAINED.isdisjoint(edited):
            # The answer to come would explain what no longer stands there.
            requesting.ask_for([question.pk])
            question.refresh_from_db()


def _blank() -> Invalid:
    return Invalid({"explanation": [_("An explanation may not be blank. To withdraw it, delete it.")]})


questions: Final = Questions()
