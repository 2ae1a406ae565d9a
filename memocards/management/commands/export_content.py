import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kit.progress import Progress
from memocards.errors import DomainError
from memocards.exporting import CONTENT_FORMATS, export_content, live_topics, replacing
from memocards.models import Topic


class Command(BaseCommand):
    help = (
        "Writes the cards of topics, or their questions, as CSV, TSV or JSON Lines, in UTF-8: what import_cards and "
        "import_questions read again. Every text comes back exactly as it is: the column `markup` says `exact` of each "
        "row. A row without an external id gets a name by which an import into this hub, or into a restored copy of "
        "it, finds the row again; for any other hub it is an id like others."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("topics", nargs="+", metavar="TOPIC")
        parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
        parser.add_argument("--questions", action="store_true", help="the questions (default: the cards)")
        parser.add_argument("--format", choices=CONTENT_FORMATS, help="default: by FILE's extension, else jsonl")
        parser.add_argument("--waiting", action="store_true", help="with what waits for review too")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path | None = options["output"]
        chosen = options["format"] or (path.suffix.lower().removeprefix(".") if path else "jsonl")
        if chosen not in CONTENT_FORMATS:
            raise CommandError(f"{path} does not end in .csv, .tsv or .jsonl. Name the format with --format.")
        try:
            topics = live_topics(options["topics"])
        except DomainError as error:
            raise CommandError(str(error)) from error
        wanted = {"format": chosen, "questions": options["questions"], "waiting": options["waiting"]}
        if path is None:
            _to_standard_output(topics, **wanted)
            return
        try:
            with (
                replacing(path) as beside,
                beside.open("w", encoding="utf-8", newline="") as out,
                Progress(path.name, total=None, unit="rows", stream=self.stderr) as bar,
            ):
                count = export_content(topics, out, **wanted, on_written=bar.advance)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
        self.stdout.write(f"{path}: {count:,} rows.")


def _to_standard_output(topics: Sequence[Topic], **wanted: Any) -> None:
    try:
        # Not sys.stdout itself: the terminal's encoding may lack a letter, and Python would try again at its exit to
        # write what could not be written.
        with open(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as out:
            export_content(topics, out, **wanted)
    except BrokenPipeError:
        # Whoever reads has seen enough, which manage.py knows how to end.
        raise
    except OSError as error:
        raise CommandError(f"Standard output cannot be written: {error.strerror}.") from error
