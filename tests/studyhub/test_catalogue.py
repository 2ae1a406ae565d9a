"""The Korean catalogue: every text of the hub is in it, translated, and nothing else is."""

import ast
import gettext
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from babel.messages.catalog import Message
from babel.messages.pofile import read_po
from django.utils.translation import gettext as gettext_now
from django.utils.translation import ngettext as ngettext_now
from django.utils.translation import override

from studyhub import catalogue

# Where every sentence is for the people of the back office.
SPOKEN = (
    "memocards/admin",
    "memocards/importing",
    "memocards/content",
    "memocards/learning",
    "memocards/writing.py",
    "memocards/errors.py",
    "memocards/explaining/requesting.py",
    "publish/admin.py",
    "studyhub/admin_site.py",
    "studyhub/login_throttle.py",
)
# The terminal's, in English.
UNSPOKEN = {"memocards/importing/formats/anki/wire.py"}
SENTENCE = re.compile(r"^\W*[A-Z][a-z]+ [a-z]+\b")
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?0?\d*[a-zA-Z]|\{\w*\}|</?\w+>|https?://[\w.:/]+")

# A particle right after a placeholder takes one form or the other by the word that will stand there.
PAIRS = "이/가|가/이|을/를|를/을|은/는|는/은|와/과|과/와|으로/로"
DEPENDENT = re.compile(
    rf"{PAIRS}|이\(가\)|가\(이\)|을\(를\)|를\(을\)|은\(는\)|는\(은\)|와\(과\)|과\(와\)|\(으\)로|"
    r"(?:%(?:\(\w+\))?[sdr]|\{\w*\})[”’\"]?(?:이|가|을|를|은|는|와|과|으로|로)(?=[ .,:]|$)"
)
# Of durations, rows edited within a list, fields that are unique for a date, generic views, and folders of files.
NEVER_SHOWN = {
    "The number of days must be between {min_days} and {max_days}.",
    "%(count)s %(name)s was changed successfully.",
    "%(field_label)s must be unique for %(date_field_label)s %(lookup_type)s.",
    "Future %(verbose_name_plural)s not available because %(class_name)s.allow_future is False.",
    "No %(verbose_name_plural)s available",
    "No %(verbose_name)s found matching the query",
    "“%(path)s” does not exist",
}

KEPT = catalogue.kept()


def messages() -> list[Message]:
    return [message for message in KEPT if message.id]


def pairs() -> list[tuple[str, str]]:
    """Each text, of two forms the plural, with its translation: Korean has one form."""
    return [(str(message.id), str(message.string)) for message in messages() if not message.pluralizable] + [
        (message.id[-1], (message.string or [""])[0]) for message in messages() if message.pluralizable
    ]


def test_the_catalogue_is_what_the_code_says_today() -> None:
    fresh = catalogue.merged(catalogue.extracted(), KEPT)
    assert catalogue.PO.read_bytes() == catalogue.as_po(fresh), "Run `make messages`."


def test_every_text_has_its_translation() -> None:
    assert [message.id for message in catalogue.untranslated(KEPT)] == []


def test_no_translation_is_a_guess_or_left_over() -> None:
    assert [message.id for message in messages() if message.fuzzy] == []
    assert not KEPT.obsolete


def test_what_django_loads_is_what_the_translators_wrote() -> None:
    with catalogue.MO.open("rb") as file:
        loaded: Any = gettext.GNUTranslations(file)
    for message in messages():
        texts, translation = message.id, message.string or [""]
        if message.pluralizable:
            assert loaded.ngettext(*texts, 1) == loaded.ngettext(*texts, 2) == translation[0]
        else:
            assert loaded.gettext(texts) == translation
    assert catalogue.MO.read_bytes() == catalogue.as_mo(catalogue.merged(catalogue.extracted(), KEPT))


def test_labels_are_found_with_a_capital_too_as_the_history_has_them() -> None:
    with catalogue.MO.open("rb") as file:
        loaded = gettext.GNUTranslations(file)
    assert loaded.gettext("Exam date") == loaded.gettext("exam date") == "시험일"


def test_a_translation_keeps_placeholders_addresses_and_lines() -> None:
    broken = [
        (original, translation)
        for original, translation in pairs()
        if Counter(PLACEHOLDER.findall(translation)) != Counter(PLACEHOLDER.findall(original))
        or translation.count("\n") != original.count("\n")
    ]
    assert broken == []


def test_a_translation_is_in_korean() -> None:
    same = {original for original, translation in pairs() if not re.search("[가-힣]", translation)}
    assert same == {"Excel (XLSX)", "JSON Lines", " and ", "id"}


def test_no_particle_depends_on_a_word_that_is_put_in_later() -> None:
    assert [translation for _original, translation in pairs() if DEPENDENT.search(translation)] == []


def test_nor_does_one_of_djangos_on_a_page_of_ours() -> None:
    with override("ko"):
        shown = {text: gettext_of(text) for text in djangos("admin", "auth", "postgres", "") if text not in NEVER_SHOWN}
    assert {text: korean for text, korean in shown.items() if DEPENDENT.search(korean)} == {}


@pytest.mark.parametrize(
    "korean", ["%s이(가) 없습니다.", "%(name)s 을/를 삭제", "“{obj}”가 추가", "%d (으)로", "%r는 안 됩니다."]
)
def test_such_a_particle_is_found(korean: str) -> None:
    assert DEPENDENT.search(korean)


@pytest.mark.parametrize(
    "korean", ["%s에 표가 있습니다.", "오류 및/또는", "%(count)d개를 삭제", "%s 이상", "{}의 은행"]
)
def test_what_is_none_is_let_pass(korean: str) -> None:
    assert not DEPENDENT.search(korean)


def djangos(*apps: str) -> list[str]:
    """The texts of Django's own Korean catalogues of these applications; the empty name is Django itself."""
    root = Path(django.__file__).parent
    rooms = [root / "contrib" / app if app else root / "conf" for app in apps]
    files = [room / "locale/ko/LC_MESSAGES/django.po" for room in rooms]
    catalogues = [read_po(io.BytesIO(file.read_bytes()), locale="ko") for file in files]
    texts = [message.id for catalogue in catalogues for message in catalogue if message.id]
    return [text if isinstance(text, str) else text[0] for text in texts]


def gettext_of(text: str) -> str:
    """As a page shows it, whether it has a plural or not."""
    return gettext_now(text) if gettext_now(text) != text else ngettext_now(text, text, 2)


def test_extraction_finds_what_code_wraps() -> None:
    code = """
from django.utils.translation import gettext, gettext as now, gettext_lazy as later, ngettext, pgettext_lazy
gettext("Plain.")
def told(count): return now("Now.") + ngettext("%d row", "%d rows", count) % count
class Model: name = later("Lazy, " "in two pieces."), pgettext_lazy("month", "May")
print("Not wrapped.", _("Not imported."))
"""
    assert catalogue.texts_in(code, ".py") == [
        ("Plain.", None),
        ("Now.", None),
        (("%d row", "%d rows"), None),
        ("Lazy, in two pieces.", None),
        ("May", "month"),
    ]


def test_extraction_finds_what_templates_wrap() -> None:
    template = """
      {% translate "Isn’t it?" %}
    <p title="{% translate 'A title' %}">{{ value|default:_("Nothing") }}
  {% blocktranslate count n=rows|length trimmed %}
    one row
  {% plural %}
    {{ n }} rows
  {% endblocktranslate %}
"""
    assert catalogue.texts_in(template, ".html") == [
        ("Isn’t it?", None),
        ("A title", None),
        ("Nothing", None),
        (("one row", "%(n)s rows"), None),
    ]


def test_no_sentence_for_people_is_left_bare() -> None:
    assert [path for path in SPOKEN if not (catalogue.ROOT / path).exists()] == []
    assert list(bare_sentences()) == []


def bare_sentences() -> Iterator[str]:
    for path in catalogue.sources():
        where = path.relative_to(catalogue.ROOT).as_posix()
        if path.suffix == ".py" and where.startswith(SPOKEN) and where not in UNSPOKEN:
            source = path.read_text("utf-8")
            names = {*catalogue.names_in(source), "RuntimeError", "ArgumentTypeError"}
            yield from (f"{where}: {text}" for text in bare_texts(ast.parse(source), names))


def bare_texts(node: ast.AST, wrappers: set[str]) -> Iterator[str]:
    """Sentences in the code below a node, but for docstrings and what one of these functions is given."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in wrappers:
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and SENTENCE.search(node.value):
        yield node.value
    for child in ast.iter_child_nodes(node):
        yield from bare_texts(child, wrappers)
