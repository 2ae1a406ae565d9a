"""Where an export is written: beside its place, until all of it is there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """What to write instead of `path`, and put there at the end: whoever looks finds the old file or the whole new one.

    A pipe or a device is written itself. Raises OSError.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve()
    beside = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    beside.touch(exist_ok=False)
    try:
        if target.exists():
            shutil.copymode(target, beside)
        yield beside
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
