"""An Anki package: a deck for each topic, a note for each card, and on request a learner's scheduling.

genanki writes decks and notes; it knows no scheduling, which is written into its database afterwards. Guids are stable,
so that importing a newer package into Anki updates the notes that are there.
"""

import itertools
import json
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import genanki
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from memocards.exchange.guids import own_guid
from memocards.exporting.anki_scheduling import write_scheduling
from memocards.exporting.replacing import replacing
from memocards.exporting.selection import AT_ONCE, cards_of
from memocards.markup.to_html import as_html, without_controls
from memocards.models import LearnerSettings, MemoCard, Topic

# Drawn once. Anki knows a note type by its id, so these never change.
_NOTE_TYPE: Final = 1_764_120_913
_NOTE_TYPE_NAME: Final = "StudyHub"
_STYLE: Final = (
    ".card { font-family: sans-serif; font-size: 20px; line-height: 1.5; text-align: start; max-width: 40em;"
    " margin: 0 auto; padding: 1em; } pre { overflow-x: auto; } table { border-collapse: collapse; }"
    " th, td { border: 1px solid; padding: 0.2em 0.5em; }"
)


@dataclass(frozen=True)
class AnkiExport:
    """How much was written. `scheduled`: cards with the learner's progress."""

    notes: int
    scheduled: int
    reviews: int


def export_anki(
    topics: Sequence[Topic],
    path: Path,
    *,
    learner: LearnerSettings | None = None,
    waiting: bool = False,
    on_written: Callable[[int], None] = lambda count: None,
) -> AnkiExport:
    """Write the live cards of these topics to `path`, which is replaced when all of it is written.

    `learner`: with that learner's scheduling and review history. `waiting`: with the cards that wait for review too.
    A card's guid is its external id, and without one made from its key.
    """
    with tempfile.TemporaryDirectory(prefix="studyhub-export-") as folder:
        collection = Path(folder) / "collection.anki2"
        with closing(sqlite3.connect(collection)) as database:
            card_ids = _write_notes(database, topics, waiting=waiting, on_written=on_written)
            scheduled = reviews = 0
            if learner is not None:
                scheduled, reviews = write_scheduling(database, card_ids, topics, learner)
            database.commit()
        _pack(collection, path)
    return AnkiExport(len(card_ids), scheduled, reviews)


def guid_of(card: MemoCard, *, is_taken: bool) -> str:
    """The name under which Anki knows this card, for good.

    An external id is unique in its topic only. Where several topics have the same, the oldest card keeps it bare, so
    that a card which is added later never changes the guid of one that was exported before.
    """
    if card.external_id and not is_taken:
        return card.external_id
    return own_guid(card)


def _write_notes(
    database: sqlite3.Connection, topics: Sequence[Topic], *, waiting: bool, on_written: Callable[[int], None]
) -> dict[int, int]:
    """Decks and notes. Returns, for each card's primary key, its id in Anki."""
    note_type = _note_type()
    decks = [_deck(topic, note_type) for topic in topics]
    ids = itertools.count(int(timezone.now().timestamp() * 1000))
    cursor = database.cursor()
    genanki.Package(decks).write_to_db(cursor, 0, ids)
    card_ids: dict[int, int] = {}
    for topic, deck in zip(topics, decks, strict=True):
        cards = cards_of(topic, waiting=waiting)
        taken = _taken(cards)
        for card in cards.iterator(AT_ONCE):
            note = genanki.Note(
                model=note_type,
                fields=[as_html(card.front), as_html(card.back)],
                # Anki parts tags by blanks.
                tags=["_".join(without_controls(tag).split()) for tag in card.tags],
                guid=guid_of(card, is_taken=card.pk in taken),
                due=len(card_ids) + 1,
            )
            # Anki updates a note that it has if the package's was changed later: so it gets the time of the change.
            note.write_to_db(cursor, card.updated_at.timestamp(), deck.deck_id, ids)
            card_ids[card.pk] = cursor.lastrowid or 0
            on_written(1)
    return card_ids


def _taken(cards: QuerySet[MemoCard]) -> set[int]:
    """Those of these cards whose external id an older card of another topic has."""
    older = MemoCard.objects.filter(external_id=OuterRef("external_id"), pk__lt=OuterRef("pk")).exclude(external_id="")
    # As a condition, PostgreSQL makes a join of it; as a column, it would search the whole table for each card.
    return set(cards.filter(Exists(older)).values_list("pk", flat=True))


def _deck(topic: Topic, note_type: genanki.Model) -> genanki.Deck:
    # From key and time of creation: a renamed topic stays the same deck, and another hub's is another.
    number = int.from_bytes(genanki.guid_for("studyhub", topic.pk, topic.created_at.isoformat()).encode()[:5])
    deck = genanki.Deck((1 << 41) + number, without_controls(topic.name), as_html(topic.description))
    deck.add_model(note_type)
    return deck


def _note_type() -> genanki.Model:
    return genanki.Model(
        _NOTE_TYPE,
        _NOTE_TYPE_NAME,
        fields=[{"name": "Front"}, {"name": "Back"}],
        templates=[
            {
                "name": "Card 1",
                "qfmt": '<div dir="auto">{{Front}}</div>',
                "afmt": '{{FrontSide}}<hr id=answer><div dir="auto">{{Back}}</div>',
            }
        ],
        css=_STYLE,
    )


def _pack(collection: Path, path: Path) -> None:
    with replacing(path) as name, zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(collection, "collection.anki2")
        archive.writestr("media", json.dumps({}))
