"""Anki's packages, .apkg and .colpkg: a ZIP archive around a collection, in one of three containers.

The newest container in a package is the one to read: a newer package also holds a dummy collection in an older
container, for programs that know no other.
"""

import json
import tempfile
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import zstandard
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from memocards.exchange.markup import Markup
from memocards.importing.formats.anki import collection as anki_collection
from memocards.importing.formats.anki.wire import fields, text_field
from memocards.importing.formats.archives import MOST_MEMBERS, is_bomb, open_archive, require_harmless, unpack
from memocards.importing.formats.format import Format, OpenFile
from memocards.importing.limits import MEBIBYTE
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import RawItem, RowKind, Skipped

COLLECTIONS: Final = ("collection.anki21b", "collection.anki21", "collection.anki2")
_MOST_BYTES: Final = 4096 * MEBIBYTE
_MOST_MEDIA_BYTES: Final = 16 * MEBIBYTE
_CHUNK: Final = MEBIBYTE
NO_QUESTIONS: Final = gettext_lazy("Anki's files hold cards, not questions. Import them as cards.")


def records(file: OpenFile) -> Iterator[RawItem]:
    """The cards of the package, and its media as skipped."""
    with tempfile.TemporaryDirectory(prefix="studyhub-import-") as folder:
        path = Path(folder) / "collection"
        with open_archive(file.stream, file.name) as archive:
            yield from (Skipped("media", media) for media in _media(archive, file.name))
            _unpack_collection(archive, path, file.name)
        yield from anki_collection.records(path, file.name)


def _unpack_collection(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    member = next((member for member in COLLECTIONS if member in archive.namelist()), None)
    if member is None:
        raise UnreadableFile(name, _("This archive holds no Anki collection."))
    require_harmless(archive, [member], name, most_bytes=_MOST_BYTES)
    if member != COLLECTIONS[0]:
        unpack(archive, member, path)
        return
    written = 0
    packed = archive.getinfo(member).compress_size
    with path.open("wb") as sink:
        for chunk in _decompressed(archive, member, name):
            written += len(chunk)
            if is_bomb(written, packed) or written > _MOST_BYTES:
                raise UnreadableFile(
                    name,
                    _("%(member)s unpacks from %(packed)s to over %(written)s bytes. It is a ZIP bomb, or too much.")
                    % {"member": member, "packed": f"{packed:,}", "written": f"{written:,}"},
                )
            sink.write(chunk)


def _decompressed(archive: zipfile.ZipFile, member: str, name: str) -> Iterator[bytes]:
    try:
        with archive.open(member) as packed, zstandard.ZstdDecompressor().stream_reader(packed) as reader:
            while chunk := reader.read(_CHUNK):
                yield chunk
    except zstandard.ZstdError as error:
        raise UnreadableFile(
            name, _("%(member)s is damaged or cut off: %(error)s.") % {"member": member, "error": error}
        ) from error


def _media(archive: zipfile.ZipFile, name: str) -> list[str]:
    """The names of the package's media, by its list, in either of the two forms."""
    if "media" not in archive.namelist():
        return []
    require_harmless(archive, ["media"], name, most_bytes=_MOST_MEDIA_BYTES)
    listed = archive.read("media")
    try:
        if listed.startswith(b"\x28\xb5\x2f\xfd"):
            plain = zstandard.ZstdDecompressor().stream_reader(listed).read(_MOST_MEDIA_BYTES)
            entries = (entry for number, entry in fields(plain) if number == 1 and isinstance(entry, bytes))
            return _few([text_field(entry, 1) for entry in islice(entries, MOST_MEMBERS + 1)], name)
        if not listed.strip() or listed[:1] != b"{":
            return []
        return _few([str(media) for media in json.loads(listed).values()], name)
    except (ValueError, RecursionError, zstandard.ZstdError) as error:
        raise UnreadableFile(name, _("The package's list of media cannot be read: %s.") % error) from error


def _few(media: list[str], name: str) -> list[str]:
    """These names. Raises UnreadableFile where they are more than a package can have files."""
    if len(media) > MOST_MEMBERS:
        reason = _("The package's list of media has more than %s entries.")
        raise UnreadableFile(name, reason % f"{MOST_MEMBERS:,}")
    return media


ANKI: Final = Format(
    name="anki",
    title=gettext_lazy("Anki package"),
    extensions=(".apkg", ".colpkg"),
    sniff=lambda sample: not sample.members.isdisjoint(COLLECTIONS),
    records=records,
    kinds=frozenset({RowKind.CARD}),
    wrong_kind=NO_QUESTIONS,
    markup=Markup.HTML,
    is_text=False,
    has_guids=True,
)
