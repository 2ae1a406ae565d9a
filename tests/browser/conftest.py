"""A real Chromium: the one that is installed, or Playwright's own. Without one, these tests say how to get it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.factories import UserFactory

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "There is no Chromium, so nothing was tried in a browser. Install one: `apt install chromium` on Debian, or "
    "`.venv/bin/playwright install --with-deps chromium` anywhere; then run the tests again."
)

Sitter = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(browser_type_launch_args: dict[str, Any]) -> Iterator[Browser]:
    """Chromium for the tests of one file, with the options of the command line, such as --headed.

    Not the plugin's own for all tests: Playwright runs an event loop in this thread for as long as it lives, in which
    Django refuses every query, and asyncio.run() every other loop.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with sync_playwright() as playwright:
            program = next(filter(None, map(shutil.which, NAMES)), None)
            if program is None and not Path(playwright.chromium.executable_path).exists():
                pytest.skip(MISSING)
            # Chromium's sandbox refuses root.
            options = {"args": ["--no-sandbox"] if os.geteuid() == 0 else [], "executable_path": program}
            chromium = playwright.chromium.launch(**(browser_type_launch_args | options))
            yield chromium
            chromium.close()


def member_of_staff(*permissions: str, **fields: Any) -> User:
    user: User = UserFactory.create(is_staff=True, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def reviewer(**fields: Any) -> User:
    verbs = ("view", "change", "delete", "approve")
    names = [f"{verb}_{model}" for verb in verbs for model in ("memocard", "question")]
    return member_of_staff("view_topic", *names, **fields)


@pytest.fixture
def expected_errors() -> list[str]:
    """Parts of what a test provokes the console to complain of."""
    return []


@pytest.fixture
def sit_down(browser: Browser, live_server: LiveServer, expected_errors: list[str]) -> Iterator[Sitter]:
    """A page of a browser in which this user is logged in; options are those of a browser's context.

    Whatever the console complains of fails the test: a breach of the content security policy above all.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def sit(user: User, **options: Any) -> Page:
        client = Client()
        client.force_login(user)
        context = browser.new_context(base_url=live_server.url, **options)
        contexts.append(context)
        name = settings.SESSION_COOKIE_NAME
        context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
        page = context.new_page()
        page.set_default_timeout(10_000)

        def hear(message: ConsoleMessage) -> None:
            if message.type == "error":
                complaints.append(message.text)

        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield sit
    for context in contexts:
        for page in context.pages:
            # What the page still sends would meet the emptying of the tables.
            expect(page.locator("#desk[data-busy]")).to_have_count(0)
        context.close()
    assert [text for text in complaints if not any(part in text for part in expected_errors)] == []
