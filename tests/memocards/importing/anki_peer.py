"""Anki itself, as the peer of the tests of its formats. Run as a program of its own:

    anki_peer.py import COLLECTION PACKAGE    import a package, and print what the collection then holds
    anki_peer.py make FOLDER                  make a collection, and export it into FOLDER in every format

The package is imported by name, because it is not there on every machine.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

collection: Any = importlib.import_module("anki.collection")
messages: Any = importlib.import_module("anki.import_export_pb2")


def import_package(path: str, package: str) -> dict[str, Any]:
    col = collection.Collection(path)
    try:
        request = messages.ImportAnkiPackageRequest(
            package_path=package, options=messages.ImportAnkiPackageOptions(with_scheduling=True)
        )
        log = col.import_anki_package(request).log
        return {
            "log": {name: len(getattr(log, name)) for name in ("new", "updated", "duplicate", "conflicting")},
            "found": log.found_notes,
            "notes": _notes(col),
        }
    finally:
        col.close()


def make(folder: Path) -> dict[str, Any]:
    path = str(folder / "collection.anki2")
    col = collection.Collection(path)
    for deck, kind, fields, tags in (
        ("Geography", "Basic", ["Capital of <b>France</b>?", "Paris &amp; only Paris"], ["capital", "europe::west"]),
        ("Geography::Asia", "Basic", ["대한민국의 수도는?", "<ul><li>서울</li><li>Seoul</li></ul>"], []),
        ("Geography::Asia", "Basic (and reversed card)", ["Japan", "Tokyo"], ["capital"]),
        ("Geography", "Cloze", ["{{c1::Bern}} is the capital of {{c2::Switzerland::country}}.", "Not Zürich."], []),
        ("Geography", "Basic", ["<img src=flag.png>", "Norway [sound:anthem.mp3]"], []),
    ):
        note = col.new_note(col.models.by_name(kind))
        note.fields = fields
        note.tags = tags
        col.add_note(note, col.decks.id(deck))
    (folder / "flag.png").write_bytes(b"\x89PNG")
    col.media.add_file(str(folder / "flag.png"))
    notes = _notes(col)
    for name, legacy in (("new.apkg", False), ("old.apkg", True)):
        col.export_anki_package(
            out_path=str(folder / name),
            options=messages.ExportAnkiPackageOptions(with_media=True, with_scheduling=True, legacy=legacy),
            limit=None,
        )
    everything = {"limit": None, "with_html": True}
    col.export_note_csv(
        out_path=str(folder / "notes.txt"),
        with_tags=True,
        with_deck=True,
        with_notetype=True,
        with_guid=True,
        **everything,
    )
    col.export_card_csv(out_path=str(folder / "cards.txt"), **everything)
    for name, legacy in (("new.colpkg", False), ("old.colpkg", True)):
        col.export_collection_package(str(folder / name), include_media=True, legacy=legacy)
        col = collection.Collection(path)
    col.close()
    return {"notes": notes}


def _notes(col: Any) -> dict[str, Any]:
    return {note.guid: _note(col, note) for note in map(col.get_note, col.find_notes(""))}


def _note(col: Any, note: Any) -> dict[str, Any]:
    return {
        "fields": note.fields,
        "tags": note.tags,
        "kind": note.note_type()["name"],
        "cards": [_card(col, card) for card in note.cards()],
    }


def _card(col: Any, card: Any) -> dict[str, Any]:
    reviews = col.db.all("select id, ease, ivl, lastIvl, time, type from revlog where cid = ? order by id", card.id)
    memory = card.memory_state
    return {
        "deck": col.decks.name(card.did),
        "type": card.type,
        "queue": card.queue,
        **({"due_in": card.due - col.sched.today} if card.type == 2 else {}),
        "interval": card.ivl,
        "reviews": card.reps,
        "lapses": card.lapses,
        "stability": memory.stability if memory else None,
        "history": reviews,
    }


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    collection = import_package(*arguments) if command == "import" else make(Path(arguments[0]))
    json.dump(collection, sys.stdout)
