"""The Korean catalogue: every text of the hub is in it, translated, and nothing else is."""

import ast
import gettext
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from babel.messages.catalog import Message

from studyhub import catalogue

# Where every sentence is for the people of the back office.
SPOKEN = (
    "memocards/admin",
    "memocards/importing",
    *(f"memocards/{name}.py" for name in ("cards", "questions", "topics", "review", "writing", "errors", "rating")),
    *(f"memocards/{name}.py" for name in ("queue", "leeches", "dashboard", "study_settings")),
    "memocards/explaining/requesting.py",
    "publish/admin.py",
    "studyhub/admin_site.py",
    "studyhub/login_throttle.py",
)
# The terminal's, in English.
UNSPOKEN = {"memocards/importing/command.py", "memocards/importing/anki_wire.py"}
SENTENCE = re.compile(r"^\W*[A-Z][a-z]+ [a-z]+\b")
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?0?\d*[a-zA-Z]|\{\w*\}|</?\w+>|https?://[\w.:/]+")

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
    assert same == {"Excel (XLSX)", "JSON Lines", " and ", "id", "%(who)s, %(when)s"}


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
