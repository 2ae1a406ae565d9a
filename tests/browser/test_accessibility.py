"""Every page of the hub, for those who do not see it, who see little, or who touch it."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page, expect

from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.models import MemoCard
from tests.browser.conftest import Sitter, member_of_staff, reviewer
from tests.browser.test_back_office import something_of_everything  # noqa: F401
from tests.factories import MemoCardFactory, QuestionFactory, TopicFactory
from tests.studyhub.test_korean import pages_of

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 780}
# Each size and each scheme; and every pair of them.
BOTH = [(WIDE, "light"), (PHONE, "dark")]
EVERY_LOOK = [*BOTH, (WIDE, "dark"), (PHONE, "light")]
COLOURS_HAVE_CHANGED = "Promise.allSettled(document.getAnimations().map((animation) => animation.finished))"
# Swagger's own page within ours.
NOT_OURS = {"exclude": [["#swagger-ui"]]}
ACTIONS = {"memocard": "move", "topic": "delete_selected"}
NO_PAGES = ("_export", "_process_import", "_autocomplete", "jsi18n")
# One of each kind, for the quick run.
QUICK = [
    *("/admin/", "/admin/memocards/question/add/", "/admin/memocards/memocard/?state=live", "/nothing/"),
    *("/admin/memocards/memocard/import/", "/admin/publish/subscriber/add/"),
]


def findings(page: Page) -> list[str]:
    """What axe-core calls serious or critical on the page as it is, each with its place."""
    result = page.evaluate("context => axe.run(context)", NOT_OURS)
    return [
        f"{violation['impact']} {violation['id']}: {node['html'][:200]}"
        for violation in result["violations"]
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]


def look_at(page: Page, looks: Sequence[tuple[Any, Any]] = BOTH) -> list[str]:
    """Findings in each of these sizes and colour schemes."""
    all_findings = []
    for viewport, scheme in looks:
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=scheme)
        page.evaluate(COLOURS_HAVE_CHANGED)
        all_findings += [f"{viewport['width']} {scheme} {finding}" for finding in findings(page)]
    return all_findings


@pytest.fixture
def page(sit_down: Sitter, something_of_everything: User, expected_errors: list[str]) -> Page:  # noqa: F811
    # Of pages that are there to say no.
    expected_errors.append("Failed to load resource")
    topic = TopicFactory.create(name="한국사")
    MemoCardFactory.create_batch(3, topic=topic, needs_review=True)
    QuestionFactory.create_batch(2, topic=topic, needs_review=True)
    cards.delete(keys=[MemoCardFactory.create(topic=topic).pk], editor=SYSTEM)
    # The policy is not what is looked at here, and axe breaks it.
    page = sit_down(something_of_everything, viewport=WIDE, bypass_csp=True)
    page.add_init_script(AXE_SCRIPT)
    return page


def addresses() -> Iterator[str]:
    """Every page that there is, with a row of each model."""
    yield from QUICK
    yield from ("/admin/password_change/", "/admin/memocards/", "/admin/review/?topic=999", "/api/docs")
    yield from (f"/admin/memocards/memocard/?{query}" for query in ("state=deleted", "q=nothing", "topic=999"))
    for card in MemoCard.objects.filter(deleted_at__isnull=False):
        yield reverse("admin:memocards_memocard_change", args=[card.pk])
    for model, model_admin in admin.site._registry.items():
        row = model._default_manager.first()
        for name, has_key in pages_of(model_admin):
            if not name.endswith(NO_PAGES) and (row or not has_key):
                yield reverse(f"admin:{name}", args=[row.pk] if has_key and row else [])


def test_a_page_of_each_kind_can_be_used_by_everybody(page: Page) -> None:
    for address, look in zip(QUICK, BOTH * len(QUICK), strict=False):
        page.goto(address)
        assert look_at(page, [look]) == [], address


@pytest.mark.slow
def test_every_page_can_be_used_by_everybody(page: Page) -> None:
    for address in addresses():
        response = page.goto(address)
        # Nobody adds what only ever happens.
        if response is not None and response.status != 403:
            assert look_at(page, EVERY_LOOK) == [], address


def test_what_asks_first_can_be_used_by_everybody(page: Page) -> None:
    for model, action in ACTIONS.items():
        page.goto(f"/admin/memocards/{model}/?state=live")
        page.locator(".action-select").first.check()
        page.locator("select[name=action]").select_option(action)
        page.get_by_role("button", name="Go").click()
        expect(page.get_by_role("button", name="Yes, I’m sure")).to_be_visible()
        assert look_at(page) == [], (model, action)


def test_the_desk_can_be_used_by_everybody_in_each_of_its_states(page: Page) -> None:
    page.goto("/admin/review/?kind=question")
    page.keyboard.press("e")
    expect(page.locator(".desk-edit[open]")).to_be_visible()
    assert look_at(page) == []
    page.get_by_label("Choice 1", exact=True).fill("")
    page.locator(".desk-edit button").click()
    expect(page.locator("#desk-item .errorlist").first).to_be_visible()
    assert look_at(page) == []
    page.goto("/admin/review/?kind=card")
    page.keyboard.press("s")
    expect(page.get_by_label("What is to be mended")).to_be_focused()
    assert look_at(page) == []
    page.keyboard.press("Escape")
    MemoCard.objects.filter(needs_review=True).update(front="Somebody else’s")
    page.keyboard.press("a")
    expect(page.locator("#desk-message")).to_contain_text("It comes next.")
    page.keyboard.press("n")
    expect(page.locator("#desk-item ins").first).to_be_visible()
    assert look_at(page) == []
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    expect(page.locator("#desk-message")).to_contain_text("Approved.")
    assert look_at(page) == []


def test_the_pages_before_the_login_can_be_used_by_everybody(page: Page) -> None:
    page.context.clear_cookies()
    for address in ("/admin/login/", "/login/"):
        page.goto(address)
        assert look_at(page) == [], address
        page.get_by_label("Username").fill("nobody")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator(".errornote")).to_be_visible()
        assert look_at(page) == [], address


def test_a_refused_form_can_be_used_by_everybody(page: Page) -> None:
    page.goto("/admin/memocards/question/add/")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".errorlist").first).to_be_visible()
    assert look_at(page) == []


def test_axe_finds_what_is_wrong(page: Page) -> None:
    page.goto("/admin/")
    page.evaluate("document.querySelector('#content').insertAdjacentHTML('beforeend', '<input><button></button>')")
    text = " ".join(look_at(page))
    assert "critical label" in text
    assert "critical button-name" in text


# What moves

FORMS = [
    *("/admin/memocards/question/add/", "/admin/memocards/memocard/add/", "/admin/memocards/topic/add/"),
    *("/admin/memocards/memocard/import/", "/admin/publish/subscriber/add/", "/admin/auth/group/add/"),
    *("/admin/memocards/learnersettings/add/", "/admin/review/", "/admin/review/?kind=question", "/admin/"),
    *("/admin/memocards/memocard/?state=live", "/admin/auth/user/"),
]
SHIFTS = """
  window.shift = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
"""
# A form, a list and the desk, for the quick run.
MOVING = ["/admin/memocards/question/add/", "/admin/memocards/memocard/?state=live", "/admin/review/"]


@pytest.mark.parametrize(
    ("viewport", "sidebar", "pages"),
    [
        pytest.param(WIDE, "true", MOVING, id="quick"),
        pytest.param(PHONE, "true", FORMS, id="phone", marks=pytest.mark.slow),
        pytest.param(WIDE, "true", FORMS, id="open", marks=pytest.mark.slow),
        pytest.param(WIDE, "false", FORMS, id="closed", marks=pytest.mark.slow),
    ],
)
def test_nothing_moves_once_a_page_is_shown(page: Page, viewport: Any, sidebar: str, pages: list[str]) -> None:
    page.set_viewport_size(viewport)
    page.add_init_script(SHIFTS)
    # On a slow machine the page is drawn while it comes.
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 6})
    page.add_init_script(f"localStorage.setItem('django.admin.navSidebarIsOpen', '{sidebar}')")
    moved = {}
    for address in pages:
        page.goto(address)
        # Two frames later, everything that the page's scripts did was drawn.
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        moved[address] = page.evaluate("window.shift")
    assert {address: shift for address, shift in moved.items() if shift >= 0.05} == {}


# What is touched


@pytest.mark.parametrize(("viewport", "least"), [(PHONE, 44), (WIDE, 24)], ids=["phone", "desk"])
def test_a_row_is_chosen_by_a_box_that_a_finger_can_hit(page: Page, viewport: Any, least: int) -> None:
    page.set_viewport_size(viewport)
    page.goto("/admin/memocards/memocard/?state=live")
    boxes = page.locator(".action-select, #action-toggle").all()
    assert len(boxes) > 4
    for box in boxes:
        size = box.bounding_box()
        assert size is not None
        assert min(size["width"], size["height"]) >= least
        # Its corners are its own: nothing lies over it.
        corner = {"x": 2, "y": 2}
        was = box.is_checked()
        box.click(position=corner)  # type: ignore[arg-type]
        assert box.is_checked() != was
        box.click(position=corner)  # type: ignore[arg-type]


# Whose time it is


def test_times_are_those_of_the_browsers_zone_from_the_second_page_on(sit_down: Sitter) -> None:
    page = sit_down(reviewer(), timezone_id="Asia/Seoul")
    page.goto("/admin/")
    expect(page.locator("#time-zone")).to_have_text("Time zone: UTC")
    page.goto("/admin/review/")
    expect(page.locator("#time-zone")).to_have_text("Time zone: Asia/Seoul")


def test_the_clock_of_a_form_agrees_with_the_browsers(sit_down: Sitter) -> None:
    user = member_of_staff("change_user", "view_user")
    page = sit_down(user, timezone_id="America/New_York")
    page.goto("/admin/")
    page.goto(f"/admin/auth/user/{user.pk}/change/")
    # The admin warns beside each field where the two differ.
    expect(page.get_by_text("Today").first).to_be_visible()
    expect(page.locator(".timezonewarning")).to_have_count(0)
