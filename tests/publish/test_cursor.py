import base64
import string
import struct
import uuid
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publish.cursor import Cursor, MalformedCursor

HIGHEST = 2**63 - 1
EXAMPLE = Cursor(epoch=uuid.UUID(int=7), seq=17, scan_head=20)
positions = st.integers(0, HIGHEST)


def made_of(version: int, seq: int, scan_head: int) -> str:
    """A cursor with a right checksum, whatever it says."""
    body = struct.pack(">B16sqq", version, EXAMPLE.epoch.bytes, seq, scan_head)
    return base64.urlsafe_b64encode(body + zlib.crc32(body).to_bytes(4, "big")).decode().rstrip("=")


@given(epoch=st.uuids(), seq=positions, scan_head=positions)
def test_a_cursor_comes_back_as_it_was(epoch: uuid.UUID, seq: int, scan_head: int) -> None:
    cursor = Cursor(epoch=epoch, seq=seq, scan_head=scan_head)
    text = cursor.encode()
    assert Cursor.decode(text) == cursor
    assert set(text) <= set(string.ascii_letters + string.digits + "-_")


@given(st.text())
def test_garbage_is_malformed_and_nothing_worse(text: str) -> None:
    """Row 17."""
    with pytest.raises(MalformedCursor):
        Cursor.decode(text)


@given(place=st.integers(0, len(EXAMPLE.encode()) - 1), letter=st.sampled_from(string.ascii_letters + "-_+/= \n"))
def test_a_cursor_with_any_character_changed_is_malformed(place: int, letter: str) -> None:
    """Row 17."""
    text = EXAMPLE.encode()
    changed = text[:place] + letter + text[place + 1 :]
    if changed == text:
        assert Cursor.decode(changed) == EXAMPLE
        return
    with pytest.raises(MalformedCursor):
        Cursor.decode(changed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        EXAMPLE.encode()[:-1],
        EXAMPLE.encode() + "A",
        EXAMPLE.encode() + "==",
        EXAMPLE.encode().upper(),
        "1",
        "-1",
        str(2**63),
        "커서",
        made_of(1, -1, 0),
        made_of(1, 0, -1),
        made_of(2, 0, 0),
        made_of(0, 0, 0),
    ],
)
def test_what_the_hub_has_not_handed_out_is_malformed(text: str) -> None:
    """Row 17."""
    with pytest.raises(MalformedCursor, match="start over"):
        Cursor.decode(text)
