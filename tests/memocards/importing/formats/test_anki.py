"""Anki's packages in all three containers, its templates, and its text exports."""

import json
import zipfile
from pathlib import Path

import pytest
import zstandard

from memocards.importing.formats.anki.templates import Template, answer_only, cloze, cloze_numbers
from memocards.importing.reading import read
from memocards.importing.refusals import UnreadableFile
from memocards.importing.rows import CardRow, RowKind
from tests.memocards.importing.files import (
    CLOZE_TYPE,
    NOTE_TYPE,
    PLAIN_TYPE,
    Note,
    bad,
    cards,
    collection,
    items,
    media_list,
    newer_collection,
    skipped,
    write,
    write_zip,
)

OLD: list[Note] = [("Old", PLAIN_TYPE, ["old", "old"], "o", [])]
NEW: list[Note] = [("New", PLAIN_TYPE, ["new", "new"], "n", [])]


def test_the_newest_container_wins(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {"media": "{}", "collection.anki2": collection(OLD)}
    assert [row.front for row in cards(items(write_zip(tmp_path / "1.apkg", members)))] == ["old"]
    members["collection.anki21"] = collection(NEW)
    assert [row.front for row in cards(items(write_zip(tmp_path / "2.apkg", members)))] == ["new"]
    members["collection.anki21b"] = newer_collection(tmp_path, "g", "newest", "back")
    assert [row.front for row in cards(items(write_zip(tmp_path / "3.colpkg", members)))] == ["newest"]


def test_the_newer_schema(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {
        "media": media_list("flag.png", "수도.mp3"),
        "collection.anki21b": newer_collection(tmp_path, "g~1", "<b>Seoul</b>", "x &lt; y"),
    }
    entries = items(write_zip(tmp_path / "a.apkg", members))
    assert cards(entries) == [
        CardRow(1, "card 1 of note 11", "World::Europe", "g~1", "**Seoul**", "x < y", ("a", "b"), None)
    ]
    assert skipped(entries) == [("media", "flag.png"), ("media", "수도.mp3")]


def test_decks_templates_tags_and_cloze(tmp_path: Path) -> None:
    content = collection(
        [
            ("World", NOTE_TYPE, ["France", "Paris", "a river"], "g1", ["capital", "eu::west"]),
            ("World::Asia", NOTE_TYPE, ["Japan", "Tokyo", ""], "g2", []),
            ("World", CLOZE_TYPE, ["{{c1::Bern}}, {{c2::Rome::where?}}", "extra"], "g3", []),
        ]
    )
    members: dict[str, bytes | str] = {"media": json.dumps({"0": "a.png"}), "collection.anki2": content}
    entries = items(write_zip(tmp_path / "a.apkg", members))
    assert [(row.topic, row.external_id, row.front, row.back, row.tags) for row in cards(entries)] == [
        ("World", "g1", "France (a river)", "Paris", ("capital", "eu::west")),
        ("World", "g1#2", "Paris", "France", ("capital", "eu::west")),
        ("World", "g3", "[...], Rome", "**Bern**, Rome\\\nextra", ()),
        ("World", "g3#2", "Bern, [where?]", "Bern, **Rome**\\\nextra", ()),
        ("World::Asia", "g2", "Japan", "Tokyo!", ()),
        ("World::Asia", "g2#2", "Tokyo", "Japan", ()),
    ]
    assert skipped(entries) == [("media", "a.png")]


def test_a_card_of_media_alone_is_bad_and_other_media_are_named(tmp_path: Path) -> None:
    content = collection(
        [
            ("D", PLAIN_TYPE, ['<img src="flag.png">', "Norway"], "g1", []),
            ("D", PLAIN_TYPE, ["Norway", 'Oslo <img src="map.png"> [sound:oslo.mp3]'], "g2", []),
        ]
    )
    entries = items(write_zip(tmp_path / "a.apkg", {"collection.anki2": content}))
    assert [reason for _place, reason in bad(entries)] == ["The front holds media only (flag.png), which are left out."]
    assert [row.back for row in cards(entries)] == ["Oslo"]
    assert skipped(entries) == [("media", "oslo.mp3"), ("media", "map.png")]


@pytest.mark.parametrize(
    ("source", "values", "expected"),
    [
        ("{{Front}} {{ Tags }}{{Nothing}}", {"Front": "f", "Tags": "a b"}, "f a b"),
        ("{{#A}}a{{#B}}b{{/B}}{{/A}}{{^A}}c{{/A}}", {"A": "x", "B": ""}, "a"),
        ("{{#A}}a{{/A}}{{^A}}c{{/A}}", {"A": "<br> &nbsp;"}, "c"),
        ("{{#A}}a{{/A}}", {"A": "<img src=x>"}, "a"),
        ("{{text:A}}|{{type:A}}|{{hint:A}}|{{tts en_US:A}}", {"A": "<b>x</b>&amp;"}, "x&amp;||<b>x</b>&amp;|"),
        (
            "{{furigana:A}}|{{kana:A}}|{{kanji:A}}",
            {"A": "日本[にほん]"},
            "<ruby>日本<rt>にほん</rt></ruby>|にほん|日本",
        ),
        ("<!-- {{A}} -->x{{FrontSide}}", {"A": "a"}, "x"),
        ("{{cloze:A}}{{#c1}}one{{/c1}}{{#c2}}two{{/c2}}", {"A": "{{c2::b}}"}, "[...]two"),
        ("{{cloze:A}}", {"A": "no gap of this number {{c1::a}}"}, ""),
        ("{{broken {{A}} }} {{/A}}", {"A": "a"}, " }} "),
    ],
)
def test_templates(source: str, values: dict[str, str], expected: str) -> None:
    assert Template(source).render(values, cloze=2, answer=False) == expected


def test_cloze_texts() -> None:
    nested = "{{c1::a {{c2::b}} c}} {{c1,3::d::hint}} }}"
    assert cloze_numbers(nested) == [1, 2, 3]
    assert cloze(nested, 1, answer=False) == "[...] [hint] }}"
    assert cloze(nested, 2, answer=False) == "a [...] c d }}"
    assert cloze(nested, 2, answer=True) == "a <b>b</b> c d }}"
    assert cloze(nested, 3, answer=True) == "a b c <b>d</b> }}"


def test_the_answer_is_what_stands_below_the_line() -> None:
    assert answer_only("front<hr id=answer>back") == "back"
    assert answer_only("front<HR ID='answer' class=x>") == "front "
    assert answer_only("no line") == "no line"
    assert answer_only(" <hr>back<hr>more") == "back<hr>more"
    assert answer_only("front<hr>back") == "front<hr>back"


def test_a_text_export_of_notes(tmp_path: Path) -> None:
    path = write(
        tmp_path / "notes.txt",
        "#separator:tab\n#html:true\n#guid column:1\n#notetype column:2\n#deck column:3\n#tags column:6\n"
        'g1\tBasic\tWorld\tFrance &amp; <b>more</b>\t"Paris\n<br>""x"""\tcapital eu::west\n'
        "g2\tCloze\tWorld::Asia\t{{c1::Seoul}} in {{c2::Korea}}\textra\t\n"
        "g3\tBasic\tWorld\tonly a front\t\t\n",
    )
    entries = items(path)
    assert cards(entries) == [
        CardRow(7, "line 7", "World", "g1", "France & **more**", 'Paris\\\n"x"', ("capital", "eu::west"), None),
        CardRow(9, "line 9", "World::Asia", "g2", "[...] in Korea", "**Seoul** in Korea\\\nextra", (), None),
        CardRow(9, "line 9", "World::Asia", "g2#2", "Seoul in [...]", "Seoul in **Korea**\\\nextra", (), None),
    ]
    assert bad(entries) == [("line 10", "The back is empty.")]


def test_a_text_export_without_html(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufeff#separator:Pipe\n#html:false\n#tags:x y\n#deck:D\n<b>|*b*|c\n")
    (row,) = cards(items(path))
    assert (row.topic, row.front, row.back, row.tags) == (
        "D",
        "\\<b>",
        "\\*b\\*\n\nc",
        ("x", "y"),
    )


def test_a_header_that_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"a.txt, line 1: The separator 'abc' is unknown\."):
        items(write(tmp_path / "a.txt", "#separator:abc\nf\tb\n"))
    with pytest.raises(UnreadableFile, match=r"b.txt, line 2: 'x' is no number of a column\."):
        items(write(tmp_path / "b.txt", "#separator:tab\n#guid column:x\nf\tb\n"))


def test_questions_are_not_looked_for_in_anki(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.apkg", {"collection.anki2": collection(OLD)})
    with pytest.raises(UnreadableFile, match="Import them as cards"):
        read(path, kind=RowKind.QUESTION)


def test_a_package_that_is_cut_off(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.apkg", {"collection.anki2": collection(OLD)})
    content = path.read_bytes()
    for length in (30, len(content) // 2, len(content) - 1):
        with pytest.raises(UnreadableFile, match=r"a.apkg: The archive is damaged or cut off"):
            items(write(path, content[:length]))


def test_a_collection_that_is_cut_off(tmp_path: Path) -> None:
    content = collection([("D", PLAIN_TYPE, [f"front {n}", "b" * 500], f"g{n}", []) for n in range(100)])
    path = write_zip(tmp_path / "a.apkg", {"collection.anki2": content[: len(content) // 2]})
    with pytest.raises(UnreadableFile, match=r"a.apkg: The Anki collection is damaged"):
        items(path)
    packed = newer_collection(tmp_path, "g", "f", "b")
    path = write_zip(tmp_path / "b.apkg", {"collection.anki21b": packed[: len(packed) // 2]})
    with pytest.raises(UnreadableFile, match=r"b.apkg: "):
        items(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no database", "The Anki collection is damaged"),
        (b"", "The database in this package is no Anki collection."),
    ],
)
def test_no_collection_in_the_package(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UnreadableFile, match=message):
        items(write_zip(tmp_path / "a.apkg", {"collection.anki2": content}))


def test_a_zip_bomb_as_a_package(tmp_path: Path) -> None:
    zeros = bytes(40 * 1024 * 1024)
    with pytest.raises(UnreadableFile, match="That is a ZIP bomb"):
        items(write_zip(tmp_path / "a.apkg", {"collection.anki2": zeros}))
    packed = zstandard.ZstdCompressor().compress(zeros)
    path = tmp_path / "b.apkg"
    # Stored, so that the archive itself looks harmless.
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("collection.anki21b", packed)
    with pytest.raises(UnreadableFile, match=r"unpacks from [\d,]+ to over [\d,]+ bytes: a ZIP bomb|It is a ZIP bomb"):
        items(path)


def test_a_card_without_its_note_type_is_one_bad_row(tmp_path: Path) -> None:
    content = collection([("D", PLAIN_TYPE, ["f", "b"], "g", [])])
    broken = content.replace(b'"1607392321"', b'"1607392999"')
    entries = items(write_zip(tmp_path / "a.apkg", {"collection.anki2": broken}))
    assert [reason for _place, reason in bad(entries)] == [
        "The package does not hold the note type or the template of this card."
    ]
