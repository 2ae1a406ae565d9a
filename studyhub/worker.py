"""What granian's worker serves in the Procfile: the hub's application, in a process that ends with granian's own."""

from collections.abc import Awaitable, Callable
from typing import Any

from kit.parent_death import end_with_server


def application() -> Callable[..., Awaitable[Any]]:
    """For `granian --factory`, which calls it in the worker."""
    end_with_server()
    from studyhub.asgi import application

    return application
