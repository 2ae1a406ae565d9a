"""The review desk by keyboard, in a browser, as people use it."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from memocards import cards
from memocards.models import MemoCard
from publish.models import PublishOutbox
from tests.browser.conftest import Sitter, reviewer
from tests.factories import MemoCardFactory, QuestionFactory, TopicFactory

DESK = "/admin/review/"
MARKDOWN = """מה מודפס?

```python
print("a long line " * 20, "and another one that goes on and on and on and on and on and on and on and on")
```

| Organ | Weight |
|:--|--:|
| 간 | 1500 g |
"""


def waiting(count: int, **fields: Any) -> list[MemoCard]:
    rows: list[MemoCard] = MemoCardFactory.create_batch(
        count, needs_review=True, topic=TopicFactory.create(name="Biology"), **fields
    )
    return rows


def shown(page: Page, card: MemoCard) -> None:
    expect(page.locator("#desk-item article")).to_have_attribute("data-key", f"card-{card.pk}")


def counted(page: Page, done: int, left: int) -> None:
    expect(page.locator("#desk-count")).to_have_text(f"{done} done · {left} left")
    bar = page.locator("#desk-bar")
    expect(bar).to_have_attribute("max", str(done + left or 1))
    expect(bar).to_have_js_property("value", done)


def test_a_pile_is_reviewed_by_keyboard(sit_down: Sitter) -> None:
    anna = reviewer(username="anna")
    approved, edited, sent, deleted, skipped, last = waiting(6)
    page = sit_down(anna)
    page.goto(DESK)
    shown(page, approved)
    counted(page, 0, 6)
    # The next one is on the page already.
    assert page.locator("template.desk-next").evaluate("t => t.content.firstElementChild.dataset.key") == (
        f"card-{edited.pk}"
    )

    page.keyboard.press("a")
    shown(page, edited)
    counted(page, 1, 5)
    expect(page.locator("#desk-message")).to_contain_text("Approved.")

    page.keyboard.press("e")
    front = page.get_by_label("Front:")
    expect(front).to_be_focused()
    front.fill("# Better\n\n**adn** more")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#desk-item .front strong")).to_have_text("adn")
    page.keyboard.press("e")
    page.get_by_label("Front:").fill("**and** more")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    shown(page, sent)
    counted(page, 2, 4)

    page.keyboard.press("s")
    reason = page.get_by_label("What is to be mended")
    expect(reason).to_be_focused()
    page.keyboard.type("add the year")
    page.keyboard.press("Enter")
    shown(page, deleted)
    counted(page, 3, 3)

    page.keyboard.press("d")
    shown(page, skipped)
    counted(page, 4, 2)
    expect(page.locator("#desk-message")).to_contain_text("Deleted.")
    page.keyboard.press("u")
    shown(page, deleted)
    counted(page, 3, 3)
    page.keyboard.press("d")
    shown(page, skipped)

    page.keyboard.press("n")
    shown(page, last)
    counted(page, 4, 2)
    page.keyboard.press("a")
    expect(page.get_by_text("Nothing here waits for you.")).to_be_visible()
    counted(page, 5, 1)
    assert f"skipped=card-{skipped.pk}" in page.url
    page.get_by_role("link", name="Look again").click()
    shown(page, skipped)
    counted(page, 5, 1)

    for row in (approved, edited, sent, deleted, skipped, last):
        row.refresh_from_db()
    assert [row.needs_review for row in (approved, edited, sent, skipped, last)] == [False, False, True, True, False]
    assert (edited.front, edited.reviewed_by) == ("**and** more", anna)
    assert (sent.sent_back_reason, sent.sent_back_by) == ("add the year", anna)
    assert deleted.deleted_at is not None
    assert PublishOutbox.objects.filter(kind="card", source_id=approved.pk, deleted=False).count() == 1


def test_quick_fingers_lose_nothing(sit_down: Sitter) -> None:
    rows = waiting(12)
    page = sit_down(reviewer())
    page.goto(DESK)
    shown(page, rows[0])
    for _ in rows:
        expect(page.locator("#desk-item article")).to_be_visible()
        page.keyboard.press("a")
    expect(page.get_by_text("Nothing here waits for you.")).to_be_visible()
    counted(page, 12, 0)
    assert not MemoCard.objects.filter(needs_review=True).exists()
    assert PublishOutbox.objects.count() == 12


def test_keys_work_under_a_korean_keyboard_and_not_in_fields(sit_down: Sitter) -> None:
    first, second = waiting(2)
    page = sit_down(reviewer())
    page.goto(DESK)
    page.keyboard.press("e")
    expect(page.get_by_label("Front:")).to_be_focused()
    page.keyboard.type("adsn")
    shown(page, first)
    page.keyboard.press("Escape")
    for modifier in ("Control+d", "Alt+d"):
        page.keyboard.press(modifier)
    shown(page, first)
    page.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ㅜ', code: 'KeyN', bubbles: true}))")
    shown(page, second)
    # On a French keyboard the letter q sits where the A is, and means nothing.
    page.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'q', code: 'KeyA', bubbles: true}))")
    shown(page, second)


def test_two_reviewers_never_see_the_same_row(sit_down: Sitter) -> None:
    rows = waiting(8)
    pages = [sit_down(reviewer()) for _ in range(2)]
    seen: list[str] = []
    for page in pages:
        page.goto(DESK)
    for page in [*pages, *pages, *pages, *pages]:
        article = page.locator("#desk-item article")
        key = article.get_attribute("data-key")
        assert key is not None
        assert key not in seen
        seen.append(key)
        with page.expect_response(lambda response: response.request.method == "POST"):
            page.keyboard.press("a")
        expect(page.locator(f'#desk-item article[data-key="{key}"]')).to_have_count(0)
    assert sorted(seen) == sorted(f"card-{row.pk}" for row in rows)


def test_a_stale_decision_comes_back_with_the_difference(sit_down: Sitter, expected_errors: list[str]) -> None:
    expected_errors.append("409 (Conflict)")
    first, second = waiting(2)
    page = sit_down(reviewer())
    page.goto(DESK)
    cards.update_card(card_id=first.pk, changes={"front": "changed meanwhile"})
    page.keyboard.press("a")
    expect(page.get_by_role("alert")).to_contain_text("Somebody changed this while you looked at it")
    expect(page.get_by_role("alert").locator("ins")).to_have_text("changed meanwhile")
    shown(page, first)
    counted(page, 0, 2)
    page.keyboard.press("a")
    shown(page, second)
    counted(page, 1, 1)


def test_a_hub_that_is_away_loses_nothing(sit_down: Sitter, expected_errors: list[str]) -> None:
    expected_errors.append("ERR_INTERNET_DISCONNECTED")
    first, second = waiting(2)
    page = sit_down(reviewer())
    page.goto(DESK)
    page.context.set_offline(True)
    page.keyboard.press("a")
    expect(page.locator("#desk-message")).to_contain_text("The hub did not answer.")
    shown(page, first)
    counted(page, 0, 2)
    page.context.set_offline(False)
    page.keyboard.press("a")
    shown(page, second)
    counted(page, 1, 1)


def test_the_pile_is_filtered(sit_down: Sitter) -> None:
    [card] = waiting(1, source="A book")
    QuestionFactory.create(needs_review=True)
    page = sit_down(reviewer())
    page.goto(DESK)
    page.get_by_text("Filter").first.click()
    page.locator(".desk-filter").get_by_label("Source").select_option("A book")
    page.get_by_role("button", name="Filter").click()
    shown(page, card)
    counted(page, 0, 1)
    expect(page.locator(".desk-filter summary")).to_contain_text("A book")


def test_it_reads_as_learners_see_it(sit_down: Sitter) -> None:
    waiting(1, front=MARKDOWN, back="세종대왕")
    page = sit_down(reviewer(), viewport={"width": 390, "height": 800})
    page.goto(DESK)
    text = page.locator("#desk-item .front")
    assert text.locator("p").first.evaluate("p => getComputedStyle(p).direction") == "rtl"
    assert text.locator("pre").evaluate("pre => getComputedStyle(pre).direction") == "ltr"
    assert text.locator("pre").evaluate("pre => pre.scrollWidth > pre.clientWidth")
    expect(text.locator("td").last).to_have_css("text-align", "right")
    expect(page.locator("#desk-item .back")).to_contain_text("세종대왕")
    # On a phone what can be decided stays in reach, and nothing pushes the page wide.
    expect(page.get_by_role("button", name="Approve")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_the_buttons_work(sit_down: Sitter) -> None:
    first, second = waiting(2)
    page = sit_down(reviewer(), java_script_enabled=False)
    page.goto(DESK)
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".messagelist")).to_contain_text("Approved.")
    page.locator(".desk-reason summary").click()
    page.get_by_label("What is to be mended").fill("the year")
    page.get_by_role("button", name="Send back to its author").click()
    expect(page.get_by_text("Nothing here waits for you.")).to_be_visible()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.needs_review, second.sent_back_reason) == (False, "the year")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_light_and_dark(sit_down: Sitter, scheme: Any) -> None:
    QuestionFactory.create(needs_review=True)
    page = sit_down(reviewer(), color_scheme=scheme)
    page.goto(DESK)
    for place in (".desk-choice-mark", ".quiet", ".desk-labels .label", ".front p"):
        assert contrast(page, place) >= 4.5, place


def contrast(page: Page, place: str) -> float:
    """Of the text at this place, by WCAG."""
    found: float = page.locator(place).first.evaluate(
        """element => {
          const parts = text => text.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b]
            .map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
            .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
          let back = element;
          while (back && (parts(getComputedStyle(back).backgroundColor)[3] ?? 1) === 0) back = back.parentElement;
          const lights = [getComputedStyle(element).color, getComputedStyle(back || document.body).backgroundColor]
            .map(parts).map(light).sort();
          return (lights[1] + 0.05) / (lights[0] + 0.05);
        }"""
    )
    return found
