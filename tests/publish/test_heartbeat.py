import io
import signal
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from publish.heartbeat import BEAT_SECONDS, SILENCE_SECONDS, Heart, silence
from publish.models import PublishedItem, RelayHeartbeat
from tests.factories import PublishOutboxFactory, UserFactory

Start = Callable[..., subprocess.Popen[str]]
Connect = Callable[..., psycopg.Connection[Any]]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def fallen_silent() -> RelayHeartbeat:
    """A relay that worked ten minutes ago, and none since."""
    Heart().beat()
    RelayHeartbeat.objects.update(worked_at=timezone.now() - timedelta(minutes=10))
    return RelayHeartbeat.objects.get()


def check() -> str:
    """What `publish_status --check` refuses with."""
    with pytest.raises(CommandError) as refusal:
        call_command("publish_status", "--check", stdout=io.StringIO())
    assert refusal.value.returncode == 1
    return str(refusal.value)


def test_a_running_relay_beats_although_it_has_nothing_to_do(start: Start, until: Any) -> None:
    assert silence() is not None
    start("run_relay")
    first = until(RelayHeartbeat.objects.first).worked_at
    assert silence() is None
    call_command("publish_status", "--check", stdout=io.StringIO())
    until(lambda: RelayHeartbeat.objects.get().worked_at >= first + timedelta(seconds=BEAT_SECONDS))


def test_a_relay_that_was_killed_is_missed(start: Start, until: Any) -> None:
    relay = start("run_relay")
    until(RelayHeartbeat.objects.exists)
    relay.send_signal(signal.SIGKILL)
    relay.wait()
    RelayHeartbeat.objects.update(worked_at=timezone.now() - timedelta(seconds=SILENCE_SECONDS + 1))
    assert silence() is not None
    assert "no relay is at work" in check()


def test_a_hub_without_any_relay_is_told_so() -> None:
    assert "Nothing is published yet: no relay is at work." in check()


def test_while_publishing_is_switched_off_nobody_is_missed(settings: Any, fallen_silent: RelayHeartbeat) -> None:
    settings.PUBLISH_ENABLED = False
    assert silence() is None
    call_command("publish_status", "--check", stdout=io.StringIO())


def test_rows_that_wait_for_long_and_rows_set_aside_fail_the_check_too() -> None:
    from publish.models import PublishOutbox, SetAside

    Heart().beat()
    row = PublishOutboxFactory.create()
    PublishOutbox.objects.filter(pk=row.pk).update(created_at=timezone.now() - timedelta(minutes=5))
    SetAside.objects.create(kind="card", source_id=13, outbox_id=1, error="refused")
    sentences = check()
    assert "does not keep up: the oldest of 1 rows waits for 300 s" in sentences
    assert "1 rows could not be published" in sentences


def test_a_relay_that_waits_for_the_feeds_lock_says_who_holds_it(start: Start, connect: Connect, until: Any) -> None:
    call_command("run_relay", "--once", stdout=io.StringIO())
    RelayHeartbeat.objects.update(worked_at=timezone.now() - timedelta(minutes=10))
    holder = connect()
    holder.execute("SET application_name = 'a shell'")
    holder.execute("SELECT FROM publish_feed_state FOR UPDATE")
    PublishOutboxFactory.create()
    relay = start("run_relay")
    hindrance = until(lambda: RelayHeartbeat.objects.get().hindrance)
    assert hindrance.startswith(f"{holder.info.backend_pid} (a shell, idle in transaction, since 20")
    assert f"the relay waits for database session {holder.info.backend_pid}" in check()
    holder.rollback()
    until(PublishedItem.objects.exists)
    assert silence() is None
    relay.terminate()
    _stdout, stderr = relay.communicate(timeout=60)
    assert stderr.count(f"nothing is published: database session {holder.info.backend_pid}") == 1
    assert stderr.count("the feed is free again") == 1


def test_once_does_not_wait_for_a_locked_feed_without_a_word(connect: Connect) -> None:
    call_command("run_relay", "--once", stdout=io.StringIO())
    holder = connect()
    holder.execute("SELECT FROM publish_feed_state FOR UPDATE")
    PublishOutboxFactory.create()
    with pytest.raises(CommandError, match=f"locked by the database session {holder.info.backend_pid} "):
        call_command("run_relay", "--once", stdout=io.StringIO())


def test_a_relay_stopped_while_it_holds_the_feed_is_replaced(start: Start, gate: Any, waiting: Any, until: Any) -> None:
    """The stopped one is inside its transaction, as after SIGSTOP or the loss of its host."""
    PublishOutboxFactory.create_batch(3)
    open_gate = gate("AFTER INSERT ON publish_item")
    stopped = start("run_relay")
    waiting(wait_event="advisory")
    stopped.send_signal(signal.SIGSTOP)
    open_gate()
    begun = timezone.now()
    start("run_relay")
    until(lambda: PublishedItem.objects.count() == 3)
    assert timezone.now() - begun < timedelta(seconds=10)
    stopped.send_signal(signal.SIGCONT)
    PublishOutboxFactory.create(source_id=10**6)
    until(lambda: PublishedItem.objects.count() == 4)
    assert list(PublishedItem.objects.order_by("seq").values_list("seq", flat=True)) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/review/", "/admin/memocards/memocard/", "/admin/publish/subscriber/"]
)
def test_every_page_of_the_back_office_says_it(client: Client, path: str, fallen_silent: RelayHeartbeat) -> None:
    client.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    page = client.get(path).content.decode()
    assert "Nothing is published since" in page
    assert "no relay is at work" in page
    Heart().beat()
    assert "no relay is at work" not in client.get(path).content.decode()


def test_who_is_not_logged_in_is_told_nothing(client: Client, fallen_silent: RelayHeartbeat) -> None:
    assert "no relay is at work" not in client.get("/admin/login/").content.decode()
