"""The recipe of publish/README.md, carried out as it stands there: another project registers a kind of its own, and its
rows go to a consumer of the feed."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.db import connection
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "publish" / "README.md"

# What the README leaves to whoever has a Django project: its manage.py, and a model.
MODEL = """
from django.db import models

class Notice(models.Model):
    text = models.TextField()
    withdrawn = models.BooleanField(default=False)
"""


class Project:
    """A Django project in a folder of its own, beside publish and kit, with a database of its own."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{folder}:{folder / 'path'}",
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "DATABASE_URL": database_url,
        }
        (folder / "path").mkdir()
        for package in ("publish", "kit"):
            (folder / "path" / package).symlink_to(ROOT / package)
        for name, code in {"notices/models.py": MODEL, **blocks()}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(code)

    def manage(self, *arguments: str) -> str:
        process = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    def run(self, code: str) -> str:
        return self.manage("shell", "--command", code).strip().splitlines()[-1]

    def read_feed(self, token: str, after: str = "") -> Any:
        code = (
            "from django.test import Client\n"
            f"answer = Client(headers={{'Authorization': 'Bearer {token}'}}).get('/api/feed', {{'after': {after!r}}})\n"
            "print(answer.content.decode())"
        )
        return json.loads(self.run(code))


def blocks() -> dict[str, str]:
    """File → its code, of the README's blocks of Python."""
    codes = re.findall(r"^```python\n# (\S+)\n(.*?)^```", README.read_text(), flags=re.MULTILINE | re.DOTALL)
    return dict(codes)


@pytest.fixture
def project(django_db_setup: None, django_db_blocker: Any, tmp_path: Path) -> Iterator[Project]:
    name = sql.Identifier(f"recipe_{uuid4().hex[:12]}")
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(name))
            info = connection.connection.info
            address = urlencode({"host": info.host, "port": info.port, "password": info.password})
            url = f"postgresql://{info.user}@/{name.as_string()[1:-1]}?{address}"
        yield Project(tmp_path, url)
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        connection.close()


def test_a_kind_goes_from_row_to_feed_to_consumer(project: Project) -> None:
    project.manage("makemigrations", "notices")
    project.manage("migrate")
    token = project.manage("create_subscriber", "reader").strip().splitlines()[-1]

    key = int(project.run("from notices.services import write; print(write('Open until six.').pk)"))
    assert project.read_feed(token)["items"] == [], "what the relay has not numbered is not in the feed"
    project.manage("run_relay", "--once")
    page = project.read_feed(token)
    [item] = page["items"]
    assert (item["kind"], item["id"], item["deleted"], item["payload"]) == (
        "notice", key, False, {"text": "Open until six."},
    )  # fmt: skip

    project.run(f"from notices.services import remove; remove({key}); print()")
    project.manage("run_relay", "--once")
    [item] = project.read_feed(token, page["cursor"])["items"]
    assert (item["id"], item["deleted"], item["payload"]) == (key, True, {})


def test_a_kind_that_nobody_registered_is_refused(project: Project) -> None:
    code = (
        "from publish.kinds import UnknownKind\nfrom publish.services import enqueue\n"
        "try:\n    enqueue('poster', 1)\nexcept UnknownKind as error:\n    print(error)"
    )
    assert project.run(code) == "Unknown kind 'poster'. The kinds are: notice."


def test_it_is_short_enough_to_be_read() -> None:
    assert sum(len(code.splitlines()) for code in blocks().values()) <= 40
