"""VIEWER_PASSWORD asks before every page; without it the viewer is open."""

import pytest
from django.test import Client
from pytest_django import Settings

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
        assert {unlock(client, f"guess {number}") for number in range(10)} == {403}
        assert unlock(client, "guess") == 429
        assert unlock(client) == 429, "not even the right one, or guessing would go on"

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
