"""Editors for tests: one who may approve nothing, and one who may approve everything."""

from memocards.content.editors import Editor
from memocards.models import MemoCard, Question

AUTHOR = Editor(None)


def reviewer(user_id: int | None) -> Editor:
    return Editor(user_id, frozenset({Question, MemoCard}))
