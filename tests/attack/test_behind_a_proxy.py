"""Behind a proxy that is trusted, one client that takes all that an address may have takes nothing from the others."""

from collections.abc import Iterator

import pytest

from tests.attack.conftest import serve
from tests.attack.victim import Victim, closing, feed, status_of
from tests.process.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def proxied(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A hub whose proxy is this machine, where an address may keep two waits open."""
    yield from serve(tmp_path_factory, TRUSTED_PROXIES="127.0.0.1", WAITS_PER_ADDRESS="2")


def test_waits_are_counted_by_the_clients_behind_a_trusted_proxy(proxied: Victim, token: str) -> None:
    def wait_from(address: str, *, seconds: float) -> str:
        return feed(token, f"wait={seconds}").replace("\n\n", f"\nX-Forwarded-For: {address}\n\n")

    def status_for(address: str) -> int:
        with closing([proxied.connect(wait_from(address, seconds=0.1))]) as [client]:
            return status_of(client)

    with closing([proxied.connect(wait_from("198.51.100.1", seconds=30)) for _ in range(2)]):
        wait_until(lambda: status_for("198.51.100.1") == 429, what="That two wait from there")
        assert status_for("198.51.100.2") == 200
