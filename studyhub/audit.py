"""For `make lint`: known vulnerabilities of what an installation runs on, where pip-audit can reach whom it asks."""

import subprocess
import sys
from typing import Final

import httpx

from studyhub.licences import CONSTRAINTS, REQUIREMENTS, direct_requirements

# Whom pip-audit asks, whatever index the packages were installed from.
SOURCE: Final = "https://pypi.org/pypi"
WITHIN_SECONDS = 5.0


def main() -> int:
    """Returns the exit code: 1 where a vulnerability is known, and 0 where nobody could be asked."""
    if not answers(SOURCE):
        sys.stdout.write(f"Not checked for known vulnerabilities: {SOURCE} cannot be reached, or does not know them.\n")
        return 0
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--disable-pip", "--no-deps"]
    command += ["--requirement", str(REQUIREMENTS), "--requirement", str(CONSTRAINTS)]
    return subprocess.run(command, check=False).returncode  # noqa: S603 (our own arguments)


def answers(source: str) -> bool:
    """Whether it says of a version which vulnerabilities it has. A mirror of packages alone does not, and pip-audit
    would take that for good news."""
    one = next(direct_requirements())
    try:
        answer = httpx.get(f"{source}/{one.name}/{str(one.specifier).strip('=')}/json", timeout=WITHIN_SECONDS)
        return answer.status_code == httpx.codes.OK and "vulnerabilities" in answer.json()
    except (httpx.HTTPError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(main())
