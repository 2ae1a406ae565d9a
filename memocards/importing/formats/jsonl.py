"""JSON Lines: one object a line."""

import json
from collections.abc import Iterator
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from memocards.importing.formats.columns import names_of
from memocards.importing.formats.decoding import lines, undecoded
from memocards.importing.formats.empty_rows import EmptyRows
from memocards.importing.formats.format import Format, OpenFile, Sample
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import BadRow, RawItem, Record, Skipped, at_line

_EXTENSIONS: Final = (".jsonl", ".ndjson")
_MOST_KEYS_NAMED: Final = 100


def records(file: OpenFile) -> Iterator[RawItem]:
    """The rows of the file."""
    names = names_of(file.kind)
    ignored: set[str] = set()
    empty = EmptyRows(file.name)
    text = lines(file)
    try:
        for line, written in enumerate(text, start=1):
            if not written.strip():
                empty.add()
                continue
            place = at_line(line)
            row = _object(written)
            if isinstance(row, str):
                yield BadRow(line, place, row)
                continue
            for key in row.keys() - names.keys() - ignored:
                if len(ignored) < _MOST_KEYS_NAMED:
                    ignored.add(key)
                    yield Skipped("column", key)
            # The first of several names for one value wins, as in a table.
            values = {names[key]: row[key] for key in reversed(list(names)) if row.get(key) is not None}
            yield Record(line, place, values)
    finally:
        text.close()


def _object(written: str) -> dict[str, Any] | str:
    """The object that is written here, or a sentence about why there is none."""
    if problem := undecoded(written):
        return problem
    try:
        value = json.loads(written, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        reason = _("This is not valid JSON: %(error)s at column %(column)s.")
        return reason % {"error": error.msg, "column": f"{error.colno:,}"}
    except (ValueError, RecursionError):
        return _("This is not valid JSON: a number or a nesting that JSON does not allow.")
    if isinstance(value, list):
        return _("This is a list. JSON Lines has one object a line, without a list around them.")
    if not isinstance(value, dict):
        return _('This is not a JSON object, such as {"front": "…", "back": "…"}.')
    return value


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _is_jsonl(sample: Sample) -> bool:
    """Raises UnreadableFile for one JSON list, which people take for JSON Lines."""
    if sample.text[:1] == "[" and sample.extension in {"", *_EXTENSIONS}:
        raise UnreadableFile(sample.name, _("This is one JSON list. Write JSON Lines instead: one object a line."))
    # A text of Anki's may well begin with a brace: cloze deletions do.
    return sample.text[:1] == "{" and sample.extension != ".txt"


JSONL: Final = Format(
    name="jsonl",
    title=gettext_lazy("JSON Lines"),
    extensions=_EXTENSIONS,
    sniff=_is_jsonl,
    records=records,
)
