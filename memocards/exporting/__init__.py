"""Export: topics as an Anki package, with a learner's scheduling, and content as CSV, TSV or JSON Lines."""

from memocards.exporting.anki import AnkiExport, export_anki
from memocards.exporting.content import CONTENT_FORMATS, export_content
from memocards.exporting.replacing import replacing
from memocards.exporting.selection import live_topics

__all__ = ["CONTENT_FORMATS", "AnkiExport", "export_anki", "export_content", "live_topics", "replacing"]
