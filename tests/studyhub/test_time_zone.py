"""Pages show times in their reader's zone, name it, and write every date in one style."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override

from publish.moments import shown_age, shown_moment
from studyhub.time_zone import COOKIE, FIELD
from tests.factories import LearnerSettingsFactory, ReviewFactory, UserFactory
from tests.memocards.admin.test_content import Form, list_of, page_of
from tests.studyhub.test_korean import EVERY_ADMIN, korean_groups, pages_of, rows  # noqa: F401
from tests.studyhub.visible import VisibleText

pytestmark = pytest.mark.django_db(transaction=True)

REVIEWS = "/admin/memocards/review/"


@pytest.fixture(autouse=True)
def _language() -> Iterator[None]:
    """A thread keeps the language of its last request, which the next test has not asked for."""
    with override("en"):
        yield


def reader(zone: str | None = None, user: User | None = None, language: str = "en") -> Client:
    """A superuser at a browser that says it is in this zone."""
    client = Client(headers={"Accept-Language": language})
    client.force_login(user or UserFactory.create(is_staff=True, is_superuser=True))
    if zone is not None:
        client.cookies[COOKIE] = zone
    return client


def form_of(client: Client, user: User) -> dict[str, str]:
    """What a browser would send from a user's page; nothing for the lists of which nothing is chosen."""
    sent = Form(client.get(page_of(user)).content.decode()).data
    return {name: value for name, value in sent.items() if name not in {"groups", "user_permissions"}}


def text_of(response: Any) -> str:
    return "\n".join(VisibleText(response.content.decode()).pieces)


# Whose zone it is


def test_the_zone_is_the_readers_own_else_their_browsers_else_the_hubs(settings: Any) -> None:
    settings.STUDY_TIME_ZONE = "Europe/Paris"
    ReviewFactory.create(reviewed_at=datetime(2026, 1, 5, 9, 0, tzinfo=UTC))
    user = UserFactory.create(is_staff=True, is_superuser=True)
    wanted = [(None, "Europe/Paris", "10:00"), ("America/New_York", "America/New_York", "04:00")]
    for cookie, zone, hour in wanted:
        text = text_of(reader(cookie, user).get(REVIEWS))
        assert f"Time zone: {zone}" in text
        assert f"2026-01-05 {hour}" in text
    own = LearnerSettingsFactory.create(learner=user, time_zone="")
    assert "Time zone: America/New_York" in text_of(reader("America/New_York", user).get(REVIEWS))
    own.time_zone = "Asia/Seoul"
    own.save()
    text = text_of(reader("America/New_York", user).get(REVIEWS))
    assert "Time zone: Asia/Seoul" in text
    assert "2026-01-05 18:00" in text


def test_an_hour_that_comes_twice_and_one_that_never_comes_are_those_of_the_zone() -> None:
    for when in ("2026-03-08T06:59", "2026-03-08T07:00", "2026-11-01T05:30", "2026-11-01T06:30", "2026-11-01T07:30"):
        ReviewFactory.create(reviewed_at=datetime.fromisoformat(f"{when}+00:00"))
    text = text_of(reader("America/New_York").get(REVIEWS + "?o=1"))
    shown = re.findall(r"2026-\d\d-\d\d \d\d:\d\d", text)
    assert shown == ["2026-03-08 01:59", "2026-03-08 03:00", *["2026-11-01 01:30"] * 2, "2026-11-01 02:30"]


@pytest.mark.parametrize(
    "cookie",
    [
        *("", "Mars/Olympus", "asia/seoul", "../../etc/passwd", "/etc/localtime", "localtime", "Factory", "posix/UTC"),
        *(
            "Asia/Seoul\\0",
            "Asia%2FSeoul",
            "Asia/Seoul<script>",
            "서울".encode().decode("latin-1"),
            "Z" * 3000,
            "Asia/Seoul/../Seoul",
            "zone.tab",
        ),
    ],
)
def test_a_cookie_that_names_no_zone_is_ignored(cookie: str) -> None:
    response = reader(cookie).get("/admin/")
    assert response.status_code == 200
    assert "Time zone: UTC" in text_of(response)


def test_the_zone_of_one_request_is_not_the_next_ones() -> None:
    ReviewFactory.create(reviewed_at=datetime(2026, 1, 5, 9, 0, tzinfo=UTC))
    reader("Asia/Seoul").get(REVIEWS)
    assert timezone.get_current_timezone_name() == "UTC"
    assert "2026-01-05 09:00" in text_of(reader().get(REVIEWS))


def test_answers_that_depend_on_the_cookie_say_so_to_caches() -> None:
    for page in ("/admin/", "/admin/login/", "/login/"):
        assert "Cookie" in reader("Asia/Seoul").get(page).headers["Vary"]


# Forms


def test_a_time_is_read_in_the_zone_in_which_the_form_showed_it() -> None:
    joined = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
    other = UserFactory.create(date_joined=joined)
    client = reader("Asia/Seoul")
    form = form_of(client, other)
    assert (form["date_joined_0"], form["date_joined_1"]) == ("2026-01-05", "18:00:00")
    # The reader has travelled since.
    client.cookies[COOKIE] = "America/New_York"
    form |= {"username": other.username, "date_joined_1": "18:30:00"}
    assert client.post(page_of(other), form).status_code == 302
    other.refresh_from_db()
    assert other.date_joined == joined + timedelta(minutes=30)


def test_a_form_that_comes_back_refused_shows_the_time_as_it_was_typed() -> None:
    other = UserFactory.create(date_joined=datetime(2026, 1, 5, 9, 0, tzinfo=UTC))
    client = reader("Asia/Seoul")
    form = form_of(client, other)
    client.cookies[COOKIE] = "America/New_York"
    again = client.post(page_of(other), form | {"username": ""})
    shown = Form(again.content.decode()).data
    assert (shown["date_joined_1"], shown[FIELD]) == ("18:00:00", "Asia/Seoul")
    assert "Time zone: Asia/Seoul" in text_of(again)


def test_a_zone_that_a_form_invents_is_ignored() -> None:
    other = UserFactory.create(date_joined=datetime(2026, 1, 5, 9, 0, tzinfo=UTC))
    client = reader("Asia/Seoul")
    form = form_of(client, other) | {FIELD: "Mars/Olympus"}
    assert client.post(page_of(other), form).status_code == 302
    other.refresh_from_db()
    assert other.date_joined == datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


# Programs


def test_the_api_says_the_same_in_every_zone() -> None:
    row = ReviewFactory.create()
    seoul, hub = (reader(zone, row.learner).get("/api/study-cards/due") for zone in ("Asia/Seoul", None))
    assert seoul.status_code == hub.status_code == 200
    assert "+09:00" not in seoul.content.decode()


def test_a_program_can_read_a_time_of_ours_too() -> None:
    when = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
    with timezone.override("Asia/Seoul"):
        assert shown_moment(when) == '<time datetime="2026-01-05T09:00:00+00:00">2026-01-05 18:00</time>'
        assert shown_age(when).startswith('<time datetime="2026-01-05T09:00:00+00:00" title="2026-01-05 18:00">')
    assert shown_moment(None) == "–"


# One style, in every page

MOMENT = re.compile(r"(?<!\d)\d{4}-\d\d-\d\d \d\d:\d\d(?![\d:])")
MONTH = "(?:Jan|Feb|March|April|May|June|July|Aug|Sept|Oct|Nov|Dec)"
OTHER_STYLES = re.compile(
    rf"\d{{1,2}}:\d\d|\b20\d\d\s*[./년]|[./]20\d\d|, 20\d\d|\d{{1,2}}월|오전|오후|정오|자정|\d-\d\dT|"
    rf"\b[ap]\.m\.|\b[AP]M\b|\bnoon\b|\bmidnight\b|\b{MONTH}[a-z]*\.? \d|\d {MONTH}\b"
)


def moments_in(page: str, response: Any, zone: str) -> list[datetime]:
    """The moments that a page shows, in its zone. Fails where one is written in another style."""
    if response.status_code != 200 or not response["Content-Type"].startswith("text/html"):
        return []
    text = text_of(response)
    assert zone in text, f"{page} does not name its zone"
    assert OTHER_STYLES.findall(MOMENT.sub("", text)) == [], page
    return [datetime.fromisoformat(moment) for moment in MOMENT.findall(text)]


@pytest.mark.parametrize(("model", "model_admin"), EVERY_ADMIN)
@pytest.mark.usefixtures("rows")
def test_every_page_shows_its_times_in_the_zone_and_in_one_style(model: type[Model], model_admin: Any) -> None:
    user = UserFactory.create(is_staff=True, is_superuser=True, username="관리자")
    # A quarter of an hour off: no full hour that was forgotten looks right by chance.
    near, far = reader("UTC", user), reader("Asia/Kathmandu", user, "ko")
    shown = 0
    for page in [
        *_pages_of_rows(model, model_admin),
        f"{list_of(model)}?state=live",
        f"{list_of(model)}?state=deleted",
    ]:
        here = moments_in(page, near.get(page), "UTC")
        there = moments_in(page, far.get(page), "Asia/Kathmandu")
        assert there == [moment + timedelta(hours=5, minutes=45) for moment in here], page
        shown += len(here)
    # A user's stand in the fields of a form.
    without = {"user", "group", "learnersettings", "feedstate", "backfillposition"}
    assert shown or model._meta.model_name in without


def _pages_of_rows(model: type[Model], model_admin: Any) -> list[str]:
    keys = [str(key) for key in model._default_manager.values_list("pk", flat=True)]
    return [
        reverse(f"admin:{name}", args=arguments)
        for name, has_key in pages_of(model_admin)
        for arguments in ([[key] for key in keys] if has_key else [[]])
    ]


@pytest.mark.usefixtures("rows")
def test_the_first_page_and_the_desk_write_no_date_otherwise() -> None:
    ReviewFactory.create()
    for language in ("en", "ko"):
        client = reader("Asia/Kathmandu", language=language)
        for page in ("/admin/", "/admin/review/", "/admin/review/?kind=question"):
            moments_in(page, client.get(page), "Asia/Kathmandu")


@pytest.mark.parametrize(
    "other",
    [
        *(
            "Jan. 5, 2026, 9 a.m.",
            "01/05/2026",
            "2026년 1월 5일",
            "오전 9시",
            "2026-01-05T09",
            "5 May",
            "09:00:00",
            "noon",
        ),
        *("2026-01-05 09:00:30", "January 5", "9 AM", "2026. 1. 5."),
    ],
)
def test_another_style_is_found(other: str) -> None:
    with pytest.raises(AssertionError):
        moments_in("/", HttpResponse(f"<p>UTC {other}</p>"), "UTC")
