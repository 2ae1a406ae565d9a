"""The HTTP client with which an endpoint is asked: it reads no more than an answer can be, and goes nowhere else.

Apart from asking.py, because the worker alone should pay for loading it. httpx2 comes with the openai package, which
makes its requests by it.
"""

from collections.abc import AsyncIterator
from typing import Final

import httpx2

from memocards.explaining.asking import NoAnswer

# An explanation of the greatest length with every character escaped is a quarter of it.
MOST_BYTES: Final = 1024 * 1024
# Then what arrives is as long as it will ever be.
AS_IT_IS: Final = {"Accept-Encoding": "identity"}


def client(timeout: float) -> httpx2.AsyncClient:
    """A client that follows no redirect and reads MOST_BYTES of an answer at most. It raises NoAnswer."""
    return httpx2.AsyncClient(timeout=timeout, follow_redirects=False, event_hooks={"response": [_bound]})


async def _bound(response: httpx2.Response) -> None:
    if 300 <= response.status_code < 400:
        raise NoAnswer(
            f"The endpoint redirects (status {response.status_code}), which is not followed. Set LLM_BASE_URL to where "
            "it leads, if you trust that."
        )
    # A few bytes of it may be gigabytes, which no count of bytes that arrive would notice.
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise NoAnswer("The endpoint's answer is compressed, though it was asked for as it is.")
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101
    response.stream = _Bounded(response.stream)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._stream:
            read += len(chunk)
            if read > MOST_BYTES:
                raise NoAnswer(f"The endpoint's answer is longer than {MOST_BYTES:,} bytes.")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
