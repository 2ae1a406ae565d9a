"""What the two import commands have in common."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, ClassVar

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from memocards.errors import DomainError
from memocards.importing.decoding import known_encoding
from memocards.importing.reading import Reading, read
from memocards.importing.refusals import BadRows, TopicMissing, UnknownTopics
from memocards.importing.reports import Report
from memocards.importing.rows import BadRow, Kind
from memocards.importing.storing import preview, store
from publish.management.progress import Progress

_MOST_SHOWN = 50
_MOST_NAMED = 10


class ImportCommand(BaseCommand):
    """Reads a file of one kind and stores it, with a progress bar. See store()."""

    kind: ClassVar[Kind]
    formats: ClassVar[list[str]]

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
        parser.add_argument("--format", choices=self.formats, help="instead of guessing by content and extension")
        parser.add_argument(
            "--encoding", type=known_encoding, metavar="NAME", help="of a text without a byte order mark (utf-8)"
        )
        parser.add_argument(
            "--html", action="store_true", help="the texts are HTML (default: Markdown; Anki's are HTML)"
        )
        parser.add_argument("--author", metavar="USERNAME", help="whose rows the new ones are")
        parser.add_argument("--skip-bad", action="store_true", help="import the good rows where others are bad")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            rows = read(
                options["file"],
                options["format"],
                kind=self.kind,
                encoding=options["encoding"],
                html=options["html"],
            )
            report = self._preview(rows, options) if options["dry_run"] else self._store(rows, options)
        except BadRows as error:
            self._list_bad(error.file, error.listed, error.count)
            raise CommandError(f"{str(error).removesuffix('.')} with --skip-bad.") from error
        except UnknownTopics as error:
            raise CommandError(f"{error} That is what --topic and --create-topics are for.") from error
        except TopicMissing as error:
            raise CommandError(f"{error} That is what --topic is for.") from error
        except DomainError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt as error:
            raise CommandError("Stopped. Nothing was imported.") from error
        self._list_bad(report.file, report.bad_rows, report.bad)
        self._say(report, dry=options["dry_run"])

    def _store(self, rows: Reading, options: dict[str, Any]) -> Report:
        with Progress(rows.name, total=rows.about(), unit="rows", stream=self.stderr) as bar:
            return store(
                rows,
                topic=options["topic"],
                create_topics=options["create_topics"],
                skip_bad=options["skip_bad"],
                author_id=_author_id(options["author"]),
                on_read=bar.advance,
            )

    def _preview(self, rows: Reading, options: dict[str, Any]) -> Report:
        with Progress(rows.name, total=rows.about(), unit="rows", stream=self.stderr) as bar:
            seen = preview(rows, topic=options["topic"], most=_MOST_SHOWN, on_read=bar.advance)
        for difference in seen.differences:
            sign = "+" if difference.before is None else "~"
            self.stdout.write(f"{sign} {difference.place}, {difference.external_id}")
            for name, value in difference.after.items():
                if difference.before is None:
                    continue
                if (before := difference.before[name]) != value:
                    self.stdout.write(f"    {name}: {_short(before)} → {_short(value)}")
        return seen.report

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


def _author_id(username: str | None) -> int | None:
    if username is None:
        return None
    key = get_user_model()._default_manager.filter(username=username).values_list("pk", flat=True).first()
    if key is None:
        raise CommandError(f"There is no user {username!r}.")
    return int(key)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "…"
