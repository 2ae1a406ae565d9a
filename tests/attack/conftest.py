"""The processes of tests/process, attacked."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.attack.browsing import Visitor
from tests.process.conftest import hub_here, own_hub, subscribe, viewers

__all__ = ["hub_here", "own_hub", "subscribe", "viewers"]


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
