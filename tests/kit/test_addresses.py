"""The address of a client: nobody writes it himself."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from kit.addresses import client_address, trusted_proxies

PROXY = trusted_proxies("127.0.0.1, 10.0.0.0/8")


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # nobody's proxy
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "9.9.9.9, 198.51.100.1", "198.51.100.1"),  # the first is the client's own invention
        ("127.0.0.1", "9.9.9.9, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("127.0.0.1", "10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "garbage", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("::ffff:203.0.113.9", "", "203.0.113.9"),
        ("2001:db8:1:2:aaaa::1", "", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("", "198.51.100.1", ""),
    ],
)
def test_the_address_is_the_last_that_somebody_trusted_saw(remote: str, forwarded: str, address: str) -> None:
    assert client_address({"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded}, PROXY) == address


def test_what_is_no_address_of_a_proxy_is_refused_by_name() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"TRUSTED_PROXIES is '10\.0\.0\.1/8'\. It may be"):
        trusted_proxies("10.0.0.1/8")
