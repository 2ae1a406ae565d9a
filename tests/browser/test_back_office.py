"""Lists and the first page of the back office, in a browser."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from memocards.models import MemoCard
from publish.models import PublishOutbox
from tests.browser.conftest import Sitter, reviewer
from tests.factories import (
    MemoCardFactory,
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
