"""`make run`: prepares database, sample content and the viewer's token, then starts the Procfile under honcho."""

import os
import socket
import sys
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from honcho.environ import parse_procfile
from honcho.manager import Manager

VIEWER_SUBSCRIBER = "local viewer"
EXPLANATIONS = "explanations"


def main() -> int:
    """Returns the exit code: 0 after Ctrl-C, and when all processes were told to stop."""
    for name, port in (("PORT", settings.PORT), ("VIEWER_PORT", settings.VIEWER_PORT)):
        if not _is_free(port):
            print(
                f"Port {port} is taken. Stop what uses it, or choose another: make run {name}=NUMBER", file=sys.stderr
            )
            return 1
    print("Preparing the database …", flush=True)
    call_command("migrate", verbosity=0)
    _load_sample_content_once()
    token = _viewer_token()
    _print_addresses()
    return _run_processes(token)


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
    from publish.subscribers import authenticate, create_subscriber

    path = settings.DATA_DIR / "viewer-token"
    if path.exists() and authenticate(token := path.read_text().strip()):
        return token
    Subscriber.objects.filter(name=VIEWER_SUBSCRIBER).delete()
    learner = get_user_model()._default_manager.filter(username="learner").first()
    _subscriber, token = create_subscriber(name=VIEWER_SUBSCRIBER, learner_id=learner.pk if learner else None)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token + "\n")
    return token


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


def _run_processes(viewer_token: str) -> int:
    from django.db import connection

    connection.close()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PORT": str(settings.PORT),
        "VIEWER_PORT": str(settings.VIEWER_PORT),
        "HUB_URL": f"http://127.0.0.1:{settings.PORT}",
        "HUB_TOKEN": viewer_token,
        "PYTHONUNBUFFERED": "1",
    }
    manager = Manager()
    procfile = parse_procfile((settings.BASE_DIR / "Procfile").read_text())
    for name, command in procfile.processes.items():
        if name == EXPLANATIONS and not settings.LLM_BASE_URL:
            continue
        manager.add_process(name, command, env=environment, cwd=str(settings.BASE_DIR))
    manager.loop()
    # 130 is Ctrl-C, which is how one is meant to stop it.
    return 0 if manager.returncode == 130 else int(manager.returncode or 0)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studyhub.settings")
    import django
    from django.core.exceptions import ImproperlyConfigured

    try:
        django.setup()
        sys.exit(main())
    except ImproperlyConfigured as error:
        sys.exit(str(error))
