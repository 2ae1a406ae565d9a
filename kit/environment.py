"""Settings from the environment, read strictly: the one way in which hub and viewer read them.

A value that cannot be read stops the start with the variable's name and what it may be. Blanks around a value are
nobody's intention, and an empty one is as good as none.
"""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ
from django.core.exceptions import ImproperlyConfigured

_env = environ.Env()
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def text(name: str, default: str = "") -> str:
    """A text as it stands there: not by Env.str(), which takes one that begins with $ for another variable's name."""
    return _env.ENVIRON.get(name, "").strip() or default


def texts(name: str, default: str = "") -> list[str]:
    """Texts separated by commas, without empty ones."""
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def flag(name: str, *, default: bool) -> bool:
    value = text(name).lower()
    if value and value not in _TRUE | _FALSE:
        raise ImproperlyConfigured(f"{name} is {value!r}. It may be true or false.")
    return value in _TRUE if value else default


def whole_number(name: str, *, default: int, lowest: int, highest: int) -> int:
    value = text(name)
    if not value:
        return default
    if not value.isascii() or not value.isdigit() or not lowest <= int(value) <= highest:
        raise ImproperlyConfigured(f"{name} is {value!r}. It may be a whole number from {lowest} to {highest}.")
    return int(value)


def time_zone(name: str, default: str) -> str:
    value = text(name, default)
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ImproperlyConfigured(
            f"{name} is {value!r}. It may be a name of the time zone database, such as Asia/Seoul."
        ) from error
    return value


def address(value: str, schemes: Sequence[str]) -> SplitResult | None:
    """The parts of a URL that names a server by one of these schemes; None where it does not."""
    try:
        parts = urlsplit(value)
        names_a_server = parts.scheme in schemes and bool(parts.hostname or parts.path.strip("/")) and parts.port != 0
    except ValueError:  # a port or an address that there cannot be
        return None
    return parts if names_a_server else None


def database(url: str) -> dict[str, Any]:
    """What Django connects by, from a URL. Raises ValueError."""
    return dict(_env.db_url_config(url))


def open_private(path: Path, mode: str) -> IO[Any]:
    """open() for a file that its owner alone may read, from the moment at which it is there."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


def kept_secret_key(path: Path) -> str:
    """The secret key in this file, which is made on the first start. Raises ImproperlyConfigured."""
    try:
        if not path.exists():
            _make_secret_key(path)
        return path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"DATA_DIR is {str(path.parent)!r}, where the secret key cannot be kept: {error.strerror}. It may be a "
            "directory that is yours to write; a missing one is made."
        ) from error


def _make_secret_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with open_private(draft, "w") as file:
        file.write(secrets.token_urlsafe(50))
    try:
        # link, unlike rename, leaves the key of a process that was first.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
