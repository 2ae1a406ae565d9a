"""The texts of the back office and their translations: `python -m studyhub.catalogue` after a text was changed.

It reads every wrapped text out of the hub's code and templates, keeps the translations that are there, drops those of
texts that are gone, and writes the .po for translators and the .mo for Django. It replaces GNU gettext, which not every
machine has. Babel is needed here only, never by a running hub.
"""

import ast
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.text import capfirst
from django.utils.translation.template import templatize

ROOT: Final = Path(__file__).resolve().parent.parent
READ: Final = ("kit", "memocards", "publish", "studyhub")
PO: Final = ROOT / "locale" / "ko" / "LC_MESSAGES" / "django.po"
MO: Final = PO.with_suffix(".mo")

# Function → what its arguments are, by Babel's notation: c is the context, a number the place of a text.
_PLAIN: Final[Mapping[str, Any]] = {
    "gettext": (1,),
    "gettext_noop": (1,),
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
FUNCTIONS: Final[Mapping[str, Any]] = {**_PLAIN, **{f"{name}_lazy": spec for name, spec in _PLAIN.items()}}
_NEVER_READ: Final = {"migrations", "locale", "static", "__pycache__"}


class Catalogue(Catalog):
    """Babel's catalogue with a header that says nothing of when and by what it was written."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        return [
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Transfer-Encoding", "8bit"),
            ("Language", "ko"),
            ("Plural-Forms", self.plural_forms),
        ]


def extracted() -> Catalogue:
    """Every wrapped text of the hub, without translations."""
    texts = Catalogue(locale="ko", header_comment="# What the hub's pages say, in Korean.", fuzzy=False)
    for path in sources():
        where = path.relative_to(ROOT).as_posix()
        for text, context in texts_in(path.read_text("utf-8"), path.suffix):
            texts.add(text, locations=[(where, 0)], context=context)
    return texts


def sources() -> list[Path]:
    """The hub's modules and templates, in a stable order."""
    paths = (path for room in READ for path in (ROOT / room).rglob("*") if path.suffix in {".py", ".html"})
    return sorted(path for path in paths if not _NEVER_READ & set(path.parts))


def texts_in(source: str, suffix: str) -> list[tuple[Any, str | None]]:
    """The wrapped texts of a .py or .html file, each with its context; one with a plural as a pair."""
    if suffix == ".html":
        # As code, a line of a template may begin anywhere.
        code = "\n".join(line.strip() for line in templatize(source).splitlines())
        names: Mapping[str, Any] = {**FUNCTIONS, "_": FUNCTIONS["gettext"]}
    else:
        code, names = source, names_in(source)
    messages = extract("python", io.BytesIO(code.encode()), names, options={"encoding": "utf-8"})
    return [(text, context) for _line, text, _comments, context in messages]


def names_in(source: str) -> dict[str, Any]:
    """The functions by the names under which a module imports them: `gettext as now`."""
    return {
        alias.asname or alias.name: FUNCTIONS[alias.name]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in FUNCTIONS
    }


def kept() -> Catalog:
    """The translations as they are."""
    with PO.open("rb") as file:
        return read_po(file, locale="ko", domain="django")


def merged(texts: Catalogue, translations: Catalog) -> Catalogue:
    """The texts with those of the translations that are theirs; an empty one where there is none."""
    for message in texts:
        known = translations.get(message.id, message.context) if message.id else None
        if known is not None and isinstance(known.string, str) != message.pluralizable:
            message.string = known.string
    return texts


def untranslated(catalogue: Catalog) -> list[Message]:
    return [message for message in catalogue if message.id and not all(_strings(message) or [""])]


def as_po(catalogue: Catalogue) -> bytes:
    written = io.BytesIO()
    # By file and without line numbers: a diff shows the texts that changed and nothing else.
    write_po(written, catalogue, width=120, include_lineno=False, sort_by_file=True)
    return written.getvalue()


def as_mo(catalogue: Catalogue) -> bytes:
    """What models call their fields is there with a capital too: so Django keeps it in a row's history, to translate it
    when that is shown."""
    complete = Catalogue(locale="ko", fuzzy=False)
    for message in catalogue:
        if message.id:
            complete.add(message.id, message.string, context=message.context)
    for message in catalogue:
        label = capfirst(message.id) if isinstance(message.id, str) else ""
        if _is_of_a_model(message) and label and complete.get(label) is None:
            complete.add(label, message.string)
    written = io.BytesIO()
    write_mo(written, complete)
    return written.getvalue()


def main() -> int:
    catalogue = merged(extracted(), kept() if PO.exists() else Catalog())
    PO.parent.mkdir(parents=True, exist_ok=True)
    PO.write_bytes(as_po(catalogue))
    MO.write_bytes(as_mo(catalogue))
    missing = untranslated(catalogue)
    sys.stdout.write(f"{len(catalogue)} texts in {PO.relative_to(ROOT)}, {len(missing)} of them without translation.\n")
    return 1 if missing else 0


def _is_of_a_model(message: Message) -> bool:
    return any(where.endswith("/models.py") for where, _line in message.locations)


def _strings(message: Message) -> tuple[str, ...]:
    return tuple(message.string or ()) if message.pluralizable else (str(message.string or ""),)


if __name__ == "__main__":
    sys.exit(main())
