"""The long version of the process tests: everything is killed, again and again, and nothing may be lost.

Four writers hold their transactions open; three relays and PostgreSQL are killed at random moments; four followers
wait over HTTP. Every minute the writers pause, and what the followers hold is compared with the source tables.
"""

import argparse
import random
import sys
import time

from tests.process.consuming import Consuming
from tests.process.processes import OwnDatabase, Process, own_database, say, wait_until
from tests.process.writing import Written

SUBSCRIBER = """
from publish.subscribers import create_subscriber
print(create_subscriber(name="soak", all_learners=True)[1])
"""
ROUND_SECONDS = 60.0


class Soak:
    """One installation under load, and what was counted there."""

    def __init__(self, hub: OwnDatabase, token: str, *, seed: int) -> None:
        self.hub, self.token = hub, token
        self.random = random.Random(seed)  # noqa: S311
        self.seed = seed
        self.kills = self.epochs = 0
        self.items = 0
        self.written = Written()
        self.relays: list[Process] = [hub.relay("--batch-size", "50", wait=False) for _ in range(3)]

    def run_round(self, seconds: float) -> list[str]:
        """Write, kill and follow for so long. Returns what does not agree afterwards."""
        with Consuming(self.hub.url, self.token, followers=4, limit=50) as consuming:
            self.seed += 1
            writer = self.hub.python("-m", "tests.process.writing", "3600", "4", str(self.seed), name="writer")
            writer.says("Writing.")
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(self.random.uniform(0.2, 1.5))
                chance = self.random.random()
                if chance < 0.1:
                    self.hub.kill_postgres()
                elif chance < 0.13:
                    self.hub.manage("new_feed_epoch")
                    self.epochs += 1
                else:
                    self._kill_a_relay()
            code = writer.stop()
            if code:
                raise RuntimeError(writer.output)
            written = Written.from_json(writer.output.strip().splitlines()[-1])
            wait_until(lambda: self.hub.program("tests.process.writing", "state")["outbox"] == 0, seconds=120)
            state = self.hub.program("tests.process.writing", "state")
            wrong = consuming.mismatches(state) + written.lost(dict(state["fronts"]))
            self.items += consuming.items
        self.written += written
        return wrong

    def _kill_a_relay(self) -> None:
        victim = self.random.randrange(len(self.relays))
        self.relays[victim].says("Relay: started.", seconds=60)
        self.relays[victim].kill()
        self.kills += 1
        self.relays[victim] = self.hub.relay("--batch-size", "50", wait=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    wrong: list[str] = []
    with own_database() as hub:
        [token] = hub.prepare(SUBSCRIBER)[-1:]
        hub.hub()
        soak = Soak(hub, token, seed=options.seed)
        end = time.monotonic() + options.minutes * 60
        while (left := end - time.monotonic()) > 0 and not wrong:
            wrong = soak.run_round(min(ROUND_SECONDS, left))
            say(
                f"{soak.written.writes:,} writes, {soak.written.interrupted:,} interrupted, "
                f"{soak.written.rolled_back:,} rolled back, {soak.kills} relays killed, {hub.restarts} PostgreSQL "
                f"restarts, {soak.epochs} epochs, {soak.items:,} items followed, {len(wrong)} mismatches"
            )
    for line in wrong[:20]:
        say(line)
    if wrong:
        say(f"Run it again with --seed {options.seed}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
