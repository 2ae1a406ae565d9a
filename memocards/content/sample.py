"""Sample content: real facts, written for StudyHub, and demo users to look at them with."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from kit.environment import open_private
from kit.transactions import in_transaction
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.questions import questions
from memocards.models import Topic

CONTENT = Path(__file__).parent / "sample_content"

# Username → is superuser, group. Whoever is one of these is staff.
DEMO_USERS: dict[str, tuple[bool, str]] = {
    "admin": (True, ""),
    "author": (False, "author"),
    "reviewer": (False, "reviewer"),
    "learner": (False, ""),
}


def topic_files() -> Iterator[dict[str, Any]]:
    """The sample topics, each with its questions and cards."""
    for path in sorted(CONTENT.glob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


@in_transaction
def load_topic(sample: dict[str, Any]) -> tuple[int, int] | None:
    """One topic with all its content. Returns (questions, cards), or None where a topic has the name already."""
    if Topic.objects.filter(name=sample["name"]).exists():
        return None
    topic = topics.create_topic(
        name=sample["name"], description=sample["description"], position=sample["position"], editor=SYSTEM
    )
    question_ids: dict[str, int] = {}
    for entry in sample["questions"]:
        names = ("stem", "choices", "answer", "explanation", "source", "external_id", "needs_review")
        question = questions.create(topic_id=topic.pk, editor=SYSTEM, **{name: entry[name] for name in names})
        question_ids[entry["external_id"]] = question.pk
    for entry in sample["cards"]:
        cards.create(
            topic_id=topic.pk,
            editor=SYSTEM,
            question_id=question_ids.get(entry.get("question", "")),
            **{name: entry[name] for name in ("front", "back", "tags", "external_id", "needs_review")},
        )
    return len(sample["questions"]), len(sample["cards"])


@in_transaction
def create_demo_users(logins: Path) -> list[str]:
    """Those of the demo users that do not exist, with random passwords, which are added to the file `logins`.

    Returns lines of "username password" for those made now.
    """
    users = get_user_model()
    lines: list[str] = []
    for username, (is_superuser, group) in DEMO_USERS.items():
        if users._default_manager.filter(username=username).exists():
            continue
        password = secrets.token_urlsafe(9)
        user = users._default_manager.create_user(
            username=username, password=password, is_superuser=is_superuser, is_staff=is_superuser or bool(group)
        )
        user.groups.set(Group.objects.filter(name=group))
        lines.append(f"{username:<9} {password}")
    if lines:
        logins.parent.mkdir(parents=True, exist_ok=True)
        with open_private(logins, "a") as file:
            file.write("".join(f"{line}\n" for line in lines))
    return lines
