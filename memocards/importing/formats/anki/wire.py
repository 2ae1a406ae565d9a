"""As much of the protobuf wire format as Anki's newer files need: the fields of one message."""

from collections.abc import Iterator
from typing import Final

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field. Raises ValueError for what is no message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        value: int | bytes
        if wire == _VARINT:
            value, at = _varint(message, at)
        else:
            if wire == _BYTES:
                length, at = _varint(message, at)
            elif wire in {_FIXED64, _FIXED32}:
                length = 8 if wire == _FIXED64 else 4
            else:
                raise ValueError(f"A field has the unknown wire type {wire}.")
            value, at = message[at : at + length], at + length
            if at > len(message):
                raise ValueError("The message ends inside a field.")
        yield number, value


def text_field(message: bytes, number: int) -> str:
    """A text field; empty where it is not set."""
    for field, value in fields(message):
        if field == number and isinstance(value, bytes):
            return value.decode("utf-8", "replace")
    return ""


def int_field(message: bytes, number: int) -> int:
    """A number field; 0 where it is not set."""
    for field, value in fields(message):
        if field == number and isinstance(value, int):
            return value
    return 0


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= len(message):
            raise ValueError("The message ends inside a number.")
        byte = message[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("A number is longer than it may be.")
