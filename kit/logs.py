"""The log says in one line what a caller, or the database, is to blame for."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http.multipartparser import MultiPartParserError

_CALLERS: Final = (SuspiciousOperation, PermissionDenied, BadRequest, MultiPartParserError)
_DATABASES: Final = (OperationalError, InterfaceError)


# What the settings of hub and viewer have in common as LOGGING.
CONSOLE: Final[Mapping[str, Any]] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {"one_line": {"()": "kit.logs.OneLine"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["one_line"],
            "stream": "ext://sys.stderr",
        }
    },
}


class OneLine(logging.Filter):
    """No traceback for a forged Host header and its like, nor for a database that is away: our code is right there,
    and anybody could fill the log with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, _CALLERS + _DATABASES):
            message, reason = record.getMessage(), " ".join(str(error).split())
            record.msg = message if reason in message else f"{message} ({reason})"
            record.args, record.exc_info, record.exc_text = (), None, None
        return True
