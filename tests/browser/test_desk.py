"""The review desk by keyboard, in a browser, as people use it."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from playwright.sync_api import Dialog, Page, expect

from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.content.versions import versions_of
from memocards.models import MemoCard
from publish.models import PublishOutbox
from tests.browser.conftest import Sitter, member_of_staff, reviewer
from tests.factories import MemoCardFactory, QuestionFactory, TopicFactory, UserFactory
from tests.memocards.waiting import wait_until

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


def pressed(page: Page, key: str, **options: Any) -> None:
    """A key as a keyboard of another language, or an input method, sends it."""
    page.evaluate(
        """options => (document.activeElement || document.body).dispatchEvent(
          new KeyboardEvent("keydown", { bubbles: true, ...options })
        )""",
        {"key": key, **options},
    )


def hold(page: Page) -> None:
    """The next request waits until the page's letGo(), which sends it, or answers with this status itself."""
    page.evaluate(
        """() => {
          const real = window.fetch;
          window.fetch = async (...given) => {
            window.fetch = real;
            const status = await new Promise(resolve => { window.letGo = resolve; });
            return status ? new Response("", { status }) : real(...given);
          };
        }"""
    )


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
    # Whoever saved from within a field is still there.
    expect(page.get_by_label("Front:")).to_be_focused()
    page.get_by_label("Front:").fill("**and** more")
    expect(page.get_by_text("Unsaved changes")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("Unsaved changes")).to_be_visible()
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
    expect(page.locator(".desk-skipped")).to_have_text("1 skipped · look again")
    page.get_by_role("link", name="Look again", exact=True).click()
    shown(page, skipped)
    counted(page, 5, 1)
    expect(page.locator(".desk-skipped")).to_be_hidden()

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
    page.get_by_label("Front:").fill(first.front)
    # The input method's own Escape, which leaves no field.
    pressed(page, "Escape", isComposing=True)
    expect(page.get_by_label("Front:")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Front:")).to_be_hidden()
    for modifier in ("Control+d", "Alt+d"):
        page.keyboard.press(modifier)
    shown(page, first)
    pressed(page, "ㅜ", code="KeyN")
    shown(page, second)
    # On a French keyboard the letter q sits where the A is, and means nothing; nor does what AltGr writes.
    pressed(page, "q", code="KeyA")
    pressed(page, "æ", code="KeyA")
    pressed(page, "a", code="KeyA", modifierAltGraph=True)
    shown(page, second)
    pressed(page, "ф", code="KeyA")
    expect(page.locator("#desk-message")).to_contain_text("Approved.")


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
    cards.update(key=first.pk, changes={"front": "changed meanwhile"}, editor=SYSTEM)
    page.keyboard.press("a")
    expect(page.locator("#desk-message")).to_contain_text("It comes next.")
    shown(page, second)
    counted(page, 0, 2)
    page.keyboard.press("a")
    shown(page, first)
    expect(page.get_by_role("alert").first).to_contain_text("Somebody changed this while you looked at it")
    expect(page.get_by_role("alert").locator("ins")).to_have_text("changed meanwhile")
    # It is deaf until it was read.
    for key in "adnsa":
        page.keyboard.press(key)
    expect(page.get_by_role("button", name="Approve")).to_be_disabled()
    counted(page, 1, 1)
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    counted(page, 2, 0)


def test_what_was_not_read_is_not_decided(sit_down: Sitter, expected_errors: list[str]) -> None:
    """A row comes back while its reviewer goes on pressing A as quickly as rows come."""
    expected_errors.append("409 (Conflict)")
    first, changed, *_others = waiting(6)
    page = sit_down(reviewer())
    page.goto(DESK)
    shown(page, first)
    cards.update(key=changed.pk, changes={"front": "nobody read this"}, editor=SYSTEM)
    article = page.locator("#desk-item article")
    while not page.get_by_text("I have read it").is_visible():
        expect(article).to_be_visible()
        page.keyboard.press("a")
    for _ in range(5):
        page.keyboard.press("a")
    shown(page, changed)
    expect(page.locator("#desk[data-busy]")).to_have_count(0)
    changed.refresh_from_db()
    assert changed.needs_review


def test_what_somebody_types_is_no_command_when_a_decision_fails(sit_down: Sitter, expected_errors: list[str]) -> None:
    first, second, *_others = waiting(4)
    page = sit_down(reviewer())
    page.goto(DESK)
    hold(page)
    page.keyboard.press("d")
    shown(page, second)
    page.keyboard.press("e")
    page.keyboard.type("Answers ")
    page.evaluate("letGo(500)")
    expect(page.locator("#desk-message")).to_contain_text("The hub did not answer.")
    page.keyboard.type("and dates ")
    shown(page, second)
    expect(page.get_by_label("Front:")).to_have_value("Answers and dates " + second.front)
    counted(page, 0, 4)
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    shown(page, first)
    counted(page, 1, 3)
    page.get_by_role("button", name="I have read it").click()
    page.keyboard.press("d")
    counted(page, 2, 2)


def test_what_somebody_types_is_no_command_while_they_save(sit_down: Sitter) -> None:
    first, second, *_others = waiting(4)
    page = sit_down(reviewer())
    page.goto(DESK)
    hold(page)
    page.keyboard.press("e")
    front = page.get_by_label("Front:")
    front.fill("One")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#desk-item article")).to_have_attribute("aria-busy", "true")
    page.keyboard.type(" and")
    expect(front).to_have_value("One")
    page.evaluate("letGo()")
    expect(page.locator("#desk-message")).to_contain_text("Saved.")
    page.keyboard.type(" and dates")
    expect(front).to_have_value("One and dates")
    shown(page, first)
    page.keyboard.press("Escape")

    # A decision waits for the saving, and is made on what was saved.
    hold(page)
    front.focus()
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    shown(page, first)
    page.evaluate("letGo()")
    shown(page, second)
    counted(page, 1, 3)
    first.refresh_from_db()
    assert (first.front, first.needs_review) == ("One and dates", False)


def test_what_somebody_types_stays_when_the_row_is_lost(sit_down: Sitter) -> None:
    first, second, *_others = waiting(4)
    page = sit_down(reviewer())
    page.goto(DESK)
    page.keyboard.press("e")
    page.keyboard.type("Answers ")
    cards.approve(versions=versions_of(MemoCard, [first.pk]), editor=SYSTEM)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.keyboard.type("and dates")
    expect(page.get_by_role("alert")).to_contain_text("Somebody approved")
    page.keyboard.type("and dates")
    page.keyboard.press("Escape")
    for key in "ads":
        page.keyboard.press(key)
    shown(page, first)
    assert "Answers " in page.get_by_label("Front:").input_value()
    page.on("dialog", lambda dialog: dialog.accept())
    page.keyboard.press("n")
    shown(page, second)
    expect(page.locator("#desk[data-busy]")).to_have_count(0)
    assert MemoCard.objects.filter(needs_review=True, deleted_at=None).count() == 3


def test_an_edit_of_a_row_that_another_reviewer_took_stays(sit_down: Sitter) -> None:
    first, _second, third, _fourth = waiting(4)
    anna, ben = reviewer(username="anna"), reviewer(username="ben")
    page, other = sit_down(anna), sit_down(ben)
    page.goto(DESK)
    page.keyboard.press("e")
    page.get_by_label("Front:").fill("Anna's")
    MemoCard.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    other.goto(DESK)
    shown(other, first)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("ben has “Front")
    expect(page.get_by_label("Front:")).to_have_value("Anna's")
    expect(page.get_by_label("Front:")).not_to_be_editable()
    page.keyboard.press("Escape")
    page.on("dialog", lambda dialog: dialog.accept())
    page.keyboard.press("n")
    expect(page.locator(f'#desk-item article[data-key="card-{first.pk}"]')).to_have_count(0)
    # The second was on her page, too, and is Ben's.
    page.keyboard.press("a")
    shown(page, third)
    expect(page.locator("#desk-message")).to_contain_text("ben has “Front")
    counted(page, 0, 4)


def test_whoever_leaves_is_asked_and_loses_no_decision(sit_down: Sitter) -> None:
    first, second, third, *_others = waiting(5)
    page = sit_down(reviewer())
    asked: list[str] = []

    def go_on(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", go_on)
    page.goto(DESK)
    hold(page)
    page.keyboard.press("a")
    shown(page, second)
    page.keyboard.press("a")
    # What was not answered does not count.
    counted(page, 0, 5)
    page.goto("/admin/")
    assert asked == ["beforeunload"]
    # The first is held back in the page that is gone; the second went out when the page did.
    wait_until(lambda: not MemoCard.objects.get(pk=second.pk).needs_review)
    page.goto(DESK)
    shown(page, first)
    page.keyboard.press("e")
    page.keyboard.type("unsaved")
    page.goto("/admin/")
    assert asked == ["beforeunload"] * 2
    page.goto(DESK)
    page.keyboard.press("e")
    page.keyboard.type("unsaved")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    shown(page, third)
    assert asked == [*["beforeunload"] * 2, "confirm"]


def test_whoever_was_logged_out_logs_in_elsewhere_and_goes_on(sit_down: Sitter, expected_errors: list[str]) -> None:
    expected_errors.append("403 (Forbidden)")
    first, second = waiting(2)
    anna = reviewer(username="anna")
    anna.set_password("a password")
    anna.save()
    page = sit_down(anna)
    page.goto(DESK)
    Session.objects.all().delete()
    page.keyboard.press("e")
    page.get_by_label("Front:").fill("Edited")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#desk-message")).to_contain_text("You are logged out")
    expect(page.get_by_label("Front:")).to_have_value("Edited")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Log in, in a new tab").click()
    tab = opened.value
    tab.get_by_label("Username").fill("anna")
    tab.get_by_label("Password").fill("a password")
    tab.keyboard.press("Enter")
    expect(tab).to_have_url(re.compile(r"/admin/$"))
    # There is another token now.
    page.bring_to_front()
    page.get_by_label("Front:").focus()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#desk-message")).to_contain_text("Saved.")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    shown(page, second)
    counted(page, 1, 1)
    first.refresh_from_db()
    assert (first.front, first.needs_review) == ("Edited", False)


def test_a_decision_whose_answer_is_lost_counts_once_it_is_known(sit_down: Sitter) -> None:
    first, second, third = waiting(3)
    page = sit_down(reviewer())
    page.goto(DESK)
    page.evaluate(
        """() => {
          const real = window.fetch;
          window.fetch = async (...given) => {
            window.fetch = real;
            await real(...given);
            throw new TypeError("lost");
          };
        }"""
    )
    page.keyboard.press("a")
    expect(page.locator("#desk-message")).to_contain_text("The hub did not answer.")
    shown(page, second)
    page.keyboard.press("n")
    shown(page, first)
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    shown(page, third)
    expect(page.locator("#desk-message")).to_contain_text("Approved.")
    counted(page, 1, 2)


def test_the_reason_is_typed_right_away(sit_down: Sitter) -> None:
    rows = waiting(3)
    page = sit_down(reviewer())
    page.goto(DESK)
    page.keyboard.press("s")
    page.keyboard.type("add dates")
    expect(page.get_by_label("What is to be mended")).to_have_value("add dates")
    page.get_by_label("What is to be mended").fill(" ")
    page.keyboard.press("Enter")
    expect(page.locator("#desk-message")).to_contain_text("Say in 1 to 500 characters")
    shown(page, rows[0])


def test_with_nothing_to_undo_nothing_is_asked_for(sit_down: Sitter) -> None:
    first, second, *_others = waiting(8)
    anna = reviewer()
    page = sit_down(anna)
    page.goto(DESK)
    page.keyboard.press("a")
    shown(page, second)
    for _ in range(6):
        page.keyboard.press("u")
    shown(page, first)
    page.keyboard.press("u")
    expect(page.locator("#desk-message")).to_contain_text("There is nothing to undo any more.")
    counted(page, 0, 8)
    assert MemoCard.objects.filter(claimed_by=anna).count() == 3


def test_a_hub_that_is_away_loses_nothing(sit_down: Sitter, expected_errors: list[str]) -> None:
    expected_errors.append("ERR_INTERNET_DISCONNECTED")
    first, second = waiting(2)
    page = sit_down(reviewer())
    page.goto(DESK)
    page.context.set_offline(True)
    page.keyboard.press("a")
    expect(page.locator("#desk-message")).to_contain_text("The hub did not answer.")
    shown(page, second)
    counted(page, 0, 2)
    page.context.set_offline(False)
    page.keyboard.press("a")
    shown(page, first)
    counted(page, 1, 1)
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    counted(page, 2, 0)


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
    author = UserFactory.create(username="u" * 150)
    waiting(1, front=MARKDOWN, back="세종대왕", source="s" * 200, author=author)
    page = sit_down(reviewer(), viewport={"width": 390, "height": 800})
    page.goto(DESK)
    text = page.locator("#desk-item .front")
    assert text.locator("p").first.evaluate("p => getComputedStyle(p).direction") == "rtl"
    assert text.locator("pre").evaluate("pre => getComputedStyle(pre).direction") == "ltr"
    assert text.locator("pre").evaluate("pre => pre.scrollWidth > pre.clientWidth")
    expect(text.locator("td").last).to_have_css("text-align", "right")
    # The admin writes the headings of its own tables in capitals.
    heading = text.locator("th").first
    assert heading.inner_text() == "Organ"
    size = text.locator("td").first.evaluate("td => getComputedStyle(td).fontSize")
    expect(heading).to_have_css("font-size", size)
    expect(heading).to_have_css("font-weight", "700")
    expect(page.locator("#desk-item .back")).to_contain_text("세종대왕")
    # On a phone what can be decided stays in reach, and nothing pushes the page wide.
    expect(page.get_by_role("button", name="Approve")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_the_buttons_work(sit_down: Sitter) -> None:
    first, second, third = waiting(3)
    page = sit_down(reviewer(), java_script_enabled=False)
    page.goto(DESK)
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".messagelist")).to_contain_text("Approved.")
    page.locator(".desk-reason summary").click()
    page.get_by_label("What is to be mended").fill("the year")
    page.get_by_role("button", name="Send back to its author").click()
    page.locator(".desk-edit summary").click()
    page.get_by_label("Source:").fill("A book")
    page.get_by_label("Source:").press("Enter")
    expect(page.locator("#desk-item")).to_contain_text("A book")
    page.locator(".desk-reason summary").click()
    page.get_by_label("What is to be mended").fill("the month")
    page.get_by_label("What is to be mended").press("Enter")
    expect(page.get_by_text("Nothing here waits for you.")).to_be_visible()
    for row in (first, second, third):
        row.refresh_from_db()
    assert (first.needs_review, second.sent_back_reason) == (False, "the year")
    assert (third.needs_review, third.sent_back_reason, third.source) == (True, "the month", "A book")


def test_the_keys_that_are_named_are_those_that_work(sit_down: Sitter) -> None:
    [card] = waiting(1)
    page = sit_down(member_of_staff("approve_memocard"))
    page.goto(DESK)
    expect(page.locator(".desk-keys")).to_have_text(
        re.compile(r"^\s*A\s+approve\s+S\s+send back\s+N\s+skip\s+U\s+undo\s+Esc\s+leave a field\s*$")
    )
    for key in "ed":
        page.keyboard.press(key)
    shown(page, card)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_light_and_dark(sit_down: Sitter, scheme: Any) -> None:
    QuestionFactory.create(needs_review=True)
    page = sit_down(reviewer(), color_scheme=scheme)
    page.goto(DESK)
    for place in (".desk-choice-mark", ".quiet", ".desk-labels .label", ".front p"):
        assert contrast(page, place) >= 4.5, place


def contrast(page: Page, place: str) -> float:
    """Of the text at this place, by WCAG."""
    ratio: float = page.locator(place).first.evaluate(
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
    return ratio


def test_a_question_is_sent_back_by_enter_and_decided_by_mouse(sit_down: Sitter) -> None:
    """Its form has boxes for ten choices, most of them empty."""
    topic = TopicFactory.create()
    first, second = QuestionFactory.create_batch(2, topic=topic, needs_review=True)
    page = sit_down(reviewer())
    page.goto(DESK)
    page.keyboard.press("s")
    page.keyboard.type("Which one?")
    page.keyboard.press("Enter")
    expect(page.locator("#desk-message")).to_contain_text("Sent back")
    expect(page.locator("#desk-item article")).to_have_attribute("data-key", f"question-{second.pk}")
    page.get_by_role("button", name="Approve").click()
    counted(page, 2, 0)
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.sent_back_reason, second.needs_review) == ("Which one?", False)
