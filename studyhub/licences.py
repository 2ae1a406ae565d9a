"""The licences of what runs in an installation: `make licences` after a change of requirements.txt.

It follows requirements.txt through what is installed, and writes into docs/licences.md which packages that brings,
under which licences, as they state them themselves. Their versions stand in constraints.txt, which uv writes.
"""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
REQUIREMENTS: Final = ROOT / "requirements.txt"
CONSTRAINTS: Final = ROOT / "constraints.txt"
LICENCES: Final = ROOT / "docs" / "licences.md"
BEGIN, END = "<!-- packages -->", "<!-- end of packages -->"

# LGPL and MPL ask something of whoever changes the package itself, and nothing of a program that imports it.
ALLOWED: Final = {
    "Apache-2.0",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "LGPL-3.0-only",
    "MIT",
    "MPL-2.0",
    "PSF-2.0",
}
_BY_CLASSIFIER: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


class Package(NamedTuple):
    name: str
    version: str
    licence: str  # an SPDX expression, or BSD where the package does not say which; empty: it states none we know

    @property
    def is_allowed(self) -> bool:
        alternatives = self.licence.split(" OR ")
        return any(set(alternative.split(" AND ")) <= ALLOWED for alternative in alternatives)


def installed_packages() -> list[Package]:
    """Everything that requirements.txt brings here, by name. Raises PackageNotFoundError where it is not installed."""
    extras: dict[NormalizedName, set[str]] = {}
    open_requirements = list(direct_requirements())
    while open_requirements:
        requirement = open_requirements.pop()
        name = canonicalize_name(requirement.name)
        # Without an extra, markers are asked with an empty one.
        new = ({""} | requirement.extras) - extras.setdefault(name, set())
        extras[name] |= new
        for text in metadata.requires(name) or []:
            further = Requirement(text)
            if any(further.marker is None or further.marker.evaluate({"extra": extra}) for extra in new):
                open_requirements.append(further)
    return [Package(name, metadata.version(name), licence_of(metadata.metadata(name))) for name in sorted(extras)]


def direct_requirements() -> Iterator[Requirement]:
    for line in REQUIREMENTS.read_text().splitlines():
        if line and not line.startswith(("#", "-")):
            yield Requirement(line)


def licence_of(package: metadata.PackageMetadata) -> str:
    """By the first of three places that a packager may have filled, and that says something a program can read."""
    for field in ("License-Expression", "License"):
        try:
            return canonicalize_license_expression(package.get(field, ""))  # type: ignore[attr-defined]
        except InvalidLicenseExpression:
            continue
    names = {text.rsplit(" :: ", 1)[-1] for text in package.get_all("Classifier") or [] if text.startswith("License")}
    names -= {"OSI Approved"}
    # One that is not known here makes the whole unknown.
    return " AND ".join(sorted(_BY_CLASSIFIER[name] for name in names)) if names <= set(_BY_CLASSIFIER) else ""


def as_table(packages: list[Package]) -> str:
    rows = [f"| {package.name} | {package.version} | {package.licence} |\n" for package in packages]
    return "| package | version | licence |\n| --- | --- | --- |\n" + "".join(rows)


def table_of(document: str) -> str:
    """The generated part of docs/licences.md."""
    return document.partition(f"{BEGIN}\n")[2].partition(END)[0]


def main() -> int:
    """Returns the exit code: 1 where a licence is not among those allowed."""
    packages = installed_packages()
    document = LICENCES.read_text()
    LICENCES.write_text(document.replace(table_of(document), as_table(packages)))
    refused = [package for package in packages if not package.is_allowed]
    for package in refused:
        sys.stderr.write(
            f"{package.name} {package.version} is under {package.licence or 'no licence that is known here'}. "
            "Do without it, or allow its licence in studyhub/licences.py.\n"
        )
    sys.stdout.write(f"{len(packages)} packages in docs/licences.md, {len(refused)} of them not allowed.\n")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
