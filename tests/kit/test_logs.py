"""One line for what a caller or the database is to blame for; all of it for what we are."""

import io
import logging
import sys

import pytest
from django.core.exceptions import DisallowedHost
from django.db import OperationalError

from kit.logs import OneLine


def logged(error: Exception) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(OneLine())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise error
    except Exception:
        logger.error("%s: %s", "Bad Request", "/login/", exc_info=sys.exc_info())
    return stream.getvalue()


@pytest.mark.parametrize("error", [DisallowedHost("Invalid HTTP_HOST header: 'x'."), OperationalError("away\nand far")])
def test_a_forged_request_or_an_absent_database_is_one_line_that_says_why(error: Exception) -> None:
    assert logged(error) == f"Bad Request: /login/ ({' '.join(str(error).split())})\n"


def test_our_own_fault_keeps_its_traceback() -> None:
    assert "Traceback" in logged(ValueError("ours"))
