"""Who owns the directory, and what must be true of it before a server is started there."""

import contextlib
import hashlib
import logging
import os
import pwd
import stat
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from . import wheel
from .layout import SOCKET_NAME, Layout

ROOT = 0
SOCKET_PATH_BYTES = 100  # the kernel's limit is 107, PostgreSQL appends ".lock" to the name of another file
INSTEAD = "or set DATABASE_URL to a PostgreSQL server of your own"

logger = logging.getLogger(__name__)


def prepare(layout: Layout, installation: Path) -> tuple[int, int] | None:
    """Create and check the directory. Returns the uid and gid for the server when this process is root.

    PostgreSQL refuses to run as root. Then the server's user is the owner of the directory (or, while that
    does not exist, of the nearest parent that does); if that is root too, or has no name, which initdb wants:
    the system user `postgres`, else `nobody`, and the directory becomes that user's.

    Raises ImproperlyConfigured.
    """
    directory = layout.directory
    run_as = None
    try:
        if os.geteuid() == ROOT:
            run_as = _unprivileged_user(layout)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if run_as:
            _give(layout, run_as)
            for path in (directory, installation, wheel.shared_libraries(installation)):
                _let_pass(path, run_as)
            _let_read(installation, wheel.shared_libraries(installation))
        elif directory.stat().st_uid != os.geteuid():
            raise _belongs_to_another_user(directory)
        if stat.S_IMODE(directory.stat().st_mode) != 0o700:
            directory.chmod(0o700)
    except OSError as error:
        raise unusable(directory, error) from error
    check_version(layout)
    return run_as


def unusable(directory: Path, error: OSError) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"The database directory {directory} cannot be used: {error.strerror} ({error.filename}). "
        f"Make it writable, set DATA_DIR to a directory that is, {INSTEAD}."
    )


def check_version(layout: Layout) -> None:
    """Raises ImproperlyConfigured when the cluster is there but is not one for these programs."""
    if not layout.data.exists():
        return
    try:
        major = (layout.data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise ImproperlyConfigured(
            f"{layout.data} has no file PG_VERSION, so it is not a PostgreSQL data directory. "
            f"Move it away to start with an empty database, {INSTEAD}."
        ) from None
    except PermissionError:
        raise _belongs_to_another_user(layout.data) from None
    if major != wheel.MAJOR:
        raise ImproperlyConfigured(
            f"The database in {layout.data} was made by PostgreSQL {major}, and the installed programs are "
            f"PostgreSQL {wheel.MAJOR}. Run `manage.py backup DIR` with the StudyHub that made it, move "
            f"{layout.directory} away and run `manage.py restore DIR` with this one; or move it away to start with an "
            f"empty one; {INSTEAD}."
        )


def socket_directory(directory: Path) -> Path:
    """The directory itself, or one in /tmp when its path is too long for a socket.

    Raises ImproperlyConfigured.
    """
    # libpq reads a comma in a host as the end of the first of several
    if len(os.fsencode(directory / SOCKET_NAME)) <= SOCKET_PATH_BYTES and "," not in str(directory):
        return directory
    owner = directory.stat()
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    path = Path("/tmp") / f"studyhub-{owner.st_uid}-{digest}"  # noqa: S108 (its owner and mode are checked below)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        if os.geteuid() == ROOT:
            os.chown(path, owner.st_uid, owner.st_gid)
    status = path.lstat()
    if (status.st_mode, status.st_uid) != (stat.S_IFDIR | 0o700, owner.st_uid):
        raise ImproperlyConfigured(
            f"{path}, where the socket of the database in {directory} belongs, is not a directory that only "
            f"the owner of {directory} can open. Remove it, set DATA_DIR to a shorter path, {INSTEAD}."
        )
    return path


def _unprivileged_user(layout: Layout) -> tuple[int, int]:
    if layout.data.exists() and (owner := layout.data.stat()).st_uid != ROOT:
        return owner.st_uid, owner.st_gid
    existing = next(path for path in (layout.directory, *layout.directory.parents) if path.exists())
    owner = existing.stat()
    if owner.st_uid != ROOT:
        with contextlib.suppress(KeyError):
            pwd.getpwuid(owner.st_uid)
            return owner.st_uid, owner.st_gid
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return user.pw_uid, user.pw_gid
    raise ImproperlyConfigured(
        "PostgreSQL refuses to run as root, and this system has neither a user postgres nor a user nobody. "
        f"Create one of them, run StudyHub as another user than root, {INSTEAD}."
    )


def _give(layout: Layout, user: tuple[int, int]) -> None:
    """Make the directory the user's; what root left in it (a restored copy, say) as well."""
    if layout.directory.stat().st_uid == user[0]:
        return
    os.chown(layout.directory, *user)
    for parent, directories, files in os.walk(layout.directory):
        for name in (*directories, *files):
            os.chown(Path(parent) / name, *user, follow_symlinks=False)


def _let_pass(path: Path, user: tuple[int, int]) -> None:
    """Add the missing search bit, and nothing else, to the directories above a path, and say so."""
    for parent in path.parents:
        status = parent.stat()
        if user[0] == status.st_uid:
            bit = stat.S_IXUSR
        elif user[1] == status.st_gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            before = stat.S_IMODE(status.st_mode)
            parent.chmod(before | bit)
            logger.warning(
                "The mode of %s is now %04o instead of %04o: as root, StudyHub runs PostgreSQL as another user "
                "(uid %s), who must be able to pass through that directory, and cannot list or read it by this.",
                *(parent, before | bit, before, user[0]),
            )


def _let_read(*trees: Path) -> None:
    """Undo a umask of 077 for the wheel's public files, which another user than root could not run."""
    for tree in trees:
        if not tree.exists() or tree.stat().st_mode & stat.S_IROTH:
            continue
        for parent, _, files in os.walk(tree):
            for path in (Path(parent), *(Path(parent) / name for name in files)):
                mode = stat.S_IMODE(path.stat().st_mode)
                path.chmod(mode | (mode & 0o500) >> 6)


def _belongs_to_another_user(path: Path) -> ImproperlyConfigured:
    try:
        owner = pwd.getpwuid(path.stat().st_uid).pw_name
    except (KeyError, OSError):
        owner = "another user"
    return ImproperlyConfigured(
        f"The database directory {path} belongs to {owner}. Run StudyHub as {owner}, set DATA_DIR to a "
        f"directory of your own, {INSTEAD}."
    )
