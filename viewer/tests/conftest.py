from collections.abc import Iterator

import pytest
from pytest_django import Settings

from viewer.feed_client import FeedClient
from viewer.tests.hub import TOKEN, FakeHub


@pytest.fixture
def hub(settings: Settings) -> Iterator[FakeHub]:
    """A running hub that the viewer's settings name."""
    running = FakeHub()
    settings.HUB_URL = running.url
    settings.HUB_TOKEN = TOKEN
    yield running
    running.stop()


@pytest.fixture
def feed(hub: FakeHub) -> Iterator[FeedClient]:
    with FeedClient(timeout=5) as client:
        yield client
