"""Compression of a page, by what the consumer accepts."""

import gzip

import zstandard

# Below this the headers cost more than compression saves.
SMALLEST_BYTES = 1024
_GZIP_LEVEL = 5
_ZSTD_LEVEL = 3


def choose_encoding(accept_encoding: str) -> str | None:
    """zstd before gzip, as far as the header allows; None for neither. `q=0` refuses."""
    accepted: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        name, _semicolon, parameter = part.strip().partition(";")
        quality = parameter.strip().removeprefix("q=") if parameter else "1"
        try:
            accepted[name.strip()] = float(quality)
        except ValueError:
            accepted[name.strip()] = 0
    for name in ("zstd", "gzip"):
        if accepted.get(name, accepted.get("*", 0)) > 0:
            return name
    return None


def compress(body: bytes, encoding: str) -> bytes:
    """The body in `zstd` or `gzip`."""
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)
    return gzip.compress(body, compresslevel=_GZIP_LEVEL, mtime=0)
