"""What Django answers by itself is a page with one sentence, and stays one."""

import pytest
from django.test import Client
from django.utils.translation import override

from tests.factories import UserFactory


def test_pages_for_people_stay_pages(db: None) -> None:
    response = Client().get("/nothing")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


# Pages with one sentence


@pytest.mark.parametrize(
    ("language", "sentence"), [("en", "Your account may not do this."), ("ko", "할 수 없는 작업입니다")]
)
@pytest.mark.django_db
def test_a_page_that_is_not_allowed_says_so(language: str, sentence: str) -> None:
    client = Client(headers={"Accept-Language": language})
    client.force_login(UserFactory.create(is_staff=True))
    with override("en"):
        answer = client.get("/admin/publish/setaside/")
    assert answer.status_code == 403
    assert sentence in answer.content.decode()


@pytest.mark.django_db
def test_a_form_without_its_token_is_refused_in_a_sentence() -> None:
    answer = Client(enforce_csrf_checks=True).post("/login/", {"username": "a", "password": "b"})
    assert answer.status_code == 403
    assert "Go back, load it anew and try again." in answer.content.decode()


@pytest.mark.django_db
def test_a_page_that_failed_says_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("memocards.admin.dashboard.figures_for", fail)
    client = Client(raise_request_exception=False)
    client.force_login(UserFactory.create(is_staff=True))
    answer = client.get("/admin/")
    assert answer.status_code == 500
    assert "It is in the log of the hub." in answer.content.decode()
    assert "broken" not in answer.content.decode()
