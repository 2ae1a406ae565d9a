"""VIEWER_PASSWORD asks before every page; without it the viewer is open."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from kit.attempts import PER_ACCOUNT
from viewer.models import UnlockAttempts

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse"


@pytest.fixture
def locked(settings: Settings) -> None:
    settings.VIEWER_PASSWORD = PASSWORD


def unlock(client: Client, password: str = PASSWORD, next_page: str = "/study/due/") -> int:
    return client.post("/login/", {"password": password, "next": next_page}).status_code


def test_without_a_password_the_viewer_is_open(client: Client) -> None:
    assert client.get("/").status_code == 200
    assert client.get("/login/")["Location"] == "/"


@pytest.mark.usefixtures("locked")
class TestLocked:
    @pytest.mark.parametrize("path", ["/", "/study/due/", "/topics/1/", "/questions/1/", "/nowhere/"])
    def test_every_page_asks_first_and_comes_back_after(self, client: Client, path: str) -> None:
        answer = client.get(path)
        assert answer.status_code == 302
        assert answer["Location"].startswith("/login/?next=")
        asked = client.get(answer["Location"])
        assert b"This viewer is locked" in asked.content
        assert client.post("/login/", {"password": PASSWORD, "next": path})["Location"] == path

    def test_a_form_sent_to_a_locked_viewer_is_not_taken(self, client: Client) -> None:
        assert client.post("/rate/", {})["Location"] == "/login/?next=%2F"

    def test_the_stylesheet_of_the_login_page_is_served(self, client: Client) -> None:
        answer = client.get("/static/viewer/viewer.css")
        assert answer.status_code == 200
        answer.close()

    def test_the_right_password_opens_and_lock_closes(self, client: Client) -> None:
        assert unlock(client) == 302
        assert client.get("/").status_code == 200
        assert b"Lock" in client.get("/").content
        client.post("/lock/")
        assert client.get("/").status_code == 302

    def test_a_wrong_password_does_not_open(self, client: Client) -> None:
        answer = client.post("/login/", {"password": "wrong", "next": "/"})
        assert answer.status_code == 403
        assert b"That is not the password" in answer.content
        assert client.get("/").status_code == 302

    def test_guessing_is_slowed_down(self, client: Client) -> None:
        assert {unlock(client, f"guess {number}") for number in range(PER_ACCOUNT)} == {403}
        refused = client.post("/login/", {"password": PASSWORD})
        assert refused.status_code == 429, "not even the right one, or guessing would go on"
        assert 0 < int(refused["Retry-After"]) <= 300
        assert b"Too many wrong passwords" in refused.content

    def test_guesses_count_for_the_viewer_whatever_their_address(self, client: Client) -> None:
        for number in range(PER_ACCOUNT):
            client.post("/login/", {"password": "wrong"}, REMOTE_ADDR=f"10.0.0.{number}")
        assert unlock(client) == 429

    def test_the_right_password_forgets_the_wrong_ones_before_it(self, client: Client) -> None:
        for _ in range(3):
            assert {unlock(Client(), f"guess {number}") for number in range(PER_ACCOUNT - 1)} == {403}
            assert unlock(Client()) == 302

    def test_the_pause_ends_by_time(self, client: Client) -> None:
        for number in range(PER_ACCOUNT):
            unlock(client, f"guess {number}")
        UnlockAttempts.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert unlock(client) == 302

    def test_lock_locks_every_browser_and_every_copy_of_a_cookie(self, client: Client) -> None:
        other, copy = Client(), Client()
        unlock(client)
        unlock(other)
        copy.cookies["viewer_session"] = client.cookies["viewer_session"].value
        assert {browser.get("/").status_code for browser in (client, other, copy)} == {200}
        client.post("/lock/")
        copy_again = copy.get("/")
        assert {copy_again.status_code, other.get("/").status_code} == {302}
        assert unlock(other) == 302
        assert other.get("/").status_code == 200
        assert copy.get("/").status_code == 302

    def test_another_password_locks_open_sessions_again(self, client: Client, settings: Settings) -> None:
        unlock(client)
        settings.VIEWER_PASSWORD = "another"
        assert client.get("/").status_code == 302

    def test_a_session_cannot_be_made_up(self, client: Client) -> None:
        client.cookies["viewer_session"] = "eyJwYXNzd29yZCI6IngifQ:1x:forged"
        assert client.get("/").status_code == 302

    @pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
    def test_the_login_leads_nowhere_else(self, client: Client, target: str) -> None:
        assert client.post("/login/", {"password": PASSWORD, "next": target})["Location"] == "/"

    def test_the_login_form_is_protected_against_other_sites(self) -> None:
        assert unlock(Client(enforce_csrf_checks=True)) == 403
