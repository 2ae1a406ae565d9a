import io
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from publish.backfill import begin
from publish.models import BackfillPosition, PublishOutbox
from tests.factories import CardProgressFactory, MemoCardFactory, TopicFactory

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """The command takes signals over, and here it runs inside the tests' own process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(*arguments: str, stderr: io.StringIO | None = None) -> str:
    """Run the command in this process; returns what it said on standard output."""
    stdout = io.StringIO()
    call_command("backfill_publish", *arguments, stdout=stdout, stderr=stderr or io.StringIO())
    return stdout.getvalue()


def cards(count: int) -> list[int]:
    return [card.pk for card in MemoCardFactory.create_batch(count, topic=TopicFactory.create())]


def enqueued() -> list[int]:
    return list(PublishOutbox.objects.filter(kind="card").order_by("id").values_list("source_id", flat=True))


@pytest.mark.django_db
def test_all_kinds_are_enqueued_and_each_says_how_many() -> None:
    CardProgressFactory.create()
    said = run()
    assert re.findall(r"(\w+): (\d+) rows enqueued", said) == [
        ("topic", "1"),
        ("question", "0"),
        ("explanation", "0"),
        ("card", "1"),
        ("card_progress", "1"),
    ]
    assert PublishOutbox.objects.count() == 3


@pytest.mark.django_db
def test_kinds_may_be_chosen() -> None:
    CardProgressFactory.create()
    run("--kind", "card", "--kind", "topic")
    assert set(PublishOutbox.objects.values_list("kind", flat=True)) == {"card", "topic"}


@pytest.mark.django_db
@pytest.mark.parametrize("page_size", ["1", "2", "5", "1000"])
def test_any_page_size_enqueues_every_row_once(page_size: str) -> None:
    keys = cards(5)
    run("--kind", "card", "--page-size", page_size)
    assert enqueued() == keys


@pytest.mark.django_db
def test_a_dry_run_counts_and_enqueues_nothing() -> None:
    keys = cards(3)
    assert run("--dry-run", "--kind", "card") == "card: 3 rows would be enqueued.\n"
    assert "card: 2 rows would" in run("--dry-run", "--kind", "card", "--after-id", str(keys[0]))
    assert not PublishOutbox.objects.exists()
    assert not BackfillPosition.objects.exists()


@pytest.mark.django_db
def test_a_dry_run_keeps_to_max_rows() -> None:
    cards(3)
    assert run("--dry-run", "--kind", "card", "--max-rows", "2") == "card: 2 rows would be enqueued.\n"


@pytest.mark.django_db
def test_after_id_starts_above_that_row() -> None:
    keys = cards(4)
    run("--kind", "card", "--after-id", str(keys[1]))
    assert enqueued() == keys[2:]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--after-id", "3"], "exactly one --kind"),
        (["--after-id", "3", "--kind", "card", "--kind", "topic"], "exactly one --kind"),
        (["--after-id", "3", "--kind", "card", "--resume"], "leave --after-id out"),
        (["--resume"], "no unfinished backfill"),
        (["--kind", "deck"], "invalid choice: 'deck'"),
        (["--page-size", "0"], "'0' is not a whole number from 1"),
        (["--page-size", "many"], "'many' is not a whole number from 1"),
        (["--max-rows", "-1"], "'-1' is not a whole number from 1"),
        (["--max-pending", "0"], "'0' is not a whole number from 1"),
        (["--after-id", "-1", "--kind", "card"], "'-1' is not a whole number from 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_a_sentence(arguments: list[str], sentence: str) -> None:
    cards(1)
    with pytest.raises(CommandError, match=re.escape(sentence)):
        run(*arguments)
    assert not PublishOutbox.objects.exists()


@pytest.mark.django_db
def test_while_publishing_is_off_it_says_what_to_do(settings: Any) -> None:
    settings.PUBLISH_ENABLED = False
    cards(1)
    with pytest.raises(CommandError, match="PUBLISH_ENABLED=true"):
        run()
    assert not BackfillPosition.objects.exists()


@pytest.mark.django_db
def test_max_rows_stops_there_and_the_command_it_names_goes_on() -> None:
    keys = cards(5)
    said = run("--kind", "card", "--max-rows", "3", "--page-size", "2")
    assert enqueued() == keys[:3]
    assert said == f"Stopped at card {keys[2]}. Go on with: manage.py backfill_publish --resume --kind card\n"
    run(*shlex.split(said.partition("backfill_publish ")[2]))
    assert enqueued() == keys


@pytest.mark.django_db
def test_max_rows_counts_over_all_kinds_and_resume_loses_none() -> None:
    CardProgressFactory.create_batch(3)
    while True:
        said = run("--max-rows", "2", *(["--resume"] if BackfillPosition.objects.exists() else []))
        if "Stopped" not in said:
            break
    assert PublishOutbox.objects.count() == PublishOutbox.objects.values("kind", "source_id").distinct().count() == 9


@pytest.mark.django_db
def test_resume_goes_on_with_every_kind_that_is_not_finished() -> None:
    keys = cards(3)
    begin(["topic"], after_id=10**9)
    begin(["card"], after_id=keys[0])
    BackfillPosition.objects.create(kind="question", last_id=0, finished=True)
    said = run("--resume")
    assert re.findall(r"(\w+): (\d+) rows enqueued", said) == [("topic", "0"), ("card", "2")]
    assert enqueued() == keys[1:]


@pytest.mark.django_db
def test_without_resume_it_begins_again() -> None:
    keys = cards(2)
    run("--kind", "card")
    run("--kind", "card")
    assert enqueued() == keys * 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.django_db
def test_on_a_terminal_there_is_one_line_that_changes() -> None:
    cards(50)
    terminal = Terminal()
    run("--kind", "card", "--page-size", "1", stderr=terminal)
    shown = terminal.getvalue()
    assert "50/50" in shown
    assert "rows/s" in shown
    assert shown.count("\n") == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_page_and_says_how_to_go_on(
    number: signal.Signals, start: Start, gate: Any, waiting: Any
) -> None:
    keys = cards(5)
    open_gate = gate("AFTER INSERT ON publish_outbox")
    process = start("backfill_publish", "--kind", "card", "--page-size", "2")
    waiting(wait_event="advisory")
    process.send_signal(number)
    open_gate()
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert stdout == f"Stopped at card {keys[1]}. Go on with: manage.py backfill_publish --resume --kind card\n"
    assert enqueued() == keys[:2]


@pytest.mark.django_db(transaction=True)
def test_a_second_signal_forces_the_exit_and_leaves_no_half_page(
    start: Start, gate: Any, waiting: Any, until: Any
) -> None:
    cards(5)
    open_gate = gate("AFTER INSERT ON publish_outbox")
    process = start("backfill_publish", "--kind", "card", "--page-size", "2")
    [backend] = waiting(wait_event="advisory")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) in {-signal.SIGTERM, -signal.SIGINT}
    open_gate()
    until(lambda: backend not in waiting(0))
    assert enqueued() == []


@pytest.mark.django_db(transaction=True)
def test_a_signal_ends_the_wait_for_a_relay(start: Start, until: Any) -> None:
    keys = cards(5)
    process = start("backfill_publish", "--kind", "card", "--page-size", "2", "--max-pending", "3")
    until(lambda: enqueued() == keys[:4])
    process.terminate()
    stdout, _stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Stopped at card" in stdout


@pytest.mark.django_db(transaction=True)
def test_as_a_process_it_says_plain_lines_and_exits_with_zero(manage: Any) -> None:
    cards(3)
    done = manage("backfill_publish", "--kind", "card")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"card: 3 rows enqueued, [\d,]+ a second\.\n", done.stdout)
    refused = manage("backfill_publish", "--resume", "--kind", "card")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Run it without --resume" in refused.stderr
