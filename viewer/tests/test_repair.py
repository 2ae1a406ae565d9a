"""`python -m viewer repair` of files whose damage reaches the ratings: what can be kept is kept."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from viewer.tests.installation import Installation

_GOOD, _BAD = "1" * 32, "2" * 32


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    """A viewer with a waiting rating before and behind the one that a test damages."""
    installation = Installation(tmp_path / "viewer", {"HUB_TOKEN": "token"})
    installation.run("sync", "--once")  # makes the tables, though there is no hub
    with sqlite3.connect(database_of(installation)) as database:
        database.executemany(
            "INSERT INTO viewer_rating (id, card_id, outcome, reviewed_at, state, problem, hub_failures, holds_card,"
            " after_seq, offer_again) VALUES (?, ?, 'good', '2026-11-25 12:00:00', 'waiting', '', 0, 1, 0, 0)",
            [(_GOOD, 1), (_BAD, 2), ("3" * 32, 3)],
        )
    database.close()
    return installation


def database_of(installation: Installation) -> Path:
    return installation.directory / "viewer.sqlite3"


def damage(installation: Installation, *statements: str) -> None:
    """What a bad sector may have made of the rows, written past the constraints; and a table that cannot be read."""
    database = sqlite3.connect(database_of(installation))
    (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'viewer_topic'").fetchone()
    (size,) = database.execute("PRAGMA page_size").fetchone()
    database.execute("PRAGMA ignore_check_constraints = ON")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()
    with database_of(installation).open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(os.urandom(size))


@pytest.mark.parametrize(
    "garbage",
    [
        "outcome = 'gnod'",
        "reviewed_at = 'yesterday'",
        "id = 'no UUID at all'",
        "card_id = 'one'",
        "outcome = CAST(x'ff67' AS TEXT)",
    ],
)
def test_a_rating_that_is_none_any_more_costs_no_other_rating(installed: Installation, garbage: str) -> None:
    damage(installed, f"UPDATE viewer_rating SET {garbage} WHERE id = '{_BAD}'")
    repaired = installed.run("repair")
    assert repaired.returncode == 0, repaired.stderr
    assert "with the 2 ratings that could be read, of which 2 wait for the hub. 1 more are damaged" in repaired.stdout
    assert installed.rows("SELECT id FROM viewer_rating ORDER BY id") == [(_GOOD,), ("3" * 32,)]
    assert installed.run("sync", "--once").stdout.startswith("The hub at"), "and it is a viewer again"


def test_two_ratings_that_hold_one_card_are_both_kept(installed: Installation) -> None:
    damage(
        installed,
        "DROP INDEX one_rating_holds_a_card",
        f"UPDATE viewer_rating SET card_id = 1 WHERE id = '{_BAD}'",
    )
    assert installed.run("repair").returncode == 0
    held = installed.rows("SELECT card_id, state, holds_card FROM viewer_rating ORDER BY id")
    assert held == [(1, "waiting", 1), (1, "waiting", 0), (3, "waiting", 1)]


def test_what_cannot_be_repaired_now_is_repaired_later(
    installed: Installation, in_the_way: Callable[[Path], None]
) -> None:
    damage(installed)
    before = database_of(installed).read_bytes()
    obstacle = installed.directory / "viewer.sqlite3.repairing"
    in_the_way(obstacle)
    failed = installed.run("repair")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert database_of(installed).read_bytes() == before
    (obstacle / "something").unlink()
    obstacle.rmdir()
    assert installed.run("repair").returncode == 0
    assert installed.rows("SELECT count(*) FROM viewer_rating") == [(3,)]


@pytest.fixture
def in_the_way() -> Callable[[Path], None]:
    """Make a place where no file can be made; a full disk needs a mount."""

    def directory(path: Path) -> None:
        path.mkdir()
        (path / "something").touch()

    return directory
