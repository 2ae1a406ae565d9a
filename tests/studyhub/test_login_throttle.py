"""Logins: counted before the password is looked at, by the name that would be tried."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from kit.addresses import trusted_proxies
from kit.attempts import PER_ACCOUNT, PER_ADDRESS
from studyhub import login_throttle
from studyhub.models import LoginAttempts

pytestmark = pytest.mark.django_db(transaction=True)

WRONG, RIGHT, REFUSED = 200, 302, 429
PAGES = ["/login/", "/admin/login/"]


@pytest.fixture(autouse=True)
def _reviewer() -> None:
    User.objects.create_superuser("reviewer", password="right")


def log_in(
    password: str, *, username: str = "reviewer", address: str = "10.0.0.1", path: str = "/login/", **headers: Any
) -> HttpResponse:
    form = {"username": username, "password": password}
    return Client(headers=headers).post(path, form, REMOTE_ADDR=address)  # type: ignore[return-value]


def statuses(*attempts: HttpResponse) -> list[int]:
    return [attempt.status_code for attempt in attempts]


def fail(times: int, **attempt: Any) -> None:
    assert {log_in("wrong", **attempt).status_code for _ in range(times)} == {WRONG}


@pytest.mark.parametrize("path", PAGES)
def test_after_some_failed_logins_even_the_right_password_waits_on_both_pages(path: str) -> None:
    fail(PER_ACCOUNT, path=path)
    for other in PAGES:
        refused = log_in("right", path=other)
        assert refused.status_code == REFUSED
        assert 0 < int(refused["Retry-After"]) <= 300
        assert "Too many failed logins" in refused.content.decode()
        assert 'name="password"' in refused.content.decode(), "in the form, not instead of it"


@pytest.mark.parametrize("spelling", ["  reviewer ", "\u3000reviewer", "ｒeviewer", "reviewer\t", "ｒｅｖｉｅｗｅｒ"])
def test_another_spelling_of_a_name_is_the_same_name(spelling: str) -> None:
    fail(PER_ACCOUNT - 1)
    assert statuses(log_in("wrong", username=spelling), log_in("wrong", username=spelling)) == [WRONG, REFUSED]
    assert log_in("right").status_code == REFUSED


@pytest.mark.parametrize("name", ["reviewer\0", "\0", "", " "])
def test_what_can_be_nobodys_name_is_neither_tried_nor_counted(name: str) -> None:
    fail(PER_ACCOUNT + 1, username=name)
    assert not LoginAttempts.objects.exists()


def test_an_unknown_name_waits_like_a_known_one() -> None:
    fail(PER_ACCOUNT, username="nobody")
    assert log_in("wrong", username="nobody").status_code == REFUSED
    assert log_in("right").status_code == RIGHT


def test_an_account_is_counted_whatever_the_address() -> None:
    for number in range(PER_ACCOUNT):
        fail(1, address=f"10.0.0.{number}")
    assert log_in("right", address="10.0.0.99").status_code == REFUSED


def test_an_address_is_counted_whatever_the_account() -> None:
    fail(PER_ADDRESS - 1, username="")  # tries nothing
    for number in range(PER_ADDRESS):
        fail(1, username=f"name {number}")
    assert log_in("right").status_code == REFUSED
    assert log_in("right", address="10.0.0.2").status_code == RIGHT
    rows = LoginAttempts.objects.count()
    assert log_in("wrong", username="one more").status_code == REFUSED
    assert LoginAttempts.objects.count() == rows, "a stopped address adds no rows, and uses up no account's attempts"


def test_a_success_forgets_the_accounts_failures_and_not_the_addresses() -> None:
    for _ in range(3):
        fail(PER_ACCOUNT - 1)
        assert log_in("right").status_code == RIGHT
    (row,) = LoginAttempts.objects.all()
    assert row.attempts == 3 * PER_ACCOUNT


def test_the_right_password_on_a_page_that_is_not_for_this_account_is_a_failure() -> None:
    User.objects.create_user("learner", password="right")
    assert {log_in("right", username="learner", path="/admin/login/").status_code for _ in range(PER_ACCOUNT)} == {200}
    assert log_in("right", username="learner").status_code == REFUSED


def test_x_forwarded_for_counts_only_from_a_trusted_proxy(settings: Any) -> None:
    for number in range(PER_ADDRESS):
        fail(1, username=f"name {number}", **{"x-forwarded-for": f"198.51.100.{number}"})
    assert log_in("right", **{"x-forwarded-for": "203.0.113.1"}).status_code == REFUSED
    settings.TRUSTED_PROXIES = trusted_proxies("10.0.0.1")
    assert log_in("right", **{"x-forwarded-for": "203.0.113.1"}).status_code == RIGHT


def test_while_locked_no_password_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    fail(PER_ACCOUNT)
    monkeypatch.setattr(AuthenticationForm, "clean", None)
    assert log_in("right").status_code == REFUSED


def test_the_window_ends_by_time_and_refusals_do_not_lengthen_it() -> None:
    fail(PER_ACCOUNT)
    ends = LoginAttempts.objects.values_list("expires_at", flat=True).order_by("pk")
    before = list(ends)
    assert log_in("right").status_code == REFUSED
    assert list(ends) == before
    LoginAttempts.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert log_in("right").status_code == RIGHT


def test_counts_that_have_ended_go_and_open_ones_stay() -> None:
    gone, later = timezone.now() - timedelta(seconds=1), timezone.now() + timedelta(seconds=100)
    LoginAttempts.objects.bulk_create(
        LoginAttempts(subject=f"{end:%s} {number}", attempts=1, expires_at=end)
        for end in (gone, later)
        for number in range(60)
    )
    for number in range(3):
        fail(1, username=f"name {number}")
    assert not LoginAttempts.objects.filter(expires_at__lte=gone).exists()
    assert LoginAttempts.objects.filter(expires_at=later).count() == 60


def test_counting_costs_the_same_however_many_rows_there_are() -> None:
    fail(1)
    with CaptureQueriesContext(connection) as few:
        fail(1)
    ends = timezone.now() + timedelta(seconds=100)
    LoginAttempts.objects.bulk_create(
        LoginAttempts(subject=str(number), attempts=1, expires_at=ends) for number in range(5000)
    )
    with CaptureQueriesContext(connection) as many:
        fail(1)
    assert len(many) == len(few)


def test_old_passwords_are_not_guessed_in_a_session_left_open() -> None:
    client = Client()
    client.force_login(User.objects.get(username="reviewer"))
    form = {"new_password1": "correct horse 9", "new_password2": "correct horse 9"}
    change = "/admin/password_change/"
    guesses = [client.post(change, {**form, "old_password": f"guess {number}"}) for number in range(PER_ACCOUNT)]
    assert {guess.status_code for guess in guesses} == {WRONG}
    refused = client.post(change, {**form, "old_password": "right"})
    assert (refused.status_code, int(refused["Retry-After"]) > 0) == (REFUSED, True)
    LoginAttempts.objects.all().delete()
    assert client.post(change, {**form, "old_password": "right"})["Location"] == "/admin/password_change/done/"


def test_more_checks_than_may_run_at_once_are_put_off_and_not_counted() -> None:
    for _ in range(login_throttle.CHECKED_AT_ONCE + 1):
        assert login_throttle._admitted.acquire(blocking=False)
    try:
        busy = log_in("right")
    finally:
        for _ in range(login_throttle.CHECKED_AT_ONCE + 1):
            login_throttle._admitted.release()
    assert (busy.status_code, busy["Retry-After"]) == (REFUSED, "1")
    assert "Many people are logging in" in busy.content.decode()
    assert not LoginAttempts.objects.exists()
    assert log_in("right").status_code == RIGHT
