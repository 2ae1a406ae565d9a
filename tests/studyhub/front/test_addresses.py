"""The limits of an address are those of the client, as far as that can be believed."""

from typing import Any

import pytest

from kit.addresses import trusted_proxies
from studyhub.front.addresses import address_of


def scope(client: tuple[str, int] | None, *forwarded: str) -> dict[str, Any]:
    return {"client": client, "headers": [(b"x-forwarded-for", text.encode()) for text in forwarded]}


@pytest.mark.parametrize(
    ("asked", "address"),
    [
        (scope(("192.0.2.7", 1)), "192.0.2.7"),
        # Whoever is no trusted proxy may write what they like.
        (scope(("192.0.2.7", 1), "198.51.100.1"), "192.0.2.7"),
        (scope(("10.0.0.1", 1), "198.51.100.1"), "198.51.100.1"),
        (scope(("10.0.0.1", 1), "203.0.113.9, 198.51.100.1", "10.0.0.2"), "198.51.100.1"),
        # Who has one address has the 2^64 beside it.
        (scope(("2001:db8::1", 1)), "2001:db8::/64"),
        (scope(("2001:db8::ffff", 1)), "2001:db8::/64"),
        (scope(None), ""),
    ],
)
def test_a_client_is_told_from_its_proxy(asked: dict[str, Any], address: str, settings: Any) -> None:
    settings.TRUSTED_PROXIES = trusted_proxies("10.0.0.0/8")
    assert address_of(asked) == address
