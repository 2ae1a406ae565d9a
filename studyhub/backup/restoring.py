"""A backup becomes the hub's database: filled and checked under another name, then renamed in one transaction."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from django.core.management import call_command
from django.core.management.base import OutputWrapper
from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

import studyhub
from kit.progress import Progress
from publish.kinds import CATALOGUE
from publish.retention import new_feed_epoch
from publish.verify import compare, one_snapshot
from studyhub.backup import programs
from studyhub.backup.contents import contents, tables
from studyhub.backup.databases import Databases, default_connection_to
from studyhub.backup.ending import undisturbed
from studyhub.backup.errors import BackupError
from studyhub.backup.manifest import Manifest, check_files, read_manifest
from studyhub.backup.ratings import MissingRatings, missing_ratings
from studyhub.backup.uploads import put_staged_uploads_in_place, stage_uploads
from studyhub.postgres_programs import Program, client_program

# Rows that came after the backup are gone, but viewers may hold ratings of them: nobody may get their keys again.
KEYS_SKIPPED: Final = 1_000_000

_SEQUENCES = "SELECT schemaname || '.' || sequencename, last_value FROM pg_sequences WHERE last_value IS NOT NULL"
_SKIP_KEYS = """
WITH former AS (SELECT key, value::bigint AS last_value FROM jsonb_each_text(%s))
SELECT setval(
    format('%%I.%%I', schemaname, sequencename)::regclass,
    least(max_value, greatest(present.last_value, former.last_value, 0) + %s)
) FROM pg_sequences AS present LEFT JOIN former ON former.key = schemaname || '.' || sequencename
"""


@dataclass(frozen=True)
class Restored:
    """What a restore did.

    `replaced`: the name under which the former database is kept, if it held anything. `missing`: what that one knew and
    the backup does not; None where it cannot be read.
    """

    manifest: Manifest
    migrations: int
    epoch: UUID
    compared: int
    drifted: int
    uploads: int
    replaced: str | None
    missing: MissingRatings | None


class _Former(NamedTuple):
    """What there was. Only catalogues are looked at, so that a database with damaged tables can be replaced."""

    tables: int
    sequences: dict[str, int]


def restore_backup(directory: Path, *, replace: bool, stream: OutputWrapper) -> Restored:
    """Put a backup in the place of the hub's database, which must be empty unless `replace`. Progress goes to `stream`.

    Until the last step, which is one transaction, the hub's database stays as it was, whatever happens. Raises
    BackupError.
    """
    manifest = read_manifest(directory)
    _refuse_unknown_migrations(directory, manifest)
    with Progress("Checking", total=manifest.size, unit="bytes", stream=stream) as progress:
        check_files(directory, manifest, progress.advance)
    with Databases(connection.settings_dict["NAME"]) as databases:
        databases.refuse_without_rights()
        databases.refuse_while_connected()
        program = _program(databases.major, manifest)
        former = _former(databases)
        if former.tables and not replace:
            raise BackupError(
                f"The database {databases.name} is not empty: it has {former.tables} tables. With --replace the backup "
                "takes its place, and it is kept under another name."
            )
        try:
            databases.make_restoring()
            with default_connection_to(databases.restoring):
                _load(program, directory, manifest, stream)
                migrations = _migrate()
                _skip_keys(former)
                epoch = new_feed_epoch()
                compared, drifted = _verify(stream)
            uploads = stage_uploads(directory, manifest)
            databases.refuse_while_connected()  # somebody may have come meanwhile
            with undisturbed():
                replaced, missing = _swap(databases, former)
                put_staged_uploads_in_place(manifest)
        except BaseException:
            with contextlib.suppress(Error):  # the server may be what is gone
                databases.drop(databases.restoring)
            raise
    return Restored(manifest, migrations, epoch, compared, drifted, uploads, replaced, missing)


def _refuse_unknown_migrations(directory: Path, manifest: Manifest) -> None:
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations or {}}
    unknown = [name for name in manifest.migrations if name not in known]
    if unknown:
        raise BackupError(
            f"The backup in {directory} was written by a newer StudyHub ({manifest.studyhub}; this is "
            f"{studyhub.__version__}): its database has the migrations {', '.join(unknown)}, which are not known here. "
            "Nothing was touched. Update StudyHub first."
        )


def _program(server: int, manifest: Manifest) -> Program:
    if manifest.server_major > server:
        raise BackupError(
            f"The backup is of a PostgreSQL {manifest.postgresql}, and the hub's server is PostgreSQL {server}. "
            f"Nothing was touched. Restore it into PostgreSQL {manifest.server_major} or newer."
        )
    return client_program("pg_restore", at_least=max(server, manifest.pg_dump_major))


def _former(databases: Databases) -> _Former:
    if not databases.exists(databases.name):
        return _Former(0, {})
    with connection.temporary_connection() as cursor:
        cursor.execute(_SEQUENCES)
        return _Former(sequences=dict(cursor.fetchall()), tables=len(tables()))


def _swap(databases: Databases, former: _Former) -> tuple[str | None, MissingRatings | None]:
    """The last step. Returns under which name the former database is kept, if it held anything, and what it knew."""
    replaced, missing = databases.swap(), None
    if replaced and not former.tables:
        databases.drop(replaced)
        replaced = None
    elif replaced:
        with contextlib.suppress(Error):
            missing = missing_ratings(replaced=replaced, restored=databases.name)
    return replaced, missing


def _load(program: Program, directory: Path, manifest: Manifest, stream: OutputWrapper) -> None:
    """Fill the default connection's database, and compare what it then holds with what the manifest says."""
    with Progress("Restore", total=sum(manifest.rows.values()), unit="rows", stream=stream) as progress:
        name = connection.settings_dict["NAME"]
        programs.load(program, directory, database=name, rows=manifest.rows, progress=progress)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with one_snapshot():
        present = contents()
    for what, restored, written in [
        ("rows", present.rows, manifest.rows),
        ("migrations", present.migrations, manifest.migrations),
        ("place of the feed", present.feed, manifest.feed),
    ]:
        if restored != written:
            raise BackupError(
                f"The backup in {directory} is damaged: the {what} of the restored database are not those of the "
                f"manifest ({restored}, not {written}). The hub's database was not touched. Use another backup."
            )


def _migrate() -> int:
    """Bring an older backup up to this StudyHub. Returns how many migrations that took."""
    before = len(MigrationRecorder(connection).applied_migrations())
    call_command("migrate", verbosity=0, interactive=False)
    return len(MigrationRecorder(connection).applied_migrations()) - before


def _skip_keys(former: _Former) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SKIP_KEYS, [json.dumps(former.sequences), KEYS_SKIPPED])


def _verify(stream: OutputWrapper) -> tuple[int, int]:
    """How many keys of the feed were compared with their sources, and how many of them are wrong."""
    compared = drifted = 0
    with Progress("Verifying", total=None, unit="rows", stream=stream) as progress, one_snapshot():
        for kind in CATALOGUE.values():
            for page in compare(kind):
                compared, drifted = compared + page.rows, drifted + len(page.drift)
                progress.advance(page.rows)
    return compared, drifted
