"""The sample content: what a newcomer finds, and who may look at it."""

import json
import stat
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from pytest_django.fixtures import Settings

from memocards.content.sample import create_demo_users, load_topic, topic_files
from memocards.models import ExplanationJob, MemoCard, Question, Topic
from publish.models import PublishOutbox
from tests.factories import UserFactory
from tests.memocards.outbox import outbox, truth

pytestmark = pytest.mark.django_db


@pytest.fixture
def loaded(settings: Settings, logins_file: Path) -> str:
    """The command's output."""
    settings.DATA_DIR = logins_file.parent
    call_command("load_sample_content", stdout=(out := StringIO()))
    return out.getvalue()


@pytest.fixture
def logins_file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "demo-logins"


def logins_in(path: Path) -> dict[str, str]:
    return dict(line.split() for line in path.read_text().splitlines())


def test_there_is_enough_to_look_at(loaded: str) -> None:
    assert Topic.objects.count() >= 3
    assert MemoCard.objects.count() >= 200
    assert Question.objects.filter(explanation_status="ready").count() >= 30
    assert 0 < MemoCard.objects.filter(needs_review=True).count() < 50
    assert Question.objects.filter(needs_review=True).exists()
    assert MemoCard.objects.filter(question__isnull=False).exists()
    assert MemoCard.objects.filter(front__regex="[가-힣]").exists()
    assert Topic.objects.filter(name__regex="[가-힣]").exists()
    assert outbox() == truth()


def test_loading_it_again_changes_nothing_and_brings_back_nothing(loaded: str, logins_file: Path) -> None:
    Topic.objects.filter(position=1).update(deleted_at="2024-01-01T00:00Z")
    logins = logins_file.read_text()
    assert all(f"  {line}\n" in loaded for line in logins.splitlines())
    rows = PublishOutbox.objects.count(), MemoCard.objects.count(), User.objects.count()
    call_command("load_sample_content", stdout=(out := StringIO()))
    assert (PublishOutbox.objects.count(), MemoCard.objects.count(), User.objects.count()) == rows
    assert logins_file.read_text() == logins
    assert out.getvalue().count("is there already") == Topic.objects.count()


def test_nobody_is_asked_for_explanations_that_the_sample_brings(settings: Settings) -> None:
    settings.LLM_BASE_URL = "http://localhost:9/v1"
    load_topic(next(topic_files()))
    assert Question.objects.filter(explanation_status="ready").exists()
    assert not ExplanationJob.objects.exists()


def test_a_broken_sample_leaves_nothing_half_loaded(transactional_db: None) -> None:
    sample = json.loads(json.dumps(next(topic_files())))
    sample["cards"][-1]["back"] = ""
    with pytest.raises(Exception, match=r"back|blank"):
        load_topic(sample)
    assert not Topic.objects.exists()
    assert not PublishOutbox.objects.exists()


def test_the_passwords_are_shown_kept_for_the_owner_alone_and_open_the_accounts(logins_file: Path) -> None:
    lines = create_demo_users(logins_file)
    assert stat.S_IMODE(logins_file.stat().st_mode) == 0o600
    assert logins_file.read_text().splitlines() == lines
    logins = logins_in(logins_file)
    assert set(logins) == {"admin", "author", "reviewer", "learner"}
    assert len(set(logins.values())) == 4
    for username, password in logins.items():
        assert len(password) >= 12
        assert authenticate(username=username, password=password)


def test_no_password_is_in_the_database_in_clear(logins_file: Path) -> None:
    create_demo_users(logins_file)
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(row_to_json(account)::text, '') FROM auth_user AS account")
        [stored] = cursor.fetchone()
    assert "admin" in stored
    assert not [password for password in logins_in(logins_file).values() if password in stored]


def test_each_demo_user_may_do_what_the_name_says(logins_file: Path) -> None:
    create_demo_users(logins_file)
    users = {user.username: user for user in User.objects.all()}
    assert users["admin"].is_superuser
    assert users["author"].has_perms(["memocards.add_memocard", "memocards.change_question"])
    assert not users["author"].has_perm("memocards.approve_memocard")
    assert users["reviewer"].has_perms(["memocards.approve_memocard", "memocards.approve_question"])
    assert not users["reviewer"].has_perm("memocards.add_memocard")
    assert not users["learner"].is_staff
    assert not users["learner"].get_all_permissions()


def test_a_user_of_that_name_who_is_there_already_is_left_alone(tmp_path: Path) -> None:
    mine = UserFactory.create(username="admin", password="mine")
    lines = create_demo_users(tmp_path / "logins")
    assert [line.split()[0] for line in lines] == ["author", "reviewer", "learner"]
    mine.refresh_from_db()
    assert (mine.password, mine.is_superuser) == ("mine", False)


def test_every_sample_row_is_told_apart_by_its_external_id() -> None:
    for sample in topic_files():
        for rows in (sample["cards"], sample["questions"]):
            names = [row["external_id"] for row in rows]
            assert len(set(names)) == len(names)
            assert all(names)
        known = {row["external_id"] for row in sample["questions"]}
        assert {row["question"] for row in sample["cards"] if "question" in row} <= known
