"""A visitor of a running hub, as an attacker or a member of staff is one: cookies, forms, an address of one's own."""

from collections.abc import Mapping

import httpx


class Visitor:
    """A browser without a screen. `address`: where on the loopback network it comes from."""

    def __init__(self, url: str, *, address: str = "127.0.0.1", headers: Mapping[str, str] | None = None) -> None:
        transport = httpx.HTTPTransport(local_address=address)
        self.client = httpx.Client(base_url=url, transport=transport, timeout=60, headers=headers)
        self.client.get("/login/")

    def send(self, path: str, **form: str) -> httpx.Response:
        """POST a form with what Django's CSRF check wants."""
        headers = {"X-CSRFToken": self.client.cookies["csrftoken"], "Referer": str(self.client.base_url)}
        return self.client.post(path, data=form, headers=headers)

    def log_in(self, username: str, password: str, *, path: str = "/login/") -> httpx.Response:
        return self.send(path, username=username, password=password)
