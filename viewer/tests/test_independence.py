"""The viewer stands alone: it imports nothing of the hub, and its migrations nothing of itself."""

import ast
from pathlib import Path

import pytest
from django.core.management import call_command

PACKAGE = Path(__file__).resolve().parents[1]


def imported_by(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return modules


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_of_the_hub_is_imported(path: Path) -> None:
    assert not {name for name in imported_by(path) if name.split(".")[0] in {"studyhub", "memocards", "publish"}}


def test_migrations_import_no_application_code() -> None:
    for path in (PACKAGE / "migrations").glob("0*.py"):
        assert {name.split(".")[0] for name in imported_by(path)} == {"django"}


@pytest.mark.django_db
def test_every_change_of_a_model_has_its_migration() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
