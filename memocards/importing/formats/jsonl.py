"""JSON Lines: one object a line."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from django.utils.translation import gettext as _

from memocards.importing.formats.columns import names_of
from memocards.importing.formats.decoding import lines, undecoded
from memocards.importing.formats.empty_rows import EmptyRows
from memocards.importing.rows import BadRow, RawItem, Record, RowKind, Skipped, at_line

_MOST_KEYS_NAMED: Final = 100


def records(stream: BinaryIO, name: str, *, kind: RowKind, encoding: str | None) -> Iterator[RawItem]:
    """The rows of the file."""
    names = names_of(kind)
    ignored: set[str] = set()
    empty = EmptyRows(name)
    text = lines(stream, name, encoding=encoding)
    try:
        for line, written in enumerate(text, start=1):
            if not written.strip():
                empty.add()
                continue
            place = at_line(line)
            found = _object(written)
            if isinstance(found, str):
                yield BadRow(line, place, found)
                continue
            for key in found.keys() - names.keys() - ignored:
                if len(ignored) < _MOST_KEYS_NAMED:
                    ignored.add(key)
                    yield Skipped("column", key)
            # The first of several names for one value wins, as in a table.
            values = {names[key]: found[key] for key in reversed(list(names)) if found.get(key) is not None}
            yield Record(line, place, values)
    finally:
        text.close()


def _object(written: str) -> dict[str, Any] | str:
    """The object that is written here, or a sentence about why there is none."""
    if problem := undecoded(written):
        return problem
    try:
        found = json.loads(written, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        reason = _("This is not valid JSON: %(error)s at column %(column)s.")
        return reason % {"error": error.msg, "column": f"{error.colno:,}"}
    except (ValueError, RecursionError):
        return _("This is not valid JSON: a number or a nesting that JSON does not allow.")
    if isinstance(found, list):
        return _("This is a list. JSON Lines has one object a line, without a list around them.")
    if not isinstance(found, dict):
        return _('This is not a JSON object, such as {"front": "…", "back": "…"}.')
    return found


def _refuse(constant: str) -> None:
    raise ValueError(constant)
