"""Export: topics as an Anki package, with a learner's scheduling, and content as CSV, TSV or JSON Lines.

- selection.py: which topics, and which of their cards and questions.
- content.py: tables and JSON Lines, which import_cards and import_questions read again, exactly.
- anki.py: an Anki package; anki_scheduling.py: a learner's progress and reviews in it.
- replacing.py: the old file stays until the new one is complete.

Under which names rows are written stands in memocards.exchange, because an import must know them.
"""

from memocards.exporting.anki import AnkiExport, export_anki
from memocards.exporting.content import CONTENT_FORMATS, export_content
from memocards.exporting.replacing import replacing
from memocards.exporting.selection import live_topics

__all__ = ["CONTENT_FORMATS", "AnkiExport", "export_anki", "export_content", "live_topics", "replacing"]
