"""From bytes to lines of text. What cannot be decoded stays recognisable, so that it is one bad row and not the end."""

import argparse
import codecs
import io
import re
from collections.abc import Generator
from typing import Final

from django.utils.translation import gettext as _

from memocards.importing.formats.format import OpenFile
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import at_line

# Longer than any row that could be stored. Without a limit a file without line ends would be read into memory whole.
LONGEST_LINE: Final = 1_000_000
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNDECODED: Final = re.compile("[\udc80-\udcff]")


def encoding_of(start: bytes, *, wanted: str | None = None) -> str:
    """The encoding by the file's byte order mark, else the wanted one, else UTF-8."""
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    chosen = codecs.lookup(wanted or "utf-8").name
    if chosen == "utf-16":
        # Python would want a mark. Blanks and line ends tell the byte order, by which of their bytes is zero. It is the
        # other byte in characters such as 가, but most texts have fewer of those.
        chosen = "utf-16-be" if start[::2].count(0) > start[1::2].count(0) else "utf-16-le"
    return chosen


def lines(file: OpenFile) -> Generator[str, None, None]:
    """The lines of a file from its start, with their line ends. Raises UnreadableFile for what is no text."""
    stream, name = file.stream, file.name
    stream.seek(0)
    start = stream.read(8192)
    chosen = encoding_of(start, wanted=file.encoding)
    if b"\0" in start and chosen.startswith("utf-8"):
        raise UnreadableFile(
            name, _("This is not a text file. If it is text in UTF-16, save it as UTF-8, or name its encoding.")
        )
    if b"\0" not in start and chosen.startswith("utf-16"):
        # Without a zero byte there is not one blank, line end, comma or tab.
        raise UnreadableFile(name, _("This is no text in UTF-16. Choose another encoding."))
    stream.seek(0)
    # surrogateescape keeps a byte that does not belong; UTF-16 and UTF-32 have no such bytes.
    errors = "strict" if chosen.startswith(("utf-16", "utf-32")) else "surrogateescape"
    text = io.TextIOWrapper(stream, encoding=chosen, errors=errors, newline="")
    number = 0
    try:
        while line := text.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                reason = _("This line is longer than %s characters.") % f"{LONGEST_LINE:,}"
                raise UnreadableFile(name, reason, place=at_line(number))
            yield line
    except UnicodeError as error:
        reason = _("The text is not in %(encoding)s: %(error)s.")
        reason %= {"encoding": chosen.upper(), "error": getattr(error, "reason", error)}
        raise UnreadableFile(name, reason, place=at_line(number + 1)) from error
    finally:
        # The stream belongs to the caller: it is not to be closed with this wrapper.
        text.detach()


def has_surrogates(text: str) -> bool:
    """Whether there are halves of characters, or bytes that could not be decoded. To encode the text tells soonest."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def undecoded(text: str) -> str | None:
    """A sentence about the first byte that could not be decoded; None if there is none."""
    match = _UNDECODED.search(text) if has_surrogates(text) else None
    if match is None:
        return None
    return _(
        "The text holds the byte 0x%02X, which is not in the file's encoding. "
        "Save the file as UTF-8, or name its encoding, such as cp949."
    ) % (ord(match[0]) - 0xDC00)


def known_encoding(name: str) -> str:
    """An argparse type: the name of an encoding of texts that Python knows."""
    try:
        " ".encode(name, "surrogateescape")
        return codecs.lookup(name).name
    except (LookupError, UnicodeError) as error:
        raise argparse.ArgumentTypeError(f"{name!r} is not the name of an encoding, such as cp949.") from error
