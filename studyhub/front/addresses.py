"""From where a request comes, for the limits of an address: the same as where logins are counted."""

from django.conf import settings

from kit.addresses import client_address
from publish.delivery import Scope


def address_of(scope: Scope) -> str:
    """The client's address, of IPv6 its /64; behind a trusted proxy what that says. Empty where there is none."""
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    meta = {"REMOTE_ADDR": (scope.get("client") or ("",))[0], "HTTP_X_FORWARDED_FOR": ",".join(forwarded)}
    return client_address(meta, settings.TRUSTED_PROXIES)
