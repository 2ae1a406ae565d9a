"""Import: files of cards and of questions, from strangers' programs, into the review pile.

    rows = read("geography.apkg")
    preview(rows, topic="Geography")   # what would change
    store(rows, topic="Geography")     # in one transaction

A row is known by its external id within its topic (Anki's guid; without one, made from the front), or by the name that
an export of this hub made for it. Importing a file again changes what changed in it and nothing else: an unchanged row
keeps its approval, a changed one goes back to review, a deleted one stays deleted, and no learner's progress is
touched.
"""

from memocards.importing.reading import Format, Reading, detect, read
from memocards.importing.refusals import BadRows, TopicMissing, UnknownTopics, UnreadableFile
from memocards.importing.reports import Difference, Preview, Report
from memocards.importing.rows import BadRow, CardRow, Item, Kind, Markup, QuestionRow, Row, Skipped
from memocards.importing.storing import preview, store

__all__ = [
    "BadRow",
    "BadRows",
    "CardRow",
    "Difference",
    "Format",
    "Item",
    "Kind",
    "Markup",
    "Preview",
    "QuestionRow",
    "Reading",
    "Report",
    "Row",
    "Skipped",
    "TopicMissing",
    "UnknownTopics",
    "UnreadableFile",
    "detect",
    "preview",
    "read",
    "store",
]
