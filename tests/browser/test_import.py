"""An import in a browser, from the list to the pile that waits for review."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from playwright.sync_api import expect

from memocards.admin.importing import line
from memocards.models import MemoCard
from tests.browser.conftest import Sitter, member_of_staff
from tests.factories import MemoCardFactory, TopicFactory
from tests.memocards.importing.files import card, write_jsonl

# Milliseconds. Two processes are started meanwhile, which give way to all others.
PATIENCE = 30_000
MAY = [f"{verb}_memocard" for verb in ("add", "change", "view")]


@pytest.fixture(autouse=True)
def _data_dir(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files lie here, and the process that works the line off works in this test's database."""
    monkeypatch.setenv("STUDYHUB_TEST_DATABASE", str(connection.settings_dict["NAME"]))
    if embedded := connection.settings_dict.get("EMBEDDED"):
        monkeypatch.setenv("STUDYHUB_TEST_POSTGRES", str(embedded["DIRECTORY"]))
    settings.DATA_DIR = tmp_path / "data"


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), pytest.param(1280, "light", marks=pytest.mark.slow)])
def test_a_file_is_chosen_looked_at_and_imported(sit_down: Sitter, tmp_path: Path, width: int, scheme: Any) -> None:
    topic = TopicFactory.create(name="수도")
    MemoCardFactory.create(topic=topic, external_id="c1", front="Front 1", back="Rear 1", needs_review=True)
    long = card(3, front="An-endless-word-" * 30, back="뒤 " * 300)
    path = write_jsonl(tmp_path / "cards.jsonl", [card(1), card(2), long, card(4, back="")])
    page = sit_down(member_of_staff(*MAY), viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto("/admin/memocards/memocard/")
    page.get_by_role("link", name="Import").click()
    page.get_by_label("File:").set_input_files(path)
    page.get_by_label("Topic:").select_option(label="수도")
    page.get_by_role("button", name="Preview").press("Enter")
    expect(page.get_by_text("2 rows are new.")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("The back is empty.")).to_be_visible()
    changed = page.get_by_role("row", name="line 1")
    expect(changed.locator("del")).to_have_text("Rear")
    expect(changed.locator("ins")).to_have_text("Back")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert MemoCard.objects.count() == 1
    page.get_by_role("button", name="Import 3 rows and skip 1 bad").press("Enter")
    expect(page.locator(".messagelist")).to_contain_text("2 new, 1 changed. They wait for review.", timeout=PATIENCE)
    assert set(MemoCard.objects.filter(needs_review=True).values_list("external_id", flat=True)) == {"c1", "c2", "c3"}


def test_a_refused_file_leaves_the_choices_standing(sit_down: Sitter, tmp_path: Path) -> None:
    topic = TopicFactory.create(name="Asia")
    path = tmp_path / "a.csv"
    path.write_text("front,rear\na,b\n")
    page = sit_down(member_of_staff(*MAY))
    page.goto("/admin/memocards/memocard/import/")
    page.get_by_label("File:").set_input_files(path)
    page.get_by_label("Topic:").select_option(label="Asia")
    page.get_by_label("Texts are HTML").check()
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text(
        "a.csv, line 1: The first line names the columns", timeout=PATIENCE
    )
    expect(page.get_by_label("Topic:")).to_have_value(str(topic.pk))
    expect(page.get_by_label("Texts are HTML")).to_be_checked()


@pytest.mark.parametrize(
    ("width", "scheme", "script"),
    [pytest.param(390, "dark", False, marks=pytest.mark.slow), (1280, "light", True)],
)
def test_an_import_goes_on_while_one_looks_elsewhere(
    sit_down: Sitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, scheme: Any, script: bool
) -> None:
    topic = TopicFactory.create(name="수도")
    path = write_jsonl(tmp_path / "a-name-that-is-as-long-as-names-of-files-are-now-and-then.jsonl", [card(1)])
    viewport = {"width": width, "height": 900}
    page = sit_down(member_of_staff(*MAY), viewport=viewport, color_scheme=scheme, java_script_enabled=script)
    with monkeypatch.context() as patched:
        # No process can be started at this moment.
        patched.setattr(line, "AT_ONCE", 0)
        page.goto("/admin/memocards/memocard/import/")
        page.get_by_label("File:").set_input_files(path)
        page.get_by_label("Topic:").select_option(label="수도")
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_role("status")).to_have_text("The file waits to be read.")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("navigation", name="Breadcrumbs").get_by_role("link", name="Import").click()
        expect(page.get_by_text("Is being read, or waits for it")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("link", name=path.name).click()
    # By itself: by its script, or without one because the page is loaded again now and then.
    expect(page.get_by_text("1 row is new.")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Import 1 row").click()
    expect(page.locator(".messagelist")).to_contain_text("1 new, 0 changed. It waits for review.", timeout=PATIENCE)
    assert MemoCard.objects.get().topic == topic
