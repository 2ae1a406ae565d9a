"""The commands as a person meets them: what they say, and with which exit."""

import errno
import io
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from memocards.management.commands import export_content
from memocards.models import MemoCard, Question, Topic
from tests.factories import MemoCardFactory, QuestionFactory, TopicFactory, UserFactory
from tests.memocards.importing.files import card, question, write, write_jsonl

pytestmark = pytest.mark.django_db(transaction=True)


def run(name: str, *arguments: object, **options: Any) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command(name, *map(str, arguments), stdout=out, stderr=err, no_color=True, **options)
    return out.getvalue(), err.getvalue()


def refused(name: str, *arguments: object) -> tuple[str, str]:
    """The error's sentence, and what was said before it."""
    err = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(name, *map(str, arguments), stdout=io.StringIO(), stderr=err, no_color=True)
    return str(caught.value), err.getvalue()


def test_cards_are_imported_and_counted(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [card(1), card(2, back='x <img src="a.png">', mood="good")])
    out, err = run("import_cards", path, "--topic", "Asia", "--create-topic")
    assert out == (
        "a.jsonl: 2 rows read; 2 new, 0 changed, 0 unchanged.\n"
        "  Topics created (1): Asia.\n"
        "  Columns without a use (1): mood.\n"
        "  Media left out (1): a.png.\n"
    )
    assert err == ""
    out, _err = run("import_cards", path, "--topic", "Asia")
    assert out.startswith("a.jsonl: 2 rows read; 0 new, 0 changed, 2 unchanged.\n")


def test_bad_rows_are_listed_with_file_line_and_reason(tmp_path: Path) -> None:
    TopicFactory.create(name="Asia")
    path = write_jsonl(tmp_path / "a.jsonl", [card(1), card(2, back=""), *(card(n, front="") for n in range(3, 70))])
    error, listed = refused("import_cards", path, "--topic", "Asia")
    assert error == (
        "a.jsonl: 68 rows cannot be imported, so nothing was. Correct the file, or skip the bad rows with --skip-bad."
    )
    assert listed.splitlines()[:2] == [
        "a.jsonl, line 2: The back is empty.",
        "a.jsonl, line 3: The front is empty.",
    ]
    assert listed.splitlines()[-1] == "… and 18 more."
    assert not MemoCard.objects.exists()
    out, listed = run("import_cards", path, "--topic", "Asia", "--skip-bad")
    assert out == "a.jsonl: 69 rows read; 1 new, 0 changed, 0 unchanged.\n  68 skipped as bad.\n"
    assert "a.jsonl, line 2: The back is empty." in listed


def test_an_unknown_topic_names_the_flag(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [card(1)])
    error, _listed = refused("import_cards", path, "--topic", "Asia")
    assert error == (
        "There is no topic 'Asia'. Create it first, choose one topic for all rows, or have missing ones created. "
        "That is what --topic and --create-topics are for."
    )
    error, _listed = refused("import_cards", path)
    assert (
        error == "a.jsonl, line 1: This row names no topic. Choose one topic for all rows. That is what --topic is for."
    )
    assert not Topic.objects.exists()


def test_a_dry_run_shows_the_differences_and_changes_nothing(tmp_path: Path) -> None:
    topic = TopicFactory.create(name="Asia")
    MemoCardFactory.create(topic=topic, external_id="c1", front="Front 1", back="old")
    path = write_jsonl(tmp_path / "a.jsonl", [card(1), card(2)])
    out, _err = run("import_cards", path, "--topic", "Asia", "--dry-run")
    assert out == (
        "~ line 1, c1\n    back: 'old' → 'Back 1'\n+ line 2, c2\n"
        "a.jsonl: 2 rows read; 1 would be new, 1 would be changed, 0 unchanged.\n"
        "  1 would be sent back to review, because they changed.\n"
    )
    assert MemoCard.objects.get().back == "old"


def test_questions_with_their_author(tmp_path: Path) -> None:
    TopicFactory.create(name="Asia")
    author = UserFactory.create(username="mina")
    path = write_jsonl(tmp_path / "a.jsonl", [question(1)])
    run("import_questions", path, "--topic", "Asia", "--author", "mina")
    assert Question.objects.get().author_id == author.pk
    error, _listed = refused("import_questions", path, "--topic", "Asia", "--author", "nobody")
    assert error == "There is no user 'nobody'."


def test_a_file_that_counts_from_nought_is_never_half_imported(tmp_path: Path) -> None:
    TopicFactory.create(name="Asia")
    path = write(tmp_path / "a.csv", "question,a,b,answer\none,p,q,1\ntwo,p,q,0\n")
    refusal, _listed = refused("import_questions", path, "--topic", "Asia", "--skip-bad")
    assert "The answer in line 3 is 0, so this file counts its choices from 0." in refusal
    assert not Question.objects.exists()
    run("import_questions", path, "--topic", "Asia", "--answers-from", "0")
    assert dict(Question.objects.values_list("stem", "answer")) == {"one": 2, "two": 1}


def test_encoding_format_and_markup_can_be_named(tmp_path: Path) -> None:
    TopicFactory.create(name="Asia")
    path = write(tmp_path / "a.dat", "front\tback\n<b>서울</b>\t수도\n".encode("cp949"))
    run("import_cards", path, "--topic", "Asia", "--format", "tsv", "--encoding", "cp949", "--html")
    assert MemoCard.objects.get().front == "**서울**"
    error, _listed = refused("import_cards", path, "--topic", "Asia", "--encoding", "klingon")
    assert "'klingon' is not the name of an encoding, such as cp949." in error


def test_a_foreign_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    TopicFactory.create(name="Asia")
    error, _listed = refused("import_cards", write(tmp_path / "a.pdf", "%PDF-1.7"), "--topic", "Asia")
    assert error == "a.pdf: This is a PDF, which holds no rows."


def test_exports_come_back(tmp_path: Path) -> None:
    topic = TopicFactory.create(name="Asia")
    MemoCardFactory.create(topic=topic, external_id="c1", tags=["x"])
    QuestionFactory.create(topic=topic, external_id="q1")
    out, _err = run("export_content", "Asia", "-o", tmp_path / "a.csv")
    assert out == f"{tmp_path / 'a.csv'}: 1 rows.\n"
    run("export_content", "Asia", "--questions", "-o", tmp_path / "q.jsonl")
    run("export_anki", "Asia", "-o", tmp_path / "a.apkg")
    for path in (tmp_path / "a.csv", tmp_path / "a.apkg"):
        out, _err = run("import_cards", path)
        assert out == f"{path.name}: 1 rows read; 0 new, 0 changed, 1 unchanged.\n"
    out, _err = run("import_questions", tmp_path / "q.jsonl")
    assert "1 unchanged" in out


def test_an_export_with_a_learner_says_how_much(tmp_path: Path) -> None:
    topic = TopicFactory.create(name="Asia")
    MemoCardFactory.create(topic=topic)
    UserFactory.create(username="mina")
    out, _err = run("export_anki", "Asia", "-o", tmp_path / "a.apkg", "--learner", "mina")
    assert out == f"{tmp_path / 'a.apkg'}: 1 cards, 0 with progress, 0 reviews.\n"
    assert refused("export_anki", "Asia", "-o", tmp_path / "b.apkg", "--learner", "nobody")[0] == (
        "There is no user 'nobody'."
    )


def test_an_export_that_cannot_be_written(tmp_path: Path) -> None:
    TopicFactory.create(name="Asia")
    missing = tmp_path / "gone" / "a.apkg"
    assert (
        refused("export_anki", "Asia", "-o", missing)[0] == f"{missing} cannot be written: No such file or directory."
    )
    assert refused("export_anki", "Asai", "-o", tmp_path / "a.apkg")[0] == "There is no topic 'Asai'."
    assert "does not end in .csv, .tsv or .jsonl" in refused("export_content", "Asia", "-o", tmp_path / "a.xls")[0]


def to_standard_output(count: int, **options: Any) -> subprocess.Popen[bytes]:
    """A real process that exports so many cards."""
    topic = TopicFactory.create(name="Asia")
    MemoCard.objects.bulk_create(
        MemoCard(topic=topic, front=f"단어 {n}", back="b" * 500, needs_review=False) for n in range(count)
    )
    return subprocess.Popen(
        [sys.executable, "manage.py", "export_content", "Asia"],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "STUDYHUB_TEST_DATABASE": str(connection.settings_dict["NAME"]),
            "DATA_DIR": str(settings.DATA_DIR),
            # A terminal that knows no Hangul.
            "PYTHONIOENCODING": "ascii",
        },
        cwd=settings.BASE_DIR,
        stderr=subprocess.PIPE,
        **options,
    )


def test_an_export_to_standard_output_is_utf_8() -> None:
    out, err = to_standard_output(1, stdout=subprocess.PIPE).communicate(timeout=60)
    assert '"front": "단어 0"' in out.decode()
    assert err == b""


def test_whoever_reads_an_export_may_stop() -> None:
    with to_standard_output(3_000, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="There is no /dev/full here.")
@pytest.mark.parametrize("count", [1, 3_000])
def test_a_full_disk_behind_standard_output(count: int) -> None:
    with Path("/dev/full").open("wb") as full:
        _out, err = to_standard_output(count, stdout=full).communicate(timeout=60)
    assert err.decode() == "CommandError: Standard output cannot be written: No space left on device.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="There is no /dev/full here.")
def test_an_export_to_a_device_writes_to_it(tmp_path: Path) -> None:
    """Instead of putting a file in its place."""
    MemoCardFactory.create(topic=TopicFactory.create(name="Asia"))
    device = tmp_path / "full"
    device.symlink_to("/dev/full")
    error, _said = refused("export_content", "Asia", "-o", device, "--format", "csv")
    assert error == f"{device} cannot be written: No space left on device."
    assert refused("export_anki", "Asia", "-o", device)[0] == error
    assert device.is_symlink()


def test_an_export_of_content_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = TopicFactory.create(name="Asia")
    MemoCardFactory.create(topic=topic)
    target = write(tmp_path / "a.csv", "the old one")
    target.chmod(0o600)
    path = tmp_path / "link.csv"
    path.symlink_to(target)

    def stop(*arguments: Any, **options: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(export_content, "export_content", stop)
        error, _said = refused("export_content", "Asia", "-o", path)
    assert error == f"{path} cannot be written: No space left on device."
    assert target.read_text() == "the old one"
    run("export_content", "Asia", "-o", path)
    assert target.read_text().startswith("topic,external_id,front,")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "link.csv"]


def test_progress_is_a_plain_line_away_from_a_terminal(tmp_path: Path) -> None:
    """Nothing of a bar, and no control characters, in a log."""
    TopicFactory.create(name="Asia")
    path = write_jsonl(tmp_path / "a.jsonl", (card(n) for n in range(2_000)))
    _out, err = run("import_cards", path, "--topic", "Asia")
    assert not re.search(r"[\r\x1b]", err)
