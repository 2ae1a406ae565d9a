"""Behind a proxy that is trusted, one client that takes all that an address may have takes nothing from the others."""

import select
import socket
from collections.abc import Iterator

import pytest

from tests.attack.conftest import serve
from tests.attack.victim import Victim, closing, feed, status_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def proxied(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A hub whose proxy is this machine, where an address may keep two waits open."""
    yield from serve(tmp_path_factory, TRUSTED_PROXIES="127.0.0.1", WAITS_PER_ADDRESS="2")


def test_waits_are_counted_by_the_clients_behind_a_trusted_proxy(proxied: Victim, token: str) -> None:
    def wait_from(address: str, *, seconds: int) -> socket.socket:
        head = feed(token, f"wait={seconds}").replace("\n\n", f"\nX-Forwarded-For: {address}\n\n")
        return proxied.connect(head)

    with closing([wait_from("198.51.100.1", seconds=60) for _ in range(3)]) as greedy:
        refused, _writable, _broken = select.select(greedy, [], [], 30)
        assert [status_of(client) for client in refused] == [429]
        with closing([wait_from("198.51.100.2", seconds=1)]) as [another]:
            assert status_of(another) == 200
