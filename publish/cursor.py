"""The cursor: an opaque word that says where in which feed a consumer stands."""

import base64
import binascii
import struct
import uuid
import zlib
from dataclasses import dataclass
from typing import Any

from kit.problems import ProblemError

_LAYOUT = struct.Struct(">B16sqq")
_VERSION = 1


class MalformedCursor(ProblemError, ValueError):
    """What was sent as a cursor is not one that this hub has handed out."""

    status, slug = 422, "malformed-cursor"

    def __init__(self) -> None:
        super().__init__("This is not a cursor of this feed. Send the last cursor unchanged, or none to start over.")

    def particulars(self) -> dict[str, Any]:
        return {"errors": {"after": [str(self)]}}


class CursorExpired(ProblemError):
    """The feed cannot go on from this cursor without skipping something: the consumer must start over."""

    status, slug = 410, "cursor-expired"

    def particulars(self) -> dict[str, Any]:
        return {"resync": True}


@dataclass(frozen=True)
class Cursor:
    """`epoch`: which feed; `seq`: what was read; `scan_head`: the feed's head when the scan began from nothing."""

    epoch: uuid.UUID
    seq: int
    scan_head: int

    def encode(self) -> str:
        body = _LAYOUT.pack(_VERSION, self.epoch.bytes, self.seq, self.scan_head)
        return base64.urlsafe_b64encode(body + zlib.crc32(body).to_bytes(4, "big")).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """The reverse of encode(). Raises MalformedCursor for whatever encode() has not made."""
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            body, checksum = data[:-4], data[-4:]
            version, epoch, seq, scan_head = _LAYOUT.unpack(body)
        except (binascii.Error, ValueError, struct.error):
            raise MalformedCursor from None
        if checksum != zlib.crc32(body).to_bytes(4, "big") or version != _VERSION or seq < 0 or scan_head < 0:
            raise MalformedCursor
        cursor = cls(epoch=uuid.UUID(bytes=epoch), seq=seq, scan_head=scan_head)
        # Base64 has several spellings of the same bytes; encode() has one.
        if cursor.encode() != text:
            raise MalformedCursor
        return cursor
