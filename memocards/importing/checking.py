"""From a record to a row that the database will take, or to a BadRow that says all that is wrong with it."""

import contextlib
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from memocards.exchange.markup import Markup
from memocards.importing.answers import Unanswerable, right_choice
from memocards.importing.conversions import Conversions
from memocards.importing.formats.decoding import has_surrogates, undecoded
from memocards.importing.rows import BadRow, CardRow, Item, QuestionRow, Record, RowKind, Skipped
from memocards.limits import TEXT_LIMIT

# A text that holds none of these is empty: PostgreSQL, whose check refuses empty texts, takes U+001C to U+001F for no
# blanks.
_NOT_BLANK: Final = re.compile(r"[\S\x1c-\x1f]")
# With its markup, a text may be longer than what is stored of it; but converting takes time.
_LONGEST_MARKUP: Final = 5 * TEXT_LIMIT
_MOST_TAGS, _LONGEST_TAG = 50, 100
_LONGEST_ID, _LONGEST_TOPIC, _LONGEST_SOURCE = 200, 200, 500
_MOST_CHOICES: Final = 10
# Of the ids that derived_id() makes.
DERIVED_PREFIX: Final = "content-"
# Name of a value → what it is called in a sentence.
_LABELS: Final[Mapping[str, Any]] = {
    "front": gettext_lazy("front"),
    "back": gettext_lazy("back"),
    "note": gettext_lazy("note"),
    "stem": gettext_lazy("question"),
    "choices": gettext_lazy("list of choices"),
    "answer": gettext_lazy("answer"),
    "explanation": gettext_lazy("explanation"),
    "source": gettext_lazy("source"),
    "external_id": gettext_lazy("id"),
    "topic": gettext_lazy("topic's name"),
    "tags": gettext_lazy("tags"),
    "tag": gettext_lazy("tag"),
    "markup": gettext_lazy("markup"),
}


def checked(record: Record, kind: RowKind, markup: Markup, conversions: Conversions, answers_from: int) -> list[Item]:
    """The record's row or bad row, and the media that it leaves out. Raises CountsFromZero."""
    checking = _Checking(record, markup, conversions, answers_from)
    row = checking.card() if kind is RowKind.CARD else checking.question()
    if checking.problems:
        return [BadRow(record.line, record.place, " ".join(checking.problems))]
    return [row, *(Skipped("media", name) for name in checking.media)]


def derived_id(*texts: str) -> str:
    """The external id of a row that brings none: from its front, or from a question's stem.

    Unicode's composed form and single blanks, so that the same words have the same id.
    """
    words = "\n".join(" ".join(unicodedata.normalize("NFC", text).split()) for text in texts)
    return DERIVED_PREFIX + hashlib.sha256(words.encode()).hexdigest()[:40]


class _Checking:
    """Makes a row of one record, and collects what is wrong with it in `problems`."""

    def __init__(self, record: Record, markup: Markup, conversions: Conversions, answers_from: int) -> None:
        self._record, self._values, self._conversions = record, record.values, conversions
        self._answers_from = answers_from
        # As the file has them: an answer may be one.
        self._choice_texts: list[str] = []
        self.problems: list[str] = []
        self.media: list[str] = []
        self._markup = self._own_markup() or markup
        self._exact = self._markup is Markup.EXACT

    def card(self) -> CardRow:
        front = self._text("front")
        back = self._text("back")
        note = self._text("note", required=False)
        if note and back:
            back = f"{back}\n\n{note}"
            self._limit(_LABELS["back"], back, TEXT_LIMIT)
        return CardRow(
            line=self._record.line,
            place=self._record.place,
            topic=self._topic(),
            external_id=self._external_id() or (derived_id(front) if front else ""),
            front=front,
            back=back,
            tags=self._tags(),
            source=self._source(),
        )

    def question(self) -> QuestionRow:
        stem = self._text("stem")
        choices, letters = self._choices()
        return QuestionRow(
            line=self._record.line,
            place=self._record.place,
            topic=self._topic(),
            external_id=self._external_id() or (derived_id(stem) if stem else ""),
            stem=stem,
            choices=choices,
            answer=self._answer(letters),
            explanation=self._text("explanation", required=False) or None,
            source=self._source(),
        )

    def _own_markup(self) -> Markup | None:
        """The markup that the row itself names; None where it names none."""
        named = (self._plain(self._values.get("markup"), _LABELS["markup"]) or "").strip().lower()
        if not named or named in list(Markup):
            return Markup(named) if named else None
        problem = _("The markup %(name)r is none of these: %(known)s.")
        self.problems.append(problem % {"name": named[:40], "known": ", ".join(Markup)})
        return None

    def _text(self, key: str, *, required: bool = True) -> str:
        label = _LABELS[key]
        value = self._plain(self._values.get(key), label)
        if value is None:
            return ""
        before = len(self.media)
        if self._exact:
            text = value if _NOT_BLANK.search(value) else ""
        else:
            converted = self._converted(label, value.replace("\r\n", "\n").replace("\r", "\n"))
            if converted is None:
                return ""
            text = converted
        if not text and required:
            left_out = ", ".join(self.media[before : before + 3])
            if left_out:
                problem = _("The %(what)s holds media only (%(media)s), which are left out.")
                self.problems.append(problem % {"what": label, "media": left_out})
            else:
                self.problems.append(_("The %s is empty.") % label)
        self._limit(label, text, TEXT_LIMIT)
        return text

    def _converted(self, label: Any, text: str) -> str | None:
        """A text in our Markdown. None, and a problem, where that is not to be had."""
        if len(text) > _LONGEST_MARKUP:
            problem = _("The %(what)s has %(count)s characters with its markup; at most %(most)s are read.")
            self.problems.append(problem % {"what": label, "count": f"{len(text):,}", "most": f"{_LONGEST_MARKUP:,}"})
            return None
        conversion = self._conversions.convert(text, self._markup)
        if conversion is None:
            self.problems.append(_("The %s holds a table of too many cells.") % label)
            return None
        converted, media = conversion
        self.media.extend(media)
        return converted.strip()

    def _plain(self, value: Any, label: Any) -> str | None:
        """A value as text. None, and a problem, for what is none."""
        if value is None:
            return ""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            self.problems.append(_("The %s is not a text.") % label)
            return None
        if "\0" in value:
            self.problems.append(_("The %s holds a NUL character.") % label)
            return None
        if problem := undecoded(value):
            self.problems.append(problem)
            return None
        if has_surrogates(value):
            self.problems.append(_("The %s holds half of a character (a lone surrogate).") % label)
            return None
        return value

    def _limit(self, label: Any, text: str, most: int) -> None:
        if len(text) > most:
            problem = _("The %(what)s has %(count)s characters; at most %(most)s are possible.")
            self.problems.append(problem % {"what": label, "count": f"{len(text):,}", "most": f"{most:,}"})

    def _short(self, key: str, most: int) -> str:
        """A short text without markup, its blanks made single unless it is exact."""
        text = self._plain(self._values.get(key), _LABELS[key]) or ""
        if not self._exact:
            text = " ".join(text.split())
        self._limit(_LABELS[key], text, most)
        return text

    def _source(self) -> str | None:
        """None where the file does not say. An exact row says it with an empty one, too."""
        source = self._short("source", _LONGEST_SOURCE)
        return source if source or (self._exact and "source" in self._values) else None

    def _external_id(self) -> str:
        # Blanks inside stay as they are, because this is another program's name for the row.
        text = self._plain(self._values.get("external_id"), _LABELS["external_id"]) or ""
        if not self._exact:
            text = text.strip()
        self._limit(_LABELS["external_id"], text, _LONGEST_ID)
        return text

    def _topic(self) -> str | None:
        return self._short("topic", _LONGEST_TOPIC) or None

    def _tags(self) -> tuple[str, ...] | None:
        if "tags" not in self._values:
            return None
        tags = tuple(self._listed_tags(self._values["tags"]))
        if len(tags) > _MOST_TAGS:
            problem = _("The row has %(count)d tags; at most %(most)d are possible.")
            self.problems.append(problem % {"count": len(tags), "most": _MOST_TAGS})
        for tag in tags:
            if len(tag) > _LONGEST_TAG:
                self._limit(_("tag %s") % f"{tag[:20]}…", tag, _LONGEST_TAG)
        return tags

    def _listed_tags(self, value: Any) -> list[str]:
        """A list, or a text: JSON's list, or parted by commas or semicolons, or else by blanks, as Anki does it."""
        if isinstance(value, str) and value.lstrip().startswith("["):
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(value)
        if isinstance(value, list | tuple):
            texts = [self._plain(tag, _LABELS["tag"]) for tag in value]
            if self._exact:
                return [text for text in texts if text]
        else:
            text = self._plain(value, _LABELS["tags"]) or ""
            texts = list(re.split(r"[,;]", text)) if re.search("[,;]", text) else list(text.split())
        return list(dict.fromkeys(" ".join(text.split()) for text in texts if text and text.strip()))

    def _choices(self) -> tuple[tuple[str, ...], list[str]]:
        """The choices, and the letters by which they are called."""
        value = self._values.get("choices")
        letters: Sequence[str] = "ABCDEFGHIJ"
        if isinstance(value, str):
            value = self._choices_in(value)
        if isinstance(value, Mapping):
            letters, value = [str(letter).strip().upper() for letter in value], list(value.values())
        if not isinstance(value, list | tuple):
            self.problems.append(_("The choices are neither a list of texts nor an object of letters and texts."))
            return (), []
        if not 2 <= len(value) <= _MOST_CHOICES:
            problem = _("The question has %(count)d choices; 2 to %(most)d are possible.")
            self.problems.append(problem % {"count": len(value), "most": _MOST_CHOICES})
            return (), []
        choices = tuple(self._choice(number, text) for number, text in enumerate(value, start=1))
        self._choice_texts = [str(text) for text in value]
        self._limit(_LABELS["choices"], "".join(choices), TEXT_LIMIT)
        return choices, list(letters[: len(choices)])

    def _choice(self, number: int, value: Any) -> str:
        text = self._plain(value, _("choice %d") % number)
        if text is None:
            return ""
        if not self._exact:
            text = self._converted(_("choice %d") % number, text.strip())
            if text is None:
                return ""
        if not text:
            self.problems.append(_("Choice %d is empty.") % number)
        return text

    def _choices_in(self, text: str) -> Any:
        """A cell: JSON's list or object, or one choice a line, or parted by |."""
        if text.lstrip()[:1] in "[{":
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                pass
        parts = text.splitlines() if "\n" in text.strip() else text.split("|")
        return [part.strip() for part in parts if part.strip()]

    def _answer(self, letters: list[str]) -> int:
        value = self._values.get("answer", "")
        if not isinstance(value, bool | list | tuple) and self._plain(value, _LABELS["answer"]) is None:
            return 0
        if not letters:
            return 0
        # What was exported is a number from 1, though a choice may read like one.
        is_exported = self._exact and str(value).isdecimal()
        counted_from = 1 if is_exported else self._answers_from
        try:
            return right_choice(
                int(value) if is_exported else value, self._choice_texts, letters, counted_from=counted_from
            )
        except Unanswerable as error:
            self.problems.append(str(error))
            return 0
