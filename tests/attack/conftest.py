"""The processes of tests/process, attacked."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from publish.relay import relay_batch
from publish.subscribers import create_subscriber
from tests.attack.browsing import Visitor
from tests.attack.victim import Victim, allow_many_connections
from tests.factories import PublishOutboxFactory
from tests.process.conftest import hub_here, own_hub, subscribe, viewers
from tests.process.processes import Installation

__all__ = ["hub_here", "own_hub", "subscribe", "viewers"]

FEW_WAITS = 20


@pytest.fixture
def visit() -> Iterator[Callable[..., Visitor]]:
    """Open a hub in a browser of one's own: `visit(url, address=…)`."""
    visitors: list[Visitor] = []

    def open_hub(url: str, **options: Any) -> Visitor:
        visitors.append(Visitor(url, **options))
        return visitors[-1]

    yield open_hub
    for visitor in visitors:
        visitor.client.close()


@pytest.fixture(scope="module")
def victim(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """The hub as `make run` serves it, on the tests' database."""
    yield from serve(tmp_path_factory)


@pytest.fixture(scope="module")
def small_victim(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """The same, where a token may keep FEW_WAITS open."""
    yield from serve(tmp_path_factory, WAITS_PER_SUBSCRIBER=str(FEW_WAITS))


@pytest.fixture
def token() -> str:
    """Of a subscriber that sees shared rows."""
    return create_subscriber(name="consumer")[1]


@pytest.fixture
def publish() -> Callable[..., None]:
    """Publish cards with these ids."""

    def run(*source_ids: int, **more: Any) -> None:
        for source_id in source_ids:
            PublishOutboxFactory.create(source_id=source_id, **more)
        relay_batch()

    return run


def serve(tmp_path_factory: pytest.TempPathFactory, **environment: str) -> Iterator[Victim]:
    """Serve the hub with this environment, and stop it at the end."""
    allow_many_connections()
    installation = Installation(
        tmp_path_factory.mktemp("victim"),
        {
            "DATA_DIR": os.environ.get("DATA_DIR", ""),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "STUDYHUB_TEST_DATABASE": str(connection.settings_dict["NAME"]),
            **environment,
        },
    )
    try:
        yield Victim(installation)
    finally:
        installation.stop_all()
