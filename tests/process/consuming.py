"""Followers of a real hub: over HTTP, by long poll, in threads, through whatever happens to the hub."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.oracles.following import Follower, Held, Key, over_http

# Enough for a hub that comes back from a restart.
_TIMEOUT = 90.0


class Consuming:
    """Some followers that are kept up to date. Use it as a context, and call check() inside."""

    def __init__(self, url: str, token: str, *, followers: int = 1, limit: int = 7, wait: float = 1) -> None:
        self.url, self.token = url, token
        self.failures = 0
        self._clients = [httpx.Client(base_url=url, timeout=_TIMEOUT) for _ in range(followers)]
        self.followers = [Follower(over_http(client, token, wait=wait), limit=limit) for client in self._clients]
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=followers)
        self._futures = [self._pool.submit(self._follow, follower) for follower in self.followers]

    def __enter__(self) -> "Consuming":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop following, and raise what a follower ran into."""
        self._stop.set()
        self._pool.shutdown()
        for client in self._clients:
            client.close()
        for future in self._futures:
            future.result()

    @property
    def items(self) -> int:
        """How many items all followers were given."""
        return sum(follower.items for follower in self.followers)

    def _follow(self, follower: Follower) -> None:
        while not self._stop.is_set():
            try:
                follower.read()
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code != 503:
                    raise
                self.failures += 1
                self._stop.wait(0.05)

    def mismatches(self, state: dict[str, Any]) -> list[str]:
        """What followers hold against what writing.state() found, once everything is drained. Stops following."""
        self.stop()
        rows: dict[Key, Held] = {(kind, key): Held(payload, owner) for kind, key, payload, owner in state["rows"]}
        seqs: dict[Key, int] = {(kind, key): seq for kind, key, seq in state["seqs"]}
        wrong = [f"{state['drift']} rows drifted"] if state["drift"] else []
        wrong += [f"{state['outbox']} rows are left in the outbox"] if state["outbox"] else []
        with httpx.Client(base_url=self.url, timeout=_TIMEOUT) as client:
            fresh = Follower(over_http(client, self.token), limit=1000)
            fresh.catch_up()
            # What the others have not read yet when they were stopped is read now, from their own cursors.
            for follower in self.followers:
                follower.fetch = over_http(client, self.token)
                follower.catch_up()
        for name, follower in [("from the beginning", fresh), *(("kept up to date", one) for one in self.followers)]:
            if follower.rows != rows:
                wrong += [
                    f"{name}: {key} is {follower.rows.get(key)}, not {rows.get(key)}"
                    for key in follower.rows.keys() | rows.keys()
                    if follower.rows.get(key) != rows.get(key)
                ]
            # No gap: the newest seq of every key in the database is one that the follower was given.
            wrong += [
                f"{name}: {key} at seq {seq} never came" for key, seq in seqs.items() if follower.seqs.get(key) != seq
            ]
        return wrong
