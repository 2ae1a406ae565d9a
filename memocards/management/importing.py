"""What the two import commands have in common."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, ClassVar

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from kit.progress import Progress
from memocards.content.editors import SYSTEM, Editor
from memocards.errors import DomainError
from memocards.importing.formats.archives import ARCHIVE_START
from memocards.importing.formats.decoding import known_encoding
from memocards.importing.formats.table import formats_of
from memocards.importing.limits import MEBIBYTE, LimitReached, Limits
from memocards.importing.reading_apart import read_apart
from memocards.importing.refusals import BadRows, TopicMissing, UnknownTopics
from memocards.importing.reports import Report
from memocards.importing.rows import BadRow, RowKind
from memocards.importing.scratch import scratch_directory
from memocards.importing.spool import Spool
from memocards.importing.storing import preview, require_topic, store

# Whoever runs commands may well give them more than a page gets; still, no file takes the machine.
LIMITS = Limits(
    processor_seconds=3600,
    seconds=2 * 3600,
    memory=2048 * MEBIBYTE,
    disk=4096 * MEBIBYTE,
    text=4096 * MEBIBYTE,
    rows=None,
)
LIMITS_HELP = (
    "The file is read in a process of its own, which may compute for an hour, run for two, and take 2 GiB of memory "
    "and 4 GiB of disk below DATA_DIR/imports; a file that takes more is refused."
)
_COUNTED = 1024 * 1024
_MOST_SHOWN = 50
_MOST_NAMED = 10


def extensions_of(kind: RowKind) -> str:
    """The extensions of all files that hold rows of this kind, for a command's help."""
    return ", ".join(extension for format in formats_of(kind) for extension in format.extensions)


class ImportCommand(BaseCommand):
    """Reads a file of one kind and stores it, with a progress bar. See store()."""

    kind: ClassVar[RowKind]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--topic", metavar="NAME", help="where all rows go (default: where each row says)")
        parser.add_argument(
            "--create-topics",
            "--create-topic",
            action="store_true",
            dest="create_topics",
            help="create the topics that are missing, instead of refusing the file",
        )
        parser.add_argument(
            "--format",
            choices=[format.name for format in formats_of(self.kind)],
            help="instead of guessing by content and extension",
        )
        parser.add_argument(
            "--encoding", type=known_encoding, metavar="NAME", help="of a text without a byte order mark (utf-8)"
        )
        parser.add_argument(
            "--html", action="store_true", help="the texts are HTML (default: Markdown; Anki's are HTML)"
        )
        if self.kind is RowKind.QUESTION:
            parser.add_argument(
                "--answers-from", type=int, choices=[0, 1], default=1, help="the number of the first choice (1)"
            )
        parser.add_argument("--author", metavar="USERNAME", help="whose rows the new ones are")
        parser.add_argument("--skip-bad", action="store_true", help="import the good rows where others are bad")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            editor = _editor(options["author"])
            if options["topic"] is not None and not options["create_topics"] and not options["dry_run"]:
                require_topic(options["topic"])
            with scratch_directory() as directory:
                rows = self._read(options, directory / "rows")
                report = self._preview(rows, options) if options["dry_run"] else self._store(rows, options, editor)
        except BadRows as error:
            self._list_bad(error.file, error.listed, error.count)
            raise CommandError(f"{str(error).removesuffix('.')} with --skip-bad.") from error
        except UnknownTopics as error:
            raise CommandError(f"{error} That is what --topic and --create-topics are for.") from error
        except TopicMissing as error:
            raise CommandError(f"{error} That is what --topic is for.") from error
        except LimitReached as error:
            raise CommandError(f"{error} Nothing was imported. Split the file into several.") from error
        except DomainError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt as error:
            raise CommandError("Stopped. Nothing was imported.") from error
        self._list_bad(report.file, report.bad_rows, report.bad)
        self._say(report, dry=options["dry_run"])

    def _read(self, options: dict[str, Any], spool: Path) -> Spool:
        source: Path = options["file"]
        with Progress(source.name, total=_about_rows(source), unit="rows", stream=self.stderr) as bar:
            before = 0

            def advance(rows: int) -> None:
                nonlocal before
                bar.advance(rows - before)
                before = rows

            return read_apart(
                source,
                spool,
                limits=LIMITS,
                kind=self.kind,
                name=source.name,
                format=options["format"],
                encoding=options["encoding"],
                html=options["html"],
                answers_from=options.get("answers_from", 1),
                on_read=advance,
            )

    def _store(self, rows: Spool, options: dict[str, Any], editor: Editor) -> Report:
        with Progress(f"{rows.name} into the database", total=rows.count, unit="rows", stream=self.stderr) as bar:
            return store(
                rows,
                topic=options["topic"],
                create_topics=options["create_topics"],
                skip_bad=options["skip_bad"],
                editor=editor,
                on_read=bar.advance,
            )

    def _preview(self, rows: Spool, options: dict[str, Any]) -> Report:
        comparison = preview(rows, topic=options["topic"], most=_MOST_SHOWN)
        for difference in comparison.differences:
            sign = "+" if difference.before is None else "~"
            self.stdout.write(f"{sign} {difference.place}, {difference.external_id}")
            for name, value in difference.after.items():
                if difference.before is None:
                    continue
                if (before := difference.before[name]) != value:
                    self.stdout.write(f"    {name}: {_short(before)} → {_short(value)}")
        return comparison.report

    def _list_bad(self, file: str, rows: list[BadRow], count: int) -> None:
        for row in rows[:_MOST_SHOWN]:
            self.stderr.write(f"{file}, {row.place}: {row.reason}")
        if count > _MOST_SHOWN:
            self.stderr.write(f"… and {count - _MOST_SHOWN:,} more.")

    def _say(self, report: Report, *, dry: bool) -> None:
        would = "would be " if dry else ""
        self.stdout.write(
            f"{report.file}: {report.read:,} rows read; {report.new:,} {would}new, {report.changed:,} {would}changed, "
            f"{report.unchanged:,} unchanged."
        )
        for count, sentence in (
            (report.unapproved, f"{would}sent back to review, because they changed"),
            (report.deleted, "left alone, because they were deleted here"),
            (report.repeated, "left out, because they repeat an earlier row"),
            (report.bad, f"{would}skipped as bad"),
        ):
            if count:
                self.stdout.write(f"  {count:,} {sentence}.")
        for names, count, what in (
            (report.new_topics, len(report.new_topics), f"Topics {would}created"),
            (report.ignored_columns, len(report.ignored_columns), "Columns without a use"),
            (list(report.media), report.media_count, "Media left out"),
        ):
            if count:
                more = f" and {count - _MOST_NAMED:,} more" if count > _MOST_NAMED else ""
                self.stdout.write(f"  {what} ({count:,}): {', '.join(names[:_MOST_NAMED])}{more}.")


def _about_rows(path: Path) -> int | None:
    """For a progress bar: the lines of a text. None for an archive, or where there is nothing to count."""
    try:
        with path.open("rb") as file:
            if file.read(len(ARCHIVE_START)) == ARCHIVE_START:
                return None
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_COUNTED), b""))
    except OSError:
        return None


def _editor(username: str | None) -> Editor:
    if username is None:
        return SYSTEM
    key = get_user_model()._default_manager.filter(username=username).values_list("pk", flat=True).first()
    if key is None:
        raise CommandError(f"There is no user {username!r}.")
    return Editor(int(key))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "…"
