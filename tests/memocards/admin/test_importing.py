"""The import page: what a file would change is shown first, and nothing is stored before a yes."""

import html as entities
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from memocards.admin.importing import differences, forms, line, pages, uploads, work
from memocards.content import topics
from memocards.content.cards import cards
from memocards.content.editors import SYSTEM
from memocards.importing import scratch
from memocards.models import MemoCard, Question, Topic
from publish.models import PublishOutbox
from tests.browser.conftest import member_of_staff
from tests.factories import CardProgressFactory, MemoCardFactory, TopicFactory, UserFactory
from tests.memocards.admin.test_content import Form
from tests.memocards.importing.files import (
    PLAIN_TYPE,
    card,
    collection,
    question,
    write,
    write_jsonl,
    write_xlsx,
    write_zip,
)
from tests.memocards.noted import noted

pytestmark = pytest.mark.django_db(transaction=True)

CARDS, QUESTIONS = "/admin/memocards/memocard/", "/admin/memocards/question/"


@pytest.fixture(autouse=True)
def data_dir(settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path / "data"
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _worked_off_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process of the line does, done here, so that no test has to wait for it. The file is read apart still.

    That process, and what becomes of it: tests/attack/test_imports.py and tests/browser/test_import.py.
    """
    monkeypatch.setattr(line, "ensure_worker", work.work_off)


@pytest.fixture
def left_waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """For a while, no process has begun with what is in line."""

    @contextmanager
    def while_nobody_works() -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr(line, "ensure_worker", lambda: None)
            yield

    return while_nobody_works


@pytest.fixture
def asia() -> Topic:
    topic: Topic = TopicFactory.create(name="Asia")
    return topic


@pytest.fixture
def mina() -> User:
    return member_of_staff(
        *(f"{verb}_{model}" for verb in ("add", "change", "view") for model in ("topic", "memocard", "question")),
        username="mina",
    )


@pytest.fixture
def office(client: Client, mina: User) -> Client:
    """Where Mina works, who may write."""
    client.force_login(mina)
    return client


def kept(data_dir: Path) -> list[Path]:
    """What somebody uploaded, as it was or as its rows."""
    return [path for path in (data_dir / "imports").glob("*/*") if path.name in {"file", "rows", "rows.draft"}]


def choose(client: Client, path: Path, *, at: str = CARDS, **fields: Any) -> str:
    """The page that follows upon choosing a file."""
    data = {"import_file": SimpleUploadedFile(path.name, path.read_bytes()), **fields}
    response = client.post(f"{at}import/", data, follow=True)
    assert response.status_code == 200
    html: str = response.content.decode()
    return html


def say_yes(client: Client, page: str, *, at: str | None = None) -> str:
    """The page that follows upon the button below the preview."""
    address = where_to_say_yes(page)
    response = client.post(address.replace(CARDS, at) if at else address, {"at_stake": at_stake_in(page)}, follow=True)
    assert response.status_code == 200
    html: str = response.content.decode()
    return html


def where_to_say_yes(page: str) -> str:
    match = re.search(r'action="([^"]+/store/)"', page)
    assert match, page
    return match[1]


def at_stake_in(page: str) -> str:
    return Form(page).data["at_stake"]


def button(page: str) -> str:
    """What the button below the preview says; empty without one."""
    match = re.search(r'/store/".*?<input type="submit"[^>]*value="([^"]+)"', page, re.DOTALL)
    return match[1] if match else ""


def text_of(page: str) -> str:
    """What a person reads there."""
    return entities.unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))


def rows_of(page: str) -> list[str]:
    """The text of each row of the preview, changes marked as [-gone-] and [+come+]."""
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    for tag, sign in (("del", "-"), ("ins", "+")):
        body = body.replace(f"<{tag}>", f"[{sign}").replace(f"</{tag}>", f"{sign}]")
    return [text_of(row) for row in body.split("</tr>")[:-1]]


def test_the_list_leads_to_the_import(office: Client) -> None:
    assert f'href="{CARDS}import/"' in office.get(CARDS).content.decode()
    assert office.get(f"{CARDS}import/").status_code == 200


def test_a_preview_shows_new_rows_and_stores_nothing(office: Client, asia: Topic, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [card(1, front="서울 & 1 < 2", mood="x"), card(2)])
    page = choose(office, path, topic=asia.pk)
    assert "2 rows are new." in text_of(page)
    assert "Columns without a use: “mood”." in text_of(page)
    assert rows_of(page) == ["line 1 New 서울 & 1 < 2 Back 1", "line 2 New Front 2 Back 2"]
    assert button(page) == "Import 2 rows"
    assert not MemoCard.objects.exists()


def test_a_yes_stores_what_was_shown(office: Client, mina: User, asia: Topic, tmp_path: Path, data_dir: Path) -> None:
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1), card(2)]), topic=asia.pk)
    assert len(kept(data_dir)) == 1
    done = say_yes(office, page)
    assert "Imported from “a.jsonl”: 2 new, 0 changed. They wait for review." in text_of(done)
    stored = MemoCard.objects.order_by("pk")
    assert [(row.front, row.topic, row.author, row.source, row.needs_review) for row in stored] == [
        ("Front 1", asia, mina, "a.jsonl", True),
        ("Front 2", asia, mina, "a.jsonl", True),
    ]
    assert set(LogEntry.objects.values_list("user", "object_id", "object_repr")) == {
        (mina.pk, str(row.pk), row.front) for row in stored
    }
    assert noted() == ["Imported from “a.jsonl”."] * 2
    assert kept(data_dir) == []


def test_a_second_import_has_nothing_to_do(office: Client, asia: Topic, tmp_path: Path, data_dir: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [card(1), card(2)])
    say_yes(office, choose(office, path, topic=asia.pk))
    again = choose(office, path, topic=asia.pk)
    assert "2 rows are here already." in text_of(again)
    assert "There is nothing to import." in text_of(again)
    assert button(again) == ""
    assert kept(data_dir) == []


def test_a_changed_row_shows_its_differences_by_words(office: Client, asia: Topic, tmp_path: Path) -> None:
    back = "The capital of Korea is Seoul, on the river Han, " + "since long ago " * 20 + "."
    old = MemoCardFactory.create(topic=asia, external_id="c1", front="Seoul?", back=back, tags=["a", "b"])
    progress = CardProgressFactory.create(card=old)
    changed = card(1, front="Seoul?", back=back.replace("Korea", "대한민국"), tags=["a", "c"])
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [changed]), topic=asia.pk)
    (row,) = rows_of(page)
    assert row.startswith("line 1 Changed Seoul? The capital of [-Korea-][+대한민국+] is Seoul, on the river Han, ")
    assert row.endswith("since long … a [-b-][+c+]")
    assert "1 of them is approved: viewers will drop it until it is approved again." in text_of(page)
    PublishOutbox.objects.all().delete()
    say_yes(office, page)
    old.refresh_from_db()
    assert (old.needs_review, old.tags) == (True, ["a", "c"])
    assert PublishOutbox.objects.get().deleted
    before = progress.updated_at
    progress.refresh_from_db()
    assert progress.updated_at == before


def test_bad_rows_are_listed_and_the_button_says_that_they_are_skipped(
    office: Client, asia: Topic, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [card(1), card(2, back=""), card(3, front="")])
    page = choose(office, path, topic=asia.pk)
    assert "2 rows cannot be imported line 2 The back is empty. line 3 The front is empty." in text_of(page)
    assert button(page) == "Import 1 row and skip 2 bad"
    say_yes(office, page)
    assert [row.external_id for row in MemoCard.objects.all()] == ["c1"]


def test_nothing_but_bad_rows_cannot_be_said_yes_to(office: Client, asia: Topic, tmp_path: Path) -> None:
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1, back="")]), topic=asia.pk)
    assert "The back is empty." in text_of(page)
    assert button(page) == ""


def a_csv(folder: Path) -> Path:
    return write(folder / "a.csv", "front,back,id\nf,b,g\n")


def a_tsv(folder: Path) -> Path:
    return write(folder / "a.tsv", "front\tback\tid\nf\tb\tg\n")


def a_workbook(folder: Path) -> Path:
    return write_xlsx(folder / "a.xlsx", [["front", "back", "id"], ["f", "b", "g"]])


def a_json_file(folder: Path) -> Path:
    return write_jsonl(folder / "a.jsonl", [{"front": "f", "back": "b", "id": "g"}])


def an_anki_package(folder: Path) -> Path:
    return write_zip(
        folder / "a.apkg", {"media": "{}", "collection.anki2": collection([("Asia", PLAIN_TYPE, ["f", "b"], "g", [])])}
    )


def an_anki_text(folder: Path) -> Path:
    return write(folder / "a.txt", "#separator:tab\n#html:true\n#guid column:1\ng\tf\tb\n")


@pytest.mark.parametrize("make", [a_csv, a_tsv, a_workbook, a_json_file, an_anki_package, an_anki_text])
def test_every_format_is_known_by_its_content(make: Any, office: Client, asia: Topic, tmp_path: Path) -> None:
    say_yes(office, choose(office, make(tmp_path), topic=asia.pk))
    assert [(row.front, row.back, row.external_id) for row in MemoCard.objects.all()] == [("f", "b", "g")]


def test_a_format_and_an_encoding_may_be_named(office: Client, asia: Topic, tmp_path: Path) -> None:
    path = write(tmp_path / "cards", "front\tback\n수도\t서울\n".encode("cp949"))
    page = choose(office, path, topic=asia.pk, format="tsv", encoding="cp949")
    assert rows_of(page) == ["line 2 New 수도 서울"]
    say_yes(office, page)
    assert MemoCard.objects.get().back == "서울"


def test_decks_become_topics_where_that_is_allowed(office: Client, tmp_path: Path) -> None:
    path = an_anki_package(tmp_path)
    refused = choose(office, path)
    assert "There is no topic 'Asia'. Create it first, choose one topic for all rows" in text_of(refused)
    assert "Nothing was imported." in text_of(refused)
    page = choose(office, path, create_topics="on")
    assert "Topics to be created: “Asia”." in text_of(page)
    assert not Topic.objects.exists()
    say_yes(office, page)
    assert MemoCard.objects.get().topic.name == "Asia"
    assert set(LogEntry.objects.values_list("content_type__model", flat=True)) == {"topic", "memocard"}
    assert set(noted()) == {"Imported from “a.apkg”."}


def test_whoever_may_not_add_topics_cannot_ask_for_it(client: Client, tmp_path: Path) -> None:
    client.force_login(member_of_staff("add_memocard", "change_memocard", "view_memocard"))
    assert "create_topics" not in client.get(f"{CARDS}import/").content.decode()
    assert "There is no topic" in text_of(choose(client, an_anki_package(tmp_path), create_topics="on"))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.pdf", b"%PDF-1.7", "a.pdf: This is a PDF, which holds no rows."),
        (
            "a.csv",
            b"front,rear\na,b\n",
            "a.csv, line 1: The first line names the columns, and back must be",
        ),
        ("a.apkg", b"PK\x03\x04rubbish", "a.apkg: "),
        ("a.jsonl", '{"front": "수도"}'.encode("utf-16-le"), "a.jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(
    name: str, content: bytes, sentence: str, office: Client, asia: Topic, tmp_path: Path, data_dir: Path
) -> None:
    page = choose(office, write(tmp_path / name, content), topic=asia.pk)
    assert sentence in text_of(page)
    assert "Nothing was imported." in text_of(page)
    assert button(page) == ""
    assert kept(data_dir) == []


def test_a_zip_bomb_is_refused(office: Client, asia: Topic, tmp_path: Path) -> None:
    bomb = write_zip(tmp_path / "a.apkg", {"collection.anki2": bytes(40 * 1024 * 1024)})
    assert "That is a ZIP bomb" in text_of(choose(office, bomb, topic=asia.pk))


def test_without_a_file_the_form_says_so(office: Client) -> None:
    response = office.post(f"{CARDS}import/", {})
    assert "This field is required." in response.content.decode()


def test_more_rows_than_a_page_may_take_name_the_command(office: Client, asia: Topic, tmp_path: Path) -> None:
    rows = "".join(f"f{number},b\n" for number in range(10_001))
    path = write(tmp_path / "many cards.csv", f"front,back\n{rows}")
    page = choose(office, path, topic=asia.pk, encoding="cp949", html="on")
    command = "manage.py import_cards 'many cards.csv' --topic Asia --encoding cp949 --html --author mina"
    assert f"The file has more than 10,000 rows. Import it with the command {command}." in text_of(page)
    allowed = write(tmp_path / "a.csv", "front,back\n" + rows.removesuffix("f10000,b\n"))
    assert "10000 rows are new." in text_of(choose(office, allowed, topic=asia.pk))


def test_a_file_that_counts_from_nought_is_said_to_do_so_on_the_page(
    office: Client, asia: Topic, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", "question,a,b,answer\none,p,q,1\ntwo,p,q,0\n")
    page = choose(office, path, at=QUESTIONS, topic=asia.pk)
    assert "The answer in line 3 is 0, so this file counts its choices from 0." in text_of(page)
    page = choose(office, path, at=QUESTIONS, topic=asia.pk, answers_from="0")
    assert "2 rows are new." in text_of(page)
    say_yes(office, page, at=QUESTIONS)
    assert dict(Question.objects.values_list("stem", "answer")) == {"one": 2, "two": 1}


def test_a_larger_file_is_not_even_read(
    office: Client, asia: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    monkeypatch.setattr(forms, "MOST_BYTES", 10)
    page = choose(office, a_csv(tmp_path), topic=asia.pk)
    assert "The file is larger than 10" in text_of(page)
    assert "manage.py import_cards a.csv --topic Asia --author mina." in text_of(page)
    assert kept(data_dir) == []


def test_what_changed_since_the_preview_is_shown_anew(office: Client, asia: Topic, tmp_path: Path) -> None:
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1), card(2)]), topic=asia.pk)
    cards.create(topic_id=asia.pk, external_id="c1", front="Another", back="Back 1", editor=SYSTEM)
    again = say_yes(office, page)
    assert "Something has changed since the preview, so nothing was imported. Here is a new one." in text_of(again)
    assert rows_of(again)[0] == "line 1 Changed [-Another-][+Front 1+] Back 1"
    assert MemoCard.objects.count() == 1
    say_yes(office, again)
    assert set(MemoCard.objects.values_list("front", flat=True)) == {"Front 1", "Front 2"}


def test_a_row_that_somebody_edits_again_is_shown_anew_though_the_counts_are_equal(
    office: Client, asia: Topic, tmp_path: Path
) -> None:
    old = MemoCardFactory.create(topic=asia, external_id="c1", front="Old", needs_review=True)
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1)]), topic=asia.pk)
    cards.update(key=old.pk, changes={"front": "Mended"}, editor=SYSTEM)
    again = say_yes(office, page)
    assert rows_of(again)[0].startswith("line 1 Changed [-Mended-][+Front 1+]")
    say_yes(office, again)
    old.refresh_from_db()
    assert old.front == "Front 1"


def test_the_chosen_topic_stays_the_chosen_one_whatever_it_is_called(
    office: Client, asia: Topic, tmp_path: Path
) -> None:
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1)]), topic=asia.pk)
    Topic.objects.update(name="Asia and Oceania")
    TopicFactory.create(name="Asia")
    say_yes(office, page)
    assert MemoCard.objects.get().topic == asia


def test_a_topic_that_went_meanwhile_refuses_the_import(office: Client, asia: Topic, tmp_path: Path) -> None:
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1)]), topic=asia.pk)
    topics.delete_topic(topic_id=asia.pk, editor=SYSTEM)
    assert "There is no topic 'Asia'." in text_of(say_yes(office, page))
    assert not MemoCard.objects.exists()


def test_two_clicks_import_once_and_say_so(office: Client, asia: Topic, tmp_path: Path, data_dir: Path) -> None:
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1)]), topic=asia.pk)
    say_yes(office, page)
    assert "This preview is too old, or was answered already." in text_of(say_yes(office, page))
    assert MemoCard.objects.count() == 1
    assert LogEntry.objects.count() == 1


def test_a_click_that_comes_before_the_first_one_is_worked_off_changes_nothing(
    office: Client, asia: Topic, tmp_path: Path, left_waiting: Any
) -> None:
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1)]), topic=asia.pk)
    with left_waiting():
        assert "The rows are being stored." in text_of(say_yes(office, page))
        assert "The rows are being stored." in text_of(say_yes(office, page))
    assert "1 new, 0 changed" in text_of(say_yes(office, page))
    assert MemoCard.objects.count() == 1
    assert LogEntry.objects.count() == 1


def test_what_was_stored_by_a_process_that_then_died_is_not_stored_twice(
    office: Client, asia: Topic, tmp_path: Path, data_dir: Path, left_waiting: Any
) -> None:
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1)]), topic=asia.pk)
    with left_waiting():
        waiting = say_yes(office, page)
        (upload,) = uploads.uploads()
        assert upload.rows
        work._stored(upload.rows, upload.plan, at_stake_in(page))
    assert 'id="import-progress"' in waiting
    office.get(f"{CARDS}import/{upload.id}/")
    again = text_of(office.get(f"{CARDS}import/{upload.id}/").content.decode())
    assert "1 row is here already. There is nothing to import." in again
    assert MemoCard.objects.count() == 1
    assert LogEntry.objects.count() == 1
    assert kept(data_dir) == []


def test_an_import_that_waits_is_shown_left_and_found_again(
    office: Client, asia: Topic, tmp_path: Path, left_waiting: Any
) -> None:
    with left_waiting():
        first = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1)]), topic=asia.pk)
        second = choose(office, write_jsonl(tmp_path / "b.jsonl", [card(2)]), topic=asia.pk)
    assert "a.jsonl The file waits to be read." in text_of(first)
    assert "b.jsonl The file waits to be read, after 1 other import." in text_of(second)
    assert re.search(r'<noscript>\s*<meta http-equiv="refresh"', first)
    with left_waiting():
        listed = office.get(f"{CARDS}import/").content.decode()
        assert "b.jsonl Is being read, or waits for it" in text_of(listed)
        address = re.findall(rf'href="({CARDS}import/[0-9a-f]+/)"', listed)[0]
        assert office.get(f"{address}?look").status_code == 200
    office.get(address)
    assert office.get(f"{address}?look").status_code == 204
    assert "b.jsonl Waits for your answer" in text_of(office.get(f"{CARDS}import/").content.decode())
    assert button(office.get(address).content.decode()) == "Import 1 row"
    assert f"{QUESTIONS}import/" in office.get(f"{QUESTIONS}import/").content.decode()
    assert "b.jsonl" not in office.get(f"{QUESTIONS}import/").content.decode()


def test_an_import_can_be_discarded(office: Client, asia: Topic, tmp_path: Path, data_dir: Path) -> None:
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1)]), topic=asia.pk)
    response = office.post(where_to_say_yes(page).replace("/store/", "/discard/"), follow=True)
    assert "a.jsonl" not in response.content.decode()
    assert kept(data_dir) == []
    assert "This preview is too old, or was answered already." in text_of(say_yes(office, page))


def test_one_user_keeps_no_more_than_some_files_here(
    office: Client, asia: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (uploads, pages):
        monkeypatch.setattr(module, "MOST_OPEN", 2)
    path = write_jsonl(tmp_path / "a.jsonl", [card(1)])
    for _number in range(uploads.MOST_OPEN):
        assert button(choose(office, path, topic=asia.pk))
    refused = choose(office, path, topic=asia.pk)
    assert "2 imports of yours wait to be read or answered. Answer or discard one of them first." in text_of(refused)
    other = Client()
    other.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    assert button(choose(other, path, topic=asia.pk))


def test_nobody_holds_up_the_others(office: Client, asia: Topic, tmp_path: Path, left_waiting: Any) -> None:
    other = Client()
    other.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    with left_waiting():
        for client in (office, office, other):
            choose(client, write_jsonl(tmp_path / "a.jsonl", [card(1)]), topic=asia.pk)
    first, second, others = uploads.uploads()
    with line.next_in_line() as at_work:
        assert at_work == first
        assert line.is_underway(first)
        with line.next_in_line() as also_at_work:
            assert also_at_work == others
            with line.next_in_line() as nobody:
                assert nobody is None
    with line.next_in_line() as at_work:
        assert at_work == first
    assert not line.is_underway(first)
    assert second.state.status == "waiting"


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        ({"processor_seconds": 1}, "Reading the file takes more than 1 seconds of computing."),
        ({"seconds": 0}, "Reading the file takes longer than 0 seconds."),
        ({"text": 64}, "The rows of the file hold more than 0 MiB of text."),
    ],
)
def test_a_limit_that_is_reached_is_named_with_the_command(
    limit: dict[str, int],
    sentence: str,
    office: Client,
    asia: Topic,
    tmp_path: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(work, "LIMITS", replace(work.LIMITS, **limit))
    # Some seconds' worth of texts, each of which is different.
    rows = [card(number, front=f"{number}" + "<ul><li>" * 8_000) for number in range(30)]
    page = text_of(choose(office, write_jsonl(tmp_path / "a.jsonl", rows), topic=asia.pk))
    assert f"{sentence} Import it with the command manage.py import_cards a.jsonl --topic Asia --author mina." in page
    assert "Nothing was imported." in page
    assert kept(data_dir) == []


def test_an_import_that_breaks_off_again_and_again_is_given_up(
    office: Client, asia: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    def die(upload: Any) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(work, "_read", die)
    path = write_jsonl(tmp_path / "a.jsonl", [card(1)])
    with pytest.raises(SystemExit):
        choose(office, path, topic=asia.pk)
    (upload,) = uploads.uploads()
    for _attempt in range(4):
        with pytest.raises(SystemExit):
            office.get(f"{CARDS}import/{upload.id}/")
    office.get(f"{CARDS}import/{upload.id}/")
    page = text_of(office.get(f"{CARDS}import/{upload.id}/").content.decode())
    assert "The import broke off several times, so it was given up. Nothing was imported." in page
    assert kept(data_dir) == []


def test_a_permission_that_was_taken_meanwhile_is_missed(office: Client, mina: User, tmp_path: Path) -> None:
    page = choose(office, an_anki_package(tmp_path), create_topics="on")
    mina.user_permissions.remove(Permission.objects.get(codename="add_topic"))
    assert office.post(where_to_say_yes(page), {"at_stake": at_stake_in(page)}).status_code == 403
    assert not Topic.objects.exists()


def test_nobody_says_yes_to_another_users_or_another_pages_preview(office: Client, asia: Topic, tmp_path: Path) -> None:
    page = choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1)]), topic=asia.pk)
    other = Client()
    other.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    assert "This preview is too old, or was answered already." in text_of(say_yes(other, page))
    forged = where_to_say_yes(page).replace(re.findall("[0-9a-f]{32}", where_to_say_yes(page))[0], "0" * 32)
    response = office.post(forged, {"at_stake": at_stake_in(page)}, follow=True)
    assert "This preview is too old, or was answered already." in response.content.decode()
    assert "This preview is too old, or was answered already." in text_of(say_yes(office, page, at=QUESTIONS))
    assert not MemoCard.objects.exists()
    say_yes(office, page)
    assert MemoCard.objects.count() == 1
    assert "This preview is too old, or was answered already." in text_of(say_yes(office, page))


def test_uploads_are_private_and_forgotten_after_a_day(
    office: Client, asia: Topic, tmp_path: Path, data_dir: Path
) -> None:
    choose(office, write_jsonl(tmp_path / "a.jsonl", [card(1)]), topic=asia.pk)
    (upload,) = kept(data_dir)
    assert stat.S_IMODE(upload.stat().st_mode) == 0o600
    assert stat.S_IMODE(upload.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(upload.parent.parent.stat().st_mode) == 0o700
    long_ago = time.time() - scratch.KEPT_SECONDS - 60
    os.utime(upload.parent, (long_ago, long_ago))
    choose(office, write_jsonl(tmp_path / "b.jsonl", [card(2)]), topic=asia.pk)
    assert upload not in kept(data_dir)
    assert len(kept(data_dir)) == 1


def test_questions_are_imported_with_their_explanations(office: Client, asia: Topic, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [question(1, explanation="Because."), question(2)])
    page = choose(office, path, at=QUESTIONS, topic=asia.pk)
    assert rows_of(page)[0] == "line 1 New Question 1? Yes No 2 Because."
    say_yes(office, page, at=QUESTIONS)
    stored = Question.objects.order_by("pk").values_list("explanation", "explanation_status", "needs_review")
    assert list(stored) == [("Because.", "ready", True), ("", "none", True)]


def test_anki_holds_no_questions(office: Client, asia: Topic, tmp_path: Path) -> None:
    assert ".apkg" not in office.get(f"{QUESTIONS}import/").content.decode()
    page = choose(office, an_anki_package(tmp_path), at=QUESTIONS, topic=asia.pk)
    assert "Anki's files hold cards, not questions." in text_of(page)


@pytest.mark.parametrize("missing", ["add", "change"])
@pytest.mark.parametrize("model", ["memocard", "question"])
def test_whoever_may_not_add_and_change_may_not_import(model: str, missing: str, client: Client) -> None:
    verbs = {"add", "change", "view", "delete", "approve"} - {missing}
    client.force_login(member_of_staff(*(f"{verb}_{model}" for verb in verbs)))
    for response in (
        client.get(f"/admin/memocards/{model}/import/"),
        client.post(f"/admin/memocards/{model}/import/"),
        client.get(f"/admin/memocards/{model}/import/{'0' * 32}/"),
        client.post(f"/admin/memocards/{model}/import/{'0' * 32}/store/"),
        client.post(f"/admin/memocards/{model}/import/{'0' * 32}/discard/"),
    ):
        assert response.status_code == 403
    assert "import/" not in client.get(f"/admin/memocards/{model}/").content.decode()


def test_a_stranger_is_asked_to_log_in(client: Client) -> None:
    for response in (client.get(f"{CARDS}import/"), client.post(f"{CARDS}import/{'0' * 32}/store/")):
        assert response.status_code == 302
        assert "/admin/login/" in response.headers["Location"]


def test_the_number_of_statements_does_not_depend_on_the_rows(office: Client, asia: Topic, tmp_path: Path) -> None:
    def statements(prefix: str, rows: int) -> tuple[int, int]:
        path = write_jsonl(tmp_path / f"{prefix}.jsonl", [card(n, external_id=f"{prefix}{n}") for n in range(rows)])
        with CaptureQueriesContext(connection) as previewed:
            page = choose(office, path, topic=asia.pk)
        with CaptureQueriesContext(connection) as stored:
            office.post(where_to_say_yes(page), {"at_stake": at_stake_in(page)})
        return len(previewed), len(stored)

    statements("warm", 2)
    assert statements("few", 3) == statements("many", 900)


def test_texts_too_long_to_compare_stand_one_after_the_other() -> None:
    old, new = "a " * differences.MOST_WORDS, "b " * differences.MOST_WORDS
    page = str(differences.marked(old, new))
    assert re.fullmatch(r"<del>[a ]+…</del><ins>[b ]+…</ins>", page)
