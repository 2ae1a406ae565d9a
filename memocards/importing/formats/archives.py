"""ZIP archives from strangers: looked at before anything is unpacked, and unpacked with a limit."""

import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from django.utils.translation import gettext as _

from memocards.importing.limits import MEBIBYTE
from memocards.importing.refusals import UnreadableFile

# How every ZIP archive begins.
ARCHIVE_START: Final = b"PK"
# Bytes, and bytes unpacked for each packed one. No honest file is beyond both; a ZIP bomb has a ratio of about 1000.
_SUSPICIOUS_BYTES: Final = 32 * MEBIBYTE
_SUSPICIOUS_RATIO: Final = 200
# Several times as many as there are pictures and sounds in the largest decks that people share.
MOST_MEMBERS: Final = 250_000
_CHUNK: Final = MEBIBYTE
# The ways to pack that common programs use. Other ways would raise errors of their own each.
_PACKINGS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# What zipfile raises for an archive that is not whole, or in which a name is no text.
DAMAGED: Final = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, UnicodeDecodeError)


@contextmanager
def open_archive(stream: BinaryIO, name: str) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever turns out to be wrong with it while it is read is an UnreadableFile."""
    try:
        stream.seek(0)
        with zipfile.ZipFile(stream) as archive:
            if len(archive.filelist) > MOST_MEMBERS:
                reason = _("The archive holds more than %s files.")
                raise UnreadableFile(name, reason % f"{MOST_MEMBERS:,}")
            yield archive
    except DAMAGED as error:
        raise UnreadableFile(name, _("The archive is damaged or cut off. Export or download it again.")) from error
    except (NotImplementedError, RuntimeError) as error:
        raise UnreadableFile(name, _("The archive cannot be unpacked: %s.") % error) from error
    except OverflowError as error:
        raise UnreadableFile(name, _("The archive is damaged: its sizes make no sense.")) from error


def require_harmless(archive: zipfile.ZipFile, members: list[str], name: str, *, most_bytes: int) -> None:
    """Refuse members that are encrypted, packed oddly or far too large. Raises UnreadableFile.

    The sizes that the archive states are enough to go by: no more than that comes out, because zipfile stops there.
    """
    total = 0
    for member in members:
        info = archive.getinfo(member)
        total += info.file_size
        if info.flag_bits & 1:
            raise UnreadableFile(name, _("The archive is protected by a password. Save it without one."))
        if info.compress_type not in _PACKINGS:
            raise UnreadableFile(name, _("The archive is packed in an unusual way. Export or save the file again."))
        if info.header_offset < 0:
            raise zipfile.BadZipFile
        if is_bomb(info.file_size, info.compress_size) or total > most_bytes:
            raise UnreadableFile(
                name,
                _(
                    "%(member)s would unpack from %(packed)s to %(unpacked)s bytes. That is a ZIP bomb, "
                    "or too much: at most %(most)s MiB are read."
                )
                % {
                    "member": member,
                    "packed": f"{info.compress_size:,}",
                    "unpacked": f"{info.file_size:,}",
                    "most": f"{most_bytes // MEBIBYTE:,}",
                },
            )


def is_bomb(unpacked: int, packed: int) -> bool:
    """Whether so much came out of so little that it cannot be honest."""
    return unpacked > _SUSPICIOUS_BYTES and unpacked > _SUSPICIOUS_RATIO * packed


def unpack(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    """Write one member to a file, piece by piece."""
    with archive.open(member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, _CHUNK)
