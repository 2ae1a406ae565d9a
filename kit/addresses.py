"""From where a request comes, as far as that can be believed."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

from django.core.exceptions import ImproperlyConfigured

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_ONE_SUBSCRIBER = 64  # bits of an IPv6 address: whoever has one has the 2^64 beside it


def trusted_proxies(text: str) -> tuple[Network, ...]:
    """What the variable TRUSTED_PROXIES says. Raises ImproperlyConfigured."""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ImproperlyConfigured(
            f"TRUSTED_PROXIES is {text!r}. It may be addresses and networks of proxies whose X-Forwarded-For is "
            "believed, separated by commas, such as 127.0.0.1,10.0.0.0/8."
        ) from error


def client_address(meta: Mapping[str, Any], trusted_proxies: Sequence[Network]) -> str:
    """The address of a WSGI environment's client, of IPv6 its /64; empty for a client without one.

    X-Forwarded-For is read from its end for as long as the address that added an entry is a trusted proxy's: whatever
    stands before that, a client may have written itself.
    """
    address = _parsed(str(meta.get("REMOTE_ADDR", "")))
    for hop in reversed(str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",")):
        if address is None or not any(address in network for network in trusted_proxies):
            break
        address = _parsed(hop) or address
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, _ONE_SUBSCRIBER), strict=False))
    return str(address or "")


def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
