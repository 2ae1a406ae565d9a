import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.db import connection

from publish.models import Subscriber
from publish.subscribers import create_subscriber
from tests.process.processes import Installation, OwnDatabase, Viewer, own_database


@pytest.fixture
def hub_here(transactional_db: None, tmp_path: Path) -> Iterator[Installation]:
    """Real processes that work in this test's own database."""
    installation = Installation(
        tmp_path,
        {
            "DATA_DIR": os.environ.get("DATA_DIR", ""),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "STUDYHUB_TEST_DATABASE": str(connection.settings_dict["NAME"]),
        },
    )
    yield installation
    installation.stop_all()


@pytest.fixture
def own_hub() -> Iterator[OwnDatabase]:
    """Real processes with a PostgreSQL of their own."""
    with own_database() as installation:
        yield installation


OwnHubs = Callable[[], OwnDatabase]


@pytest.fixture
def own_hubs() -> Iterator[OwnHubs]:
    """Make as many of these as a test needs."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(own_database())


@pytest.fixture
def viewers(tmp_path: Path) -> Iterator[Callable[..., Viewer]]:
    """Make a viewer: `viewers(hub_url=…, token=…)`."""
    viewers_made: list[Viewer] = []

    def make(*, hub_url: str, token: str) -> Viewer:
        viewers_made.append(Viewer(tmp_path / f"viewer {len(viewers_made)}", hub_url=hub_url, token=token))
        return viewers_made[-1]

    yield make
    for viewer in viewers_made:
        viewer.stop_all()


@pytest.fixture
def subscribe() -> Callable[..., str]:
    """Register a consumer in this test's database; returns its token."""

    def register(*, learner_id: int | None = None, all_learners: bool = False, kinds: tuple[str, ...] = ()) -> str:
        name = f"consumer {Subscriber.objects.count()}"
        return create_subscriber(name=name, learner_id=learner_id, all_learners=all_learners, kinds=kinds)[1]

    return register
