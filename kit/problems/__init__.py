"""Errors as RFC 9457 problem+json: an error knows its own status and the stable word of its `type`.

`description.py` turns an error into the body of a problem, `rest.py` answers with it and declares its schema. Whoever
only raises one needs this module alone.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

LOG_IN: Final = "Log in, or send a valid token as `Authorization: Bearer TOKEN`."


class ProblemError(Exception):
    """The base of all errors that are told to whoever asked: `str(error)` is a sentence that says what to do."""

    status: ClassVar[int]
    slug: ClassVar[str]
    # Parameters of the request that the answer repeats, with what they are where none was sent: by them an asker knows
    # the answer for that to its own request.
    repeats: ClassVar[Mapping[str, str | None]] = {}

    def particulars(self) -> dict[str, Any]:
        """What a program needs besides the type, such as the fields that are wrong."""
        return {}
