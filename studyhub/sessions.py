"""Sessions as Django keeps them in its database; a cookie that cannot be the key of one is none."""

from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseSessions


class SessionStore(DatabaseSessions):
    """Django asks the database for whatever the cookie says, and PostgreSQL fails over a NUL."""

    def _validate_session_key(self, key: Any) -> bool:
        return bool(key) and key.isascii() and key.isalnum() and bool(super()._validate_session_key(key))  # type: ignore[misc]
