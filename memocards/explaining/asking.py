"""One request to an OpenAI-compatible endpoint: a question goes in, an explanation comes out, or a sentence why not.

Knows nothing of the database, and must be called outside any transaction: an answer may take minutes.
"""

import asyncio
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from memocards.limits import TEXT_LIMIT

if TYPE_CHECKING:
    import httpx

# An explanation of the greatest length with every character escaped is a quarter of it.
MOST_BYTES: Final = 1024 * 1024
_NO_COMPLETION = "The endpoint's answer is not a chat completion of the OpenAI protocol."
_REASON_LIMIT = 500
_LONGEST_WAIT_SECONDS = 3600.0
# Fillers of Hangul, and Braille without a dot.
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")

_INSTRUCTIONS = (
    "You explain exam questions to learners. You are given a question, its numbered choices and the number of the "
    "right one. Explain why that choice is right and why each of the others is not. Write Markdown, in the language "
    "in which the question itself is written. Answer with the explanation alone: no greeting, no repetition of the "
    "question, no code fence around the whole."
)


@dataclass(frozen=True)
class Content:
    """What an explanation explains. An answer to other content than the question's present one is void."""

    stem: str
    choices: tuple[str, ...]
    answer: int


class NoAnswer(Exception):
    """Nothing came that can be stored. `str(error)` is a sentence for the admin, without secrets.

    `wait_seconds`: how long the endpoint asked to be left alone; 0 if it did not say.
    """

    def __init__(self, reason: str, *, wait_seconds: float = 0.0) -> None:
        super().__init__(_printable(reason))
        self.wait_seconds = wait_seconds


def ask(content: Content) -> str:
    """The explanation as Markdown: not blank, at most TEXT_LIMIT characters. Raises NoAnswer."""
    if not settings.LLM_BASE_URL:
        raise NoAnswer("No endpoint is set.")
    return asyncio.run(_ask_in_time(content))


def messages_for(content: Content) -> list[dict[str, str]]:
    """The conversation as the protocol wants it: instructions, then the question with its choices and answer."""
    choices = "\n".join(f"{number}. {choice}" for number, choice in enumerate(content.choices, start=1))
    question = f"{content.stem}\n\n{choices}\n\nThe right choice: {content.answer}"
    return [{"role": "system", "content": _INSTRUCTIONS}, {"role": "user", "content": question}]


async def _ask_in_time(content: Content) -> str:
    # Of the client's own timeouts each holds for one read only: an endpoint that drips could go on for ever.
    try:
        async with asyncio.timeout(settings.LLM_TIMEOUT_SECONDS):
            return _text_of(await _request(content))
    except TimeoutError:
        raise NoAnswer(f"The endpoint did not answer within {settings.LLM_TIMEOUT_SECONDS} seconds.") from None


async def _request(content: Content) -> Any:
    """What the endpoint answered, as JSON, which nobody has looked at yet. Redirects are not followed."""
    # The worker alone should pay for loading it.
    import httpx

    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if settings.LLM_API_KEY:
        headers["Authorization"] = f"Bearer {settings.LLM_API_KEY}"
    address = f"{settings.LLM_BASE_URL.rstrip('/')}/chat/completions"
    question = {"model": settings.LLM_MODEL, "messages": messages_for(content)}
    try:
        async with (
            httpx.AsyncClient(timeout=settings.LLM_TIMEOUT_SECONDS) as client,
            client.stream("POST", address, json=question, headers=headers) as response,
        ):
            body = await _read(response)
    except httpx.TimeoutException:
        raise TimeoutError from None
    except httpx.HTTPError as error:
        raise NoAnswer(f"The endpoint could not be reached, or hung up: {error or type(error).__name__}") from None
    if response.is_error:
        said = _message_in(body)
        raise NoAnswer(
            f"The endpoint refused with status {response.status_code}{f': {said}' if said else '.'}",
            wait_seconds=_retry_after(response.headers),
        )
    if "json" not in response.headers.get("Content-Type", "").lower():
        raise NoAnswer(_NO_COMPLETION)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoAnswer(f"The endpoint's answer could not be read ({type(error).__name__}).") from None


async def _read(response: "httpx.Response") -> bytes:
    """The body, of at most MOST_BYTES. Raises NoAnswer."""
    if response.is_redirect:
        raise NoAnswer(
            f"The endpoint redirects (status {response.status_code}), which is not followed. Set LLM_BASE_URL to where "
            "it leads, if you trust that."
        )
    # A few bytes of it may be gigabytes, which no count of bytes that arrive would notice.
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise NoAnswer("The endpoint's answer is compressed, though it was asked for as it is.")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            raise NoAnswer(f"The endpoint's answer is longer than {MOST_BYTES:,} bytes.")
    return bytes(body)


def _text_of(completion: Any) -> str:
    try:
        choice = completion["choices"][0]
        text, ending = choice["message"]["content"], choice.get("finish_reason")
    except (AttributeError, IndexError, KeyError, TypeError):
        raise NoAnswer(_NO_COMPLETION) from None
    if ending in ("length", "max_tokens"):
        raise NoAnswer("The answer was cut off: the endpoint's limit of tokens is too low for it.")
    if ending == "content_filter":
        raise NoAnswer("The endpoint's content filter withheld the answer.")
    if ending not in (None, "stop"):
        raise NoAnswer(f'The answer did not end by itself: the endpoint says {ending!r} instead of "stop".')
    if text is None:
        raise NoAnswer("The answer was empty.")
    if not isinstance(text, str):
        raise NoAnswer(_NO_COMPLETION)
    text = text.strip()
    if not any(map(_is_visible, text)):
        raise NoAnswer("The answer was empty.")
    if len(text) > TEXT_LIMIT:
        raise NoAnswer(f"The answer has {len(text):,} characters, and an explanation at most {TEXT_LIMIT:,}.")
    if "\0" in text:
        raise NoAnswer("The answer holds a NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoAnswer("The answer holds half a character (a lone surrogate).") from None
    return text


def _is_visible(character: str) -> bool:
    """Whether it leaves ink: a letter, a digit, punctuation or a sign, and none of those that are made to be blank."""
    return unicodedata.category(character)[0] in "LNPS" and character not in _BLANK_LETTERS


def _message_in(body: bytes) -> str:
    """What the endpoint said in an error: the message of its JSON, or else its text."""
    text = body.decode(errors="replace").strip()
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(said, dict):
        said = said.get("error", said)
    if isinstance(said, dict):
        said = said.get("message") or said.get("detail")
    return said if isinstance(said, str) else ""


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds from a Retry-After header. The form with a date is rare here, and our own pause does as well."""
    text = headers.get("retry-after", "").strip()
    if not text.isascii() or not text.isdigit():
        return 0.0
    return min(float(text), _LONGEST_WAIT_SECONDS)


def _printable(reason: str) -> str:
    """One line that PostgreSQL takes, and without the key, which some endpoints repeat in their refusal."""
    if settings.LLM_API_KEY:
        reason = reason.replace(settings.LLM_API_KEY, "…")
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in reason).split())
    return line if len(line) <= _REASON_LIMIT else f"{line[: _REASON_LIMIT - 1]}…"
