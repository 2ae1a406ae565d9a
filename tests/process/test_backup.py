"""Backup and restore of a hub that is at work, by the commands, in real processes, compared with an oracle."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from memocards.admin.importing.forms import Plan
from memocards.admin.importing.uploads import State
from tests.oracles.following import Follower, over_http
from tests.process.conftest import OwnHubs
from tests.process.own_server import own_server
from tests.process.processes import Installation, OwnDatabase, say, wait_until

# Table → how many rows, and one hash over all of them in order.
Digests = dict[str, tuple[int, str]]

# Its row changes with every restore, by design.
FEED_STATE = "publish_feed_state"

CONTENT = """
from django.contrib.auth.models import User
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from publish.subscribers import create_subscriber
learner = User.objects.create_user("learner")
topic = topics.create_topic(name="Rated", editor=SYSTEM)
card = cards.create(topic_id=topic.pk, front="F", back="B", needs_review=False, editor=SYSTEM)
print(create_subscriber(name="all", all_learners=True)[1])
"""
RATE = """
import uuid
from django.contrib.auth.models import User
from django.utils import timezone
from memocards.learning import rating
from memocards.models import MemoCard
from kit.scheduling import Outcome
for _ in range({number}):
    rating.rate_card(
        learner_id=User.objects.get(username="learner").pk, card_id=MemoCard.objects.earliest("pk").pk,
        review_id=uuid.uuid4(), outcome=Outcome.GOOD, reviewed_at=timezone.now(),
    )
"""
MANY_CARDS = """
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
topic = topics.create_topic(name="Large", editor=SYSTEM)
for number in range({number}):
    cards.create(topic_id=topic.pk, front=str(number), back="B" * 200, needs_review=False, editor=SYSTEM)
"""
ADD_CARD = """
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.models import Topic
print(cards.create(topic_id=Topic.objects.earliest("pk").pk, front="N", back="B", needs_review=False, editor=SYSTEM).pk)
"""


class Database:
    """A hub's database, seen from outside StudyHub."""

    def __init__(self, hub: OwnDatabase) -> None:
        self.directory = hub.directory / "postgres"

    @contextmanager
    def session(self, name: str = "studyhub") -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
        with psycopg.connect(host=str(self.directory), user="studyhub", dbname=name, autocommit=True) as session:
            yield session

    def answers(self) -> bool:
        try:
            return bool(self.names())
        except psycopg.OperationalError:
            return False

    def names(self) -> list[str]:
        with self.session("postgres") as session:
            rows = session.execute("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1").fetchall()
        return [name for (name,) in rows if name != "postgres"]

    def count(self, table: str, what: str = "count(*)") -> int:
        with self.session() as session:
            (count,) = session.execute(f"SELECT {what} FROM {table}").fetchone() or (0,)
        return int(count)

    def epoch(self) -> str:
        with self.session() as session:
            (epoch,) = session.execute(f"SELECT epoch::text FROM {FEED_STATE}").fetchone() or ("",)
        return str(epoch)

    def digests(self, name: str = "studyhub") -> Digests:
        with self.session(name) as session:
            return digests(session)


def digests(session: "psycopg.Connection[tuple[Any, ...]]") -> Digests:
    tables = session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    statement = """
        SELECT count(*), coalesce(md5(string_agg(line, E'\\n' ORDER BY line)), '')
        FROM (SELECT row_of::text AS line FROM {} AS row_of) AS lines
    """
    digests = {}
    for (table,) in tables:
        row = session.execute(sql.SQL(statement).format(sql.Identifier(table))).fetchone()
        assert row is not None
        digests[table] = row
    return digests


class Oracle(threading.Thread):
    """Waits for a backup to export its snapshot, and reads every row of that moment by a session of its own."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.digests: Digests = {}

    def run(self) -> None:
        with self.database.session() as session:
            statement = "SELECT min(name) FROM pg_ls_dir('pg_snapshots') AS name"
            snapshot = wait_until(lambda: (session.execute(statement).fetchone() or [None])[0], what="A snapshot")
            session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            session.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
            self.digests = digests(session)


@contextmanager
def _served(hub: OwnDatabase) -> Iterator[Database]:
    """The hub's server runs, and what holds it up is not connected to the hub's database."""
    psql = hub.python("manage.py", "postgres", "psql", "-d", "postgres", "-c", "SELECT pg_sleep(600)", name="psql")
    database = Database(hub)
    wait_until(database.answers, what="A server")
    try:
        yield database
    finally:
        psql.kill()


def _write_and_back_up(hub: OwnDatabase, directory: Path, *, cards_before: int, seed: int) -> Digests:
    """Back up a hub while writers, raters and the relay are at work. Returns what it held, by the oracle."""
    if cards_before:
        hub.manage("shell", "-v0", "-c", MANY_CARDS.format(number=cards_before))
    relay = hub.relay(wait=False)
    writer = hub.python("-m", "tests.process.writing", "600", "4", str(seed), name="writer")
    writer.says("Writing.")
    relay.says("Relay: started.")
    database = Database(hub)
    wait_until(lambda: database.count("memocards_review") > 10, seconds=60, what="Ratings that were written")
    before = database.count("memocards_review")
    oracle = Oracle(database)
    oracle.start()
    said = hub.manage("backup", str(directory))
    oracle.join()
    wait_until(lambda: database.count("memocards_review") > before, what="A rating while the backup was written")
    assert writer.stop() == 0, writer.output
    relay.stop()
    assert "The secret key is not in it" in said
    assert not list(directory.rglob("*secret*"))
    assert {path.stat().st_mode & 0o777 for path in directory.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (directory, *directory.rglob("*")) if path.is_dir()} == {0o700}
    assert _manifest(directory)["rows"] == {f"public.{name}": rows for name, (rows, _hash) in oracle.digests.items()}
    return oracle.digests


def _upload(hub: OwnDatabase) -> Path:
    """An import on its way there."""
    directory = hub.directory / "imports" / ("0" * 32)
    directory.mkdir(mode=0o700, parents=True)
    (directory / "file").write_bytes(b"front,back\n" * 1000)
    plan = {field.name: "" for field in fields(Plan)}
    (directory / "plan.json").write_text(json.dumps({"plan": plan, "created": 0}))
    (directory / "state.json").write_text(json.dumps(asdict(State())))
    return directory


def _manifest(directory: Path) -> Any:
    return json.loads((directory / "manifest.json").read_text())


def _same_but_for_the_epoch(digests: Digests, expected: Digests) -> bool:
    assert FEED_STATE in digests
    return digests | {FEED_STATE: expected[FEED_STATE]} == expected


def test_a_busy_hub_is_backed_up_and_restored_in_its_place_even_if_that_is_killed_once(own_hub: OwnDatabase) -> None:
    own_hub.prepare(CONTENT)
    upload = _upload(own_hub)
    directory = own_hub.directory / "backups" / "one"
    with _served(own_hub) as database:
        backed_up = _write_and_back_up(own_hub, directory, cards_before=0, seed=11)
        own_hub.manage("shell", "-v0", "-c", RATE.format(number=2) + ADD_CARD)
        (upload / "file").write_bytes(b"went on since")
        former = database.digests()
        newer = database.count("memocards_review") - backed_up["memocards_review"][0]
        newest = database.count("memocards_memocard", "max(id)")

        _kill_a_restore(own_hub, directory, lambda: "studyhub.restoring" in database.names(), signal.SIGKILL)
        assert database.digests() == former
        assert database.names() == ["studyhub", "studyhub.restoring"]

        said = own_hub.manage("restore", str(directory), "--replace")
        assert "compared with what is published: no drift." in said
        assert f"{newer:,} ratings newer than the backup were known, made from " in said
        assert _same_but_for_the_epoch(database.digests(), backed_up)
        assert database.epoch() != _manifest(directory)["feed"]["epoch"]
        assert (upload / "file").read_bytes() == b"front,back\n" * 1000
        _restored, kept = database.names()
        assert f"manage.py postgres dropdb '{kept}'" in said
        assert database.digests(kept) == former
        # A viewer may still hold ratings of a card that is gone: no other card gets its key.
        assert int(own_hub.manage("shell", "-v0", "-c", ADD_CARD)) > newest


@pytest.mark.slow
@pytest.mark.parametrize(("cards_before", "seed"), [(0, 1), (3000, 2)])
def test_a_backup_of_a_busy_hub_is_restored_elsewhere_and_followed_again(
    own_hubs: OwnHubs, cards_before: int, seed: int
) -> None:
    hub, elsewhere = own_hubs(), own_hubs()
    token = hub.prepare(CONTENT)[-1]
    directory = hub.directory / "backup"
    hub.hub()
    backed_up = _write_and_back_up(hub, directory, cards_before=cards_before, seed=seed)
    with httpx.Client(base_url=hub.url, timeout=60) as client:
        follower = Follower(over_http(client, token))
        follower.catch_up()
    hub.stop_all()

    assert "no drift" in elsewhere.manage("restore", str(directory))
    with _served(elsewhere) as database:
        assert _same_but_for_the_epoch(database.digests(), backed_up)
        assert database.names() == ["studyhub"]
        relay = elsewhere.relay(wait=False)
        elsewhere.hub()
        relay.says("Relay: started.")
        wait_until(lambda: elsewhere.program("tests.process.writing", "state")["outbox"] == 0, what="An empty outbox")
        state = elsewhere.program("tests.process.writing", "state")
        with httpx.Client(base_url=elsewhere.url, timeout=60) as client:
            follower.fetch = over_http(client, token)
            follower.catch_up()
        assert follower.restarts == 1
        assert {key: (held.payload, held.learner_id) for key, held in follower.rows.items()} == {
            (kind, key): (payload, owner) for kind, key, payload, owner in state["rows"]
        }
        elsewhere.manage("verify_publish")
    say(f"{sum(rows for rows, _hash in backed_up.values())} rows restored, {len(follower.rows)} rows followed")


def _kill_a_restore(hub: OwnDatabase, backup: Path, when: Callable[[], object], number: signal.Signals) -> str:
    restore = hub.python("manage.py", "restore", str(backup), "--replace", name="restore")
    wait_until(lambda: when() or not restore.is_running, what="That moment of the restore")
    restore.stop(number)
    return restore.output


def _sentence(hub: Installation, *arguments: str) -> str:
    """What a command says that must fail."""
    process = hub.python("manage.py", *arguments, name=arguments[0])
    assert process.wait() == 1, process.output
    assert "Traceback" not in process.output
    return process.output


@pytest.fixture
def backed_up(own_hub: OwnDatabase) -> Iterator[tuple[OwnDatabase, Path]]:
    """A hub with three ratings, and its backup. Its server runs, and nobody is connected to the hub's database."""
    own_hub.prepare(CONTENT + RATE.format(number=3))
    with _served(own_hub):
        directory = own_hub.directory / "backup"
        own_hub.manage("backup", str(directory))
        yield own_hub, directory


@pytest.mark.slow
def test_what_stands_in_the_way_of_a_restore_is_said_and_nothing_is_touched(
    backed_up: tuple[OwnDatabase, Path],
) -> None:
    hub, directory = backed_up
    assert "The database studyhub is not empty: it has 28 tables." in _sentence(hub, "restore", str(directory))
    relay = hub.relay()
    refused = _sentence(hub, "restore", str(directory), "--replace")
    assert "the database studyhub is in use by 1 other session. Stop hub, relay and workers" in refused
    assert "manage.py run_relay (server process " in refused
    relay.stop()
    before = Database(hub).digests()
    said = _kill_a_restore(hub, directory, lambda: "studyhub.restoring" in Database(hub).names(), signal.SIGTERM)
    assert "The restore was stopped; the hub's database is as it was." in said
    dump = max((directory / "database").iterdir(), key=lambda path: path.stat().st_size)
    dump.write_bytes(dump.read_bytes()[:-1] + b"x")
    assert f"is damaged: database/{dump.name}" in _sentence(hub, "restore", str(directory), "--replace")
    dump.unlink()
    assert f"is not complete: database/{dump.name}" in _sentence(hub, "restore", str(directory), "--replace")
    assert Database(hub).digests() == before
    assert Database(hub).names() == ["studyhub"]


@pytest.mark.slow
def test_a_restore_killed_at_any_moment_leaves_the_old_database_or_the_whole_new_one(
    backed_up: tuple[OwnDatabase, Path],
) -> None:
    hub, directory = backed_up
    database = Database(hub)
    began = time.monotonic()
    hub.manage("restore", str(directory), "--replace")
    whole = time.monotonic() - began
    present = database.digests()
    replaced = 0
    for step in range(20):
        moment = time.monotonic() + whole * step / 16
        _kill_a_restore(hub, directory, lambda end=moment: time.monotonic() > end, signal.SIGKILL)  # type: ignore[misc]
        digests = database.digests()
        if digests != present:
            assert database.epoch() != _manifest(directory)["feed"]["epoch"]
            assert digests["memocards_review"][0] == 3
            present, replaced = digests, replaced + 1
    hub.manage("restore", str(directory), "--replace")
    hub.manage("verify_publish")
    say(f"killed 20 times within {whole * 20 / 16:.1f} s, {replaced} of them after the last step")


@pytest.mark.slow
def test_a_backup_that_is_stopped_leaves_nothing_and_none_is_written_over(own_hub: OwnDatabase) -> None:
    own_hub.prepare()
    directory = own_hub.directory / "backups" / "one"
    backup = own_hub.python("manage.py", "backup", str(directory), name="backup")
    wait_until(lambda: directory.parent.exists() and any(directory.parent.iterdir()), what="The beginning of a backup")
    backup.stop(signal.SIGTERM)
    assert "The backup was stopped, and nothing is left of it." in backup.output
    assert list(directory.parent.iterdir()) == []

    directory.mkdir()
    own_hub.manage("backup", str(directory))
    assert "is a backup already" in _sentence(own_hub, "backup", str(directory))
    assert "is not empty" in _sentence(own_hub, "backup", str(directory / "database"))


@pytest.mark.slow
def test_a_database_without_studyhubs_tables_is_not_backed_up(own_hub: OwnDatabase) -> None:
    directory = own_hub.directory / "backup"
    assert "Set DATA_DIR or DATABASE_URL as they were set" in _sentence(own_hub, "backup", str(directory))
    assert not directory.exists()


@pytest.mark.slow
def test_a_hub_moves_to_a_server_of_ones_own_and_back(own_hubs: OwnHubs) -> None:
    hub, mover = own_hubs(), own_hubs()
    hub.prepare(CONTENT + RATE.format(number=3))
    directory, back = hub.directory / "backup", hub.directory / "back"
    hub.manage("backup", str(directory))
    with own_server() as server:
        mover.environment["DATABASE_URL"] = server.url
        refused = _sentence(mover, "restore", str(directory))
        assert 'the role hub may not. As a superuser: ALTER ROLE "hub" CREATEDB' in refused
        server.superuser("ALTER ROLE hub CREATEDB")
        server.superuser("ALTER DATABASE hub OWNER TO boss")
        assert 'ALTER DATABASE "hub" OWNER TO "hub"' in _sentence(mover, "restore", str(directory))
        server.superuser("ALTER DATABASE hub OWNER TO hub")

        assert "no drift" in mover.manage("restore", str(directory))
        assert server.superuser("SELECT datcollate FROM pg_database WHERE datname = 'hub'") == [("C",)]
        assert mover.manage("postgres", "psql", "-Atc", "SELECT count(*) FROM memocards_review") == "3\n"
        assert mover.manage("postgres", "psql", "-Atc", "SHOW jit") == "off\n"
        assert mover.manage("dbshell", "--", "-Atc", "SELECT current_user") == "hub\n"
        mover.manage("shell", "-v0", "-c", RATE.format(number=1))
        mover.manage("backup", str(back))
    said = hub.manage("restore", str(back), "--replace")
    assert "The replaced database had no ratings that the backup does not have." in said
    with _served(hub) as database:
        assert database.count("memocards_review") == 4


@pytest.mark.slow
def test_programs_that_are_older_than_a_backup_or_its_server_are_refused_by_version(own_hub: OwnDatabase) -> None:
    own_hub.prepare()
    directory = own_hub.directory / "backup"
    own_hub.manage("backup", str(directory))
    manifest = directory / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"pg_dump": "18', '"pg_dump": "99'))
    assert "This needs pg_restore of PostgreSQL 99 or newer" in _sentence(
        own_hub, "restore", str(directory), "--replace"
    )
    manifest.write_text(manifest.read_text().replace('"postgresql": "18', '"postgresql": "98'))
    assert "Restore it into PostgreSQL 98 or newer." in _sentence(own_hub, "restore", str(directory), "--replace")
