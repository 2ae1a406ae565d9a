"""The hub's own rows, which are neither content nor published."""

from kit.attempts import PasswordAttempts


class LoginAttempts(PasswordAttempts):
    """Attempts to log in to the hub, on all its pages that take a password."""
