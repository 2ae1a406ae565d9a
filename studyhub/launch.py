"""`make run`: prepares database, sample content and the viewer's token, then keeps the Procfile's processes running.

`python -m studyhub.launch NAME` runs a single one of them in this terminal, with the same environment.
"""

import asyncio
import fcntl
import os
import re
import shlex
import socket
import sys
from pathlib import Path
from typing import IO

from django.conf import settings
from django.core.management import call_command

from kit.environment import open_private
from kit.standard_output import end_with_reader
from studyhub.supervisor import Program, Supervisor

VIEWER_SUBSCRIBER = "local viewer"
HUB, VIEWER, VIEWER_SYNC, EXPLANATIONS = "hub", "viewer", "viewer-sync", "explanations"
# What else than the defaults a second terminal must be told, to find the same installation.
PLACE = ("DATA_DIR", "PORT", "VIEWER_PORT")


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 after a stop that was asked for."""
    commands = _commands()
    if arguments and arguments != [name for name in arguments[:1] if name in commands]:
        print(f"One process is named, or none for all: {', '.join(commands)}.", file=sys.stderr)
        return 2
    alone = arguments[0] if arguments else None
    for process, name, port in ((HUB, "PORT", settings.PORT), (VIEWER, "VIEWER_PORT", settings.VIEWER_PORT)):
        if alone in {None, process} and not _is_free(port):
            print(
                f"Port {port} is taken. Stop what uses it, or choose another: make run {name}=NUMBER", file=sys.stderr
            )
            return 1
    with (settings.DATA_DIR / "launch.lock").open("w") as lock:
        if not alone and not _is_only_one(lock):
            print(f"StudyHub runs already with the data in {settings.DATA_DIR}. Stop it first.", file=sys.stderr)
            return 1
        return _launch(commands, alone)


def _is_only_one(lock: IO[str]) -> bool:
    """Whether nobody else runs all of it on these data. As long as the file is open, nobody will."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _launch(commands: dict[str, str], alone: str | None) -> int:
    print("Preparing the database …", flush=True)
    call_command("migrate", verbosity=0)
    _load_sample_content_once()
    environment = _environment(_viewer_token())
    if alone:
        os.chdir(settings.BASE_DIR)
        os.execve("/bin/sh", ["sh", "-c", commands[alone]], environment)  # noqa: S606 (a line of our own Procfile)
    _print_addresses()
    programs = [
        Program(name, command, _advice(name), may_start=_hub_answers if name == VIEWER_SYNC else None)
        for name, command in commands.items()
        if name != EXPLANATIONS or settings.LLM_BASE_URL
    ]
    asyncio.run(_supervise(programs, environment))
    return 0


async def _supervise(programs: list[Program], environment: dict[str, str]) -> None:
    await Supervisor(programs, environment=environment, directory=settings.BASE_DIR).run()


def _commands() -> dict[str, str]:
    """The Procfile's lines by name: `name: command`."""
    lines = (settings.BASE_DIR / "Procfile").read_text().splitlines()
    return {match[1]: match[2] for line in lines if (match := re.fullmatch(r"([\w-]+):\s*(.+)", line))}


def _advice(name: str) -> str:
    place = "".join(f"{key}={shlex.quote(os.environ[key])} " for key in PLACE if os.environ.get(key))
    return f"To see why, run it alone: {place}{shlex.quote(sys.executable)} -m studyhub.launch {name}"


async def _hub_answers() -> bool:
    """Whether the hub gives any answer. Asked without a thread, of which there may be only one: see supervisor.py."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", settings.PORT)
            writer.write(b"GET /login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return answer.startswith(b"HTTP/")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _load_sample_content_once() -> None:
    from memocards.models import Topic

    if not Topic.objects.exists():
        call_command("load_sample_content")


def _viewer_token() -> str:
    """The local viewer's token: made once, and kept where the viewer's own configuration would be."""
    from django.contrib.auth import get_user_model

    from publish.models import Subscriber
    from publish.subscribers import create_subscriber, renew_token

    path = settings.DATA_DIR / "viewer-token"
    if path.exists() and _is_valid(token := path.read_text().strip()):
        return token
    learner = get_user_model()._default_manager.filter(username="learner").first()
    learner_id = learner.pk if learner else None
    subscriber = Subscriber.objects.filter(name=VIEWER_SUBSCRIBER).first()
    if subscriber and learner_id in {subscriber.learner_id, subscriber.erased_learner_id}:
        # The same subscriber still: the viewer's database belongs to it.
        token = renew_token(subscriber, learner_id=learner_id)
    else:
        Subscriber.objects.filter(name=VIEWER_SUBSCRIBER).delete()
        _subscriber, token = create_subscriber(name=VIEWER_SUBSCRIBER, learner_id=learner_id)
    with open_private(path, "w") as file:
        file.write(token + "\n")
    return token


def _is_valid(token: str) -> bool:
    from publish.subscribers import LearnerErased, authenticate

    try:
        return authenticate(token) is not None
    except LearnerErased:
        return False


def _print_addresses() -> None:
    hub, viewer = f"http://localhost:{settings.PORT}", f"http://localhost:{settings.VIEWER_PORT}"
    logins = settings.DATA_DIR / "demo-logins"
    print()
    print(f"  Hub, to write and review    {hub}/admin/")
    print(f"  API, to browse              {hub}/api/docs (learners log in at {hub}/login/)")
    print(f"  Viewer, to learn            {viewer}/")
    print(f"  Data                        {settings.DATA_DIR}")
    if logins.exists():
        print(f"  Demo logins                 {logins}")
        for line in logins.read_text().splitlines():
            print(f"                              {line}")
    print("\nCtrl-C stops everything.\n", flush=True)


def _environment(viewer_token: str) -> dict[str, str]:
    """What the processes are started with."""
    from django.db import connection

    connection.close()
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PORT": str(settings.PORT),
        "VIEWER_PORT": str(settings.VIEWER_PORT),
        "HUB_URL": f"http://127.0.0.1:{settings.PORT}",
        "HUB_TOKEN": viewer_token,
        "PYTHONUNBUFFERED": "1",
    }


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studyhub.settings")
    import django
    from django.core.exceptions import ImproperlyConfigured

    with end_with_reader():
        try:
            django.setup()
            sys.exit(main(sys.argv[1:]))
        except ImproperlyConfigured as error:
            sys.exit(str(error))
        except KeyboardInterrupt:
            # While it prepares, nothing has been started yet.
            sys.exit(130)
