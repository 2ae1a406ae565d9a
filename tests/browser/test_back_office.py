"""Lists and the first page of the back office, in a browser."""

from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import transaction
from playwright.sync_api import expect
from pytest_django import Settings

from memocards.explaining.requesting import defer
from memocards.models import MemoCard
from publish.models import PublishOutbox, SetAside
from tests.browser.conftest import Sitter, reviewer
from tests.factories import (
    CardProgressFactory,
    LearnerSettingsFactory,
    MemoCardFactory,
    PublishedItemFactory,
    PublishOutboxFactory,
    QuestionFactory,
    ReviewFactory,
    SubscriberFactory,
    TopicFactory,
    UserFactory,
)

CARDS = "/admin/memocards/memocard/"


def test_five_hundred_cards_are_approved_at_once(sit_down: Sitter) -> None:
    anna = reviewer(username="anna")
    MemoCardFactory.create_batch(500, needs_review=True, topic=TopicFactory.create())
    page = sit_down(anna)
    page.goto(CARDS)
    page.locator("#action-toggle").check()
    page.get_by_text("Select all 500 memo cards").click()
    page.get_by_label("Action:").select_option(label="Approve selected memo cards")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_text("Approve 500 rows?")).to_be_visible()
    expect(page.get_by_text("Viewers will show 500 more rows.")).to_be_visible()
    assert MemoCard.objects.filter(needs_review=True).count() == 500
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.locator(".messagelist")).to_contain_text("Approved. 500 of 500 rows.")
    assert MemoCard.objects.filter(needs_review=False, reviewed_by=anna).count() == 500
    assert PublishOutbox.objects.filter(kind="card", deleted=False).count() == 500
    expect(page.get_by_text("Nothing waits for review.")).to_be_visible()


def test_rows_are_tagged_after_a_question(sit_down: Sitter) -> None:
    first, second, other = MemoCardFactory.create_batch(3, topic=TopicFactory.create())
    page = sit_down(reviewer())
    page.goto(CARDS + "?state=approved")
    for row in (first, second):
        page.locator(f'input[name="_selected_action"][value="{row.pk}"]').check()
    page.get_by_label("Action:").select_option(label="Tag selected memo cards")
    page.get_by_role("button", name="Go").click()
    page.get_by_label("Add:").fill("chapter 1\n역사")
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.locator(".messagelist")).to_contain_text("2 of 2 rows.")
    for row in (first, second, other):
        row.refresh_from_db()
    assert (first.tags, second.tags, other.tags) == (["chapter 1", "역사"], ["chapter 1", "역사"], [])


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_first_page_fits_and_its_charts_are_seen(sit_down: Sitter, width: int, scheme: Any) -> None:
    topic = TopicFactory.create(name="A very long name of a topic " * 5)
    MemoCardFactory.create_batch(3, topic=topic, needs_review=True)
    QuestionFactory.create(topic=topic, explanation_status="failed")
    ReviewFactory.create(card=MemoCardFactory.create(topic=topic))
    SubscriberFactory.create(name="x" * 100)
    admin: User = UserFactory.create(is_staff=True, is_superuser=True)
    page = sit_down(admin, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto("/admin/")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = page.locator(".figures svg rect").evaluate_all(
        "rects => rects.filter(rect => rect.getBoundingClientRect().width > 0).map(rect => getComputedStyle(rect).fill)"
    )
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert drawn
    assert not {"none", "rgb(0, 0, 0)", ground} & set(drawn)
    page.get_by_role("link", name="Review desk").first.click()
    expect(page.locator("#desk-item article")).to_be_visible()


LISTS = [
    *("memocards/topic", "memocards/question", "memocards/memocard", "memocards/cardprogress", "memocards/review"),
    *("memocards/learnersettings", "memocards/explanationjob", "admin/logentry", "auth/user"),
    *("publish/publishoutbox", "publish/publisheditem", "publish/setaside", "publish/subscriber"),
]


@pytest.fixture
def something_of_everything() -> User:
    """Rows for all lists, with long texts; the superuser who looks at them."""
    admin: User = UserFactory.create(is_staff=True, is_superuser=True, username="a" * 40)
    topic = TopicFactory.create(name="A rather long name of a topic")
    failed = {"explanation_status": "failed", "explanation_attempts": 5, "explanation_error": "It said 500. " * 5}
    question = QuestionFactory.create(topic=topic, stem="Long words: " + "konjugation" * 6, author=admin, **failed)
    tags = ["a-tag-without-a-blank", "another tag"]
    card = MemoCardFactory.create(topic=topic, question=question, tags=tags, author=admin, reviewed_by=admin)
    CardProgressFactory.create(card=card, lapse_count=9, review_count=12)
    ReviewFactory.create(card=card)
    LearnerSettingsFactory.create()
    PublishOutboxFactory.create()
    PublishedItemFactory.create()
    SubscriberFactory.create(name="x" * 60)
    SetAside.objects.create(kind="card", source_id=card.pk, outbox_id=1, error="violates a constraint " * 4)
    LogEntry.objects.create(user=admin, action_flag=CHANGE, object_repr=card.front, change_message="Approved.")
    with transaction.atomic():
        defer([question.pk])
    return admin


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_no_list_scrolls_sideways(sit_down: Sitter, something_of_everything: User, width: int) -> None:
    page = sit_down(something_of_everything, viewport={"width": width, "height": 900})
    for name in LISTS:
        page.goto(f"/admin/{name}/?state=live" if name.endswith(("question", "memocard")) else f"/admin/{name}/")
        expect(page.locator("#result_list tbody tr").first).to_be_visible()
        for box in ("html", "#changelist .results"):
            over = page.locator(box).evaluate("box => box.scrollWidth - box.clientWidth")
            assert over <= 0, (name, box)


def test_on_a_phone_a_row_says_what_each_of_its_texts_is_and_can_be_chosen(
    sit_down: Sitter, something_of_everything: User
) -> None:
    MemoCardFactory.create_batch(3, topic=TopicFactory.create(), needs_review=True)
    page = sit_down(something_of_everything, viewport={"width": 390, "height": 844}, has_touch=True)
    page.goto(CARDS)
    row = page.locator("#result_list tbody tr").first
    label = "cell => getComputedStyle(cell, '::before').content"
    assert row.locator(".field-state").evaluate(label) == '"State"'
    # What is empty takes no room.
    expect(row.locator(".field-leech")).to_be_hidden()
    # The filters stand above the rows, folded until they are wanted.
    choice = page.locator("#changelist-filter").get_by_role("link", name="Deleted", exact=True)
    expect(choice).to_be_hidden()
    page.locator("#changelist-filter summary").first.click()
    expect(choice).to_be_visible()
    for box in page.locator(".action-select").all():
        box.check()
    page.get_by_label("Action:").select_option(label="Approve selected memo cards")
    page.get_by_role("button", name="Go").click()
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.locator(".messagelist")).to_contain_text("Approved. 3 of 3 rows.")
    page.goto(CARDS)
    expect(page.locator("#changelist-filter").get_by_role("link", name="Deleted", exact=True)).to_be_visible()


def test_an_explanation_is_asked_for_with_a_button(sit_down: Sitter, settings: Settings) -> None:
    settings.LLM_BASE_URL, settings.LLM_MODEL = "http://localhost:9/v1", "wise-owl"
    failed = {"explanation_status": "failed", "explanation_attempts": 5, "explanation_error": "It said 500."}
    question = QuestionFactory.create(stem="Why?", **failed)
    page = sit_down(reviewer())
    page.goto(f"/admin/memocards/question/{question.pk}/change/")
    expect(page.get_by_text("Failed · 5 of 5 attempts failed · It said 500.")).to_be_visible()
    page.get_by_role("button", name="Try explanation again").click()
    expect(page.locator(".messagelist")).to_contain_text("Explanation asked for.")
    expect(page.locator(".standing").first).to_have_text("Pending")
    expect(page.get_by_role("button", name="Try explanation again")).to_have_count(0)
    page.goto("/admin/memocards/explanationjob/")
    expect(page.get_by_role("row").filter(has=page.get_by_role("link", name="Why?"))).to_contain_text("Waits")


def test_every_page_has_the_icon(sit_down: Sitter) -> None:
    page = sit_down(reviewer())
    for address in ("/admin/", CARDS, "/admin/review/"):
        page.goto(address)
        icon = page.locator("link[rel=icon]").get_attribute("href")
        assert page.request.get(icon or "").headers["content-type"] == "image/svg+xml"
    assert page.request.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
