"""The table of formats: whatever is known of a format is known from its entry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management.base import CommandError

from memocards.admin.importing.forms import FileForm
from memocards.importing.formats import table
from memocards.importing.formats.decoding import lines
from memocards.importing.formats.format import Format, OpenFile
from memocards.importing.formats.table import FORMATS, formats_of
from memocards.importing.reading import read
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import RawItem, Record, RowKind, at_line
from memocards.importing.spool import Spool, SpoolWriter
from memocards.management.commands import import_cards, import_questions
from tests.memocards.importing.files import cards, write


def records(file: OpenFile) -> Iterator[RawItem]:
    """Another format, as somebody might add one: `front = back` in each line below `%pairs`."""
    for number, line in enumerate(lines(file), start=1):
        front, equals, back = line.partition("=")
        if equals:
            yield Record(number, at_line(number), {"front": front.strip(), "back": back.strip()})


PAIRS = Format(
    name="pairs",
    title="Pairs",
    extensions=(".pairs",),
    sniff=lambda sample: sample.text.startswith("%pairs"),
    records=records,
    kinds=frozenset({RowKind.CARD}),
    wrong_kind="Pairs hold cards.",
)


@pytest.fixture
def with_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that it takes beside the format itself: its line in the table."""
    monkeypatch.setattr(table, "FORMATS", (*FORMATS, PAIRS))


@pytest.mark.usefixtures("with_pairs")
@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("by content.csv", "%pairs\nSeoul = Korea\n", None),
        ("by extension.PAIRS", "Seoul = Korea\n", None),
        ("by name.csv", "Seoul = Korea\n", "pairs"),
    ],
)
def test_another_format_is_an_entry_in_the_table(tmp_path: Path, name: str, content: str, format: str | None) -> None:
    rows = read(write(tmp_path / name, content), format)
    assert rows.format is PAIRS
    (row,) = cards(list(rows))
    assert (row.front, row.back) == ("Seoul", "Korea")
    with (tmp_path / "spool").open("wb") as file:
        SpoolWriter(file, rows.name, rows.kind, rows.format).add(row)
    spool = Spool.opened(tmp_path / "spool", 1)
    assert (spool.format, list(spool)) == (PAIRS, [row])
    with pytest.raises(UnreadableFile, match=r"Pairs hold cards\."):
        read(tmp_path / name, format, kind=RowKind.QUESTION)


@pytest.mark.usefixtures("with_pairs")
def test_form_and_command_offer_another_format_for_the_rows_that_it_carries() -> None:
    for kind, is_offered in ((RowKind.CARD, True), (RowKind.QUESTION, False)):
        names, extensions = offered(kind)
        assert ("pairs" in names, ".pairs" in extensions) == (is_offered, is_offered)
    import_cards.Command().create_parser("manage.py", "import_cards").parse_args(["a", "--format", "pairs"])
    with pytest.raises(CommandError, match="invalid choice"):
        import_questions.Command().create_parser("manage.py", "import_questions").parse_args(["a", "--format", "pairs"])


def offered(kind: RowKind) -> tuple[list[str], str]:
    """The formats among which the form lets choose, and the files."""
    fields: dict[str, Any] = FileForm(kind=kind, user=User(is_superuser=True)).fields
    return [name for name, _title in fields["format"].choices], fields["import_file"].widget.attrs["accept"]


def test_what_anki_exports_is_offered_for_cards_alone() -> None:
    for_cards, for_questions = offered(RowKind.CARD), offered(RowKind.QUESTION)
    assert {"csv", "tsv", "xlsx", "jsonl"} <= set(for_questions[0]) <= set(for_cards[0])
    assert {".csv", ".tsv", ".tab", ".xlsx", ".jsonl", ".ndjson"} <= set(for_questions[1].split(","))
    assert {"anki", "anki-text"} <= set(for_cards[0]) - set(for_questions[0])
    assert {".apkg", ".colpkg", ".txt"} <= set(for_cards[1].split(",")) - set(for_questions[1].split(","))
    # Before all, that the content decides.
    assert for_cards[0][0] == for_questions[0][0] == ""


def test_entries_fit_together() -> None:
    extensions = [extension for format in FORMATS for extension in format.extensions]
    assert len(set(extensions)) == len(extensions)
    assert all(extension.startswith(".") and extension == extension.lower() for extension in extensions)
    assert len({format.name for format in FORMATS}) == len(FORMATS)
    # Whoever wants rows that a format does not carry is told so.
    assert all(format.wrong_kind for format in FORMATS if format not in formats_of(RowKind.QUESTION))
