"""Another scheduler is one class in the registry: whatever offers, checks, computes or exports one follows from it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own, since the API's schema is made once; and before Django starts, as a line in the registry is.
DAILY = """
from datetime import timedelta
from kit import scheduling
from kit.scheduling import Memory, Placement, Scheduler

class Daily(Scheduler):
    name, title, version = "daily", "Every day", "1"

    def place(self, progress, answer, *, card_id):
        day = self.clock.study_day(answer.reviewed_at) + timedelta(days=1)
        return Placement(self.clock.start_of(day), 0, {"seen": 1})

    def describe_settings(self):
        return "none"

    @classmethod
    def memory(cls, state):
        return Memory(stability=1, difficulty=5)

scheduling.SCHEDULERS["daily"] = Daily
"""
QUESTIONS = """
import json, uuid
from datetime import UTC, datetime
import django
django.setup()
from kit.scheduling import Answer, Outcome, fold
from memocards.exporting.anki_scheduling import SCHEDULERS, _as_anki_keeps
from memocards.learning.progress import scheduler_of
from memocards.models import LearnerSettings, Topic
from studyhub.api import api

topic = Topic(name="Rivers", scheduler="daily")
topic.clean_fields()
scheduler = scheduler_of(topic, LearnerSettings(time_zone="Asia/Seoul"))
noon = datetime(2031, 5, 1, 3, tzinfo=UTC)
progress = fold([Answer(uuid.uuid4(), Outcome.GOOD, noon)], scheduler, card_id=1)
print(json.dumps({
    "offered": [[name, str(title)] for name, title in Topic._meta.get_field("scheduler").flatchoices],
    "accepted": api.get_openapi_schema()["components"]["schemas"]["TopicIn"]["properties"]["scheduler"]["enum"],
    "due_at": progress.due_at.isoformat(),
    "exported": _as_anki_keeps(SCHEDULERS[topic.scheduler].memory(progress.scheduler_state)),
}))
"""


def test_it_is_offered_accepted_computed_with_and_exported() -> None:
    process = subprocess.run(
        [sys.executable, "-c", DAILY + QUESTIONS],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    answers: dict[str, Any] = json.loads(process.stdout)
    assert answers["offered"][-1] == ["daily", "Every day"]
    assert answers["accepted"] == ["ladder", "fsrs", "daily"]
    # 4 o'clock of the next day in Seoul.
    assert answers["due_at"] == "2031-05-01T19:00:00+00:00"
    assert json.loads(answers["exported"]) == {"s": 1, "d": 5}


def test_it_needs_no_migration() -> None:
    process = subprocess.run(
        [sys.executable, "-c", DAILY + "import sys\nsys.argv[1:] = ['makemigrations', '--check', '--dry-run']\n"
         "from django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
