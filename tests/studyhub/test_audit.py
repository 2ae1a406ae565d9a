"""The check for known vulnerabilities asks only a source that knows them."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from studyhub.audit import answers
from tests.process.processes import free_port

Source = Callable[[int, object], str]


@pytest.fixture
def source() -> Iterator[Source]:
    """Start a source that gives one answer to everything; returns its address."""
    servers: list[HTTPServer] = []

    def start(status: int, content: object) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *args: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Answer))
        threading.Thread(target=servers[-1].serve_forever, args=[0.01]).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_one_that_tells_vulnerabilities_is_asked(source: Source) -> None:
    assert answers(source(200, {"info": {}, "vulnerabilities": []}))


def test_a_mirror_that_knows_packages_alone_is_not(source: Source) -> None:
    assert not answers(source(404, {}))
    assert not answers(source(200, {"info": {}}))


def test_one_that_cannot_be_reached_is_not() -> None:
    assert not answers(f"http://127.0.0.1:{free_port()}")
