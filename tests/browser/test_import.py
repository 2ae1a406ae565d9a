"""An import in a browser, from the list to the pile that waits for review."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from memocards.models import MemoCard
from tests.browser.conftest import Sitter, member_of_staff
from tests.factories import MemoCardFactory, TopicFactory
from tests.memocards.importing.files import card, write_jsonl

MAY = [f"{verb}_memocard" for verb in ("add", "change", "view")]


@pytest.fixture(autouse=True)
def _data_dir(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
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
    expect(page.get_by_text("2 rows are new.")).to_be_visible()
    expect(page.get_by_text("The back is empty.")).to_be_visible()
    changed = page.get_by_role("row", name="line 1")
    expect(changed.locator("del")).to_have_text("Rear")
    expect(changed.locator("ins")).to_have_text("Back")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert MemoCard.objects.count() == 1
    page.get_by_role("button", name="Import 3 rows and skip 1 bad").press("Enter")
    expect(page.locator(".messagelist")).to_contain_text("2 new, 1 changed. They wait for review.")
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
    expect(page.get_by_role("alert")).to_contain_text("a.csv, line 1: The first line names the columns")
    expect(page.get_by_label("Topic:")).to_have_value(str(topic.pk))
    expect(page.get_by_label("Texts are HTML")).to_be_checked()
