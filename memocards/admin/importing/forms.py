"""The two forms of an import: which file and how to read it; and the confirmation of what its preview shows."""

import shlex
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from django.utils.translation import get_language
from django.utils.translation import gettext as now
from django.utils.translation import gettext_lazy as _

from memocards.importing.formats.table import formats_of
from memocards.importing.rows import RowKind
from memocards.models import Topic
from memocards.states import LIVE

MOST_BYTES: Final = 64 * 1024 * 1024
# Of texts without a byte order mark, by where spreadsheets come from.
ENCODINGS: Final = [
    ("utf-8", "UTF-8"),
    ("cp949", _("Korean (CP949, EUC-KR)")),
    ("cp932", _("Japanese (Shift JIS)")),
    ("gb18030", _("Chinese, simplified (GB 18030)")),
    ("big5", _("Chinese, traditional (Big5)")),
    ("cp1252", _("Western European (Windows 1252)")),
    ("cp1251", _("Cyrillic (Windows 1251)")),
    ("utf-16", "UTF-16"),
]
_ANY_FORMAT: Final = ("", _("By its content"))
_COMMANDS: Final = {RowKind.CARD: "import_cards", RowKind.QUESTION: "import_questions"}
_HINTS: Final = {
    RowKind.CARD: _(
        "A table whose first line names the columns: front and back; tags, note, source, topic and id if you like. "
        "Or JSON Lines with the same names, or what Anki exports."
    ),
    RowKind.QUESTION: _(
        "A table whose first line names the columns: stem, answer, and choices or A, B, C…; explanation, source, topic "
        "and id if you like. Or JSON Lines with the same names."
    ),
}


@dataclass(frozen=True)
class Plan:
    """What is to be done with a file, and for whom."""

    kind: str
    file: str
    # Empty: by its content.
    format: str
    encoding: str
    html: bool
    # The name of the topic when the file was sent, to be shown; the topic is found by its key.
    topic: str
    topic_id: int | None
    create_topics: bool
    user_id: int
    username: str
    language: str
    # The number of the first choice, where an answer is a number.
    answers_from: int = 1

    @property
    def command(self) -> str:
        """What to type in a terminal instead, for a file that is too large for a page."""
        words = ["manage.py", _COMMANDS[RowKind(self.kind)], self.file]
        words += ["--topic", self.topic] if self.topic else []
        words += ["--create-topics"] if self.create_topics else []
        words += ["--format", self.format] if self.format else []
        words += ["--encoding", self.encoding] if self.encoding != ENCODINGS[0][0] else []
        words += ["--html"] if self.html else []
        words += ["--answers-from", "0"] if self.answers_from == 0 else []
        return shlex.join([*words, "--author", self.username])

    @property
    def choices(self) -> dict[str, Any]:
        """The fields of the form as they were filled in, but for the file."""
        names = ("format", "encoding", "html", "answers_from", "create_topics")
        return {"topic": self.topic_id, **{name: getattr(self, name) for name in names}}


class FileForm(forms.Form):
    import_file = forms.FileField(label=_("File"))
    topic = forms.ModelChoiceField(
        Topic.objects.filter(LIVE),
        label=_("Topic"),
        required=False,
        empty_label=_("Where each row says"),
        help_text=_("Anki’s decks are topics: “Asia::Capitals” is one."),
    )
    create_topics = forms.BooleanField(label=_("Create topics that are missing"), required=False)
    format = forms.ChoiceField(label=_("Format"), required=False)
    encoding = forms.ChoiceField(
        label=_("Encoding"), choices=ENCODINGS, required=False, help_text=_("Of CSV, TSV and text files.")
    )
    html = forms.BooleanField(
        label=_("Texts are HTML"), required=False, help_text=_("Else they are Markdown. Anki’s are HTML anyway.")
    )
    answers_from = forms.ChoiceField(
        label=_("Choices are counted from"),
        choices=[(1, "1"), (0, "0")],
        required=False,
        help_text=_("Where an answer is a number. Letters and texts are read anyway."),
    )

    def __init__(self, *args: Any, kind: RowKind, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kind, self._user = kind, user
        formats = formats_of(kind)
        choice: Any = self.fields["format"]
        choice.choices = [_ANY_FORMAT, *((format.name, format.title) for format in formats)]
        file = self.fields["import_file"]
        file.help_text = str(_HINTS[kind])
        file.widget.attrs = {"accept": ",".join(extension for format in formats for extension in format.extensions)}
        if not user.has_perm("memocards.add_topic"):
            del self.fields["create_topics"]
        if kind is not RowKind.QUESTION:
            del self.fields["answers_from"]

    @property
    def plan(self) -> Plan:
        values = self.cleaned_data
        return Plan(
            kind=self._kind,
            file=values["import_file"].name,
            format=values["format"],
            encoding=values["encoding"] or ENCODINGS[0][0],
            html=values["html"],
            topic=values["topic"].name if values["topic"] else "",
            topic_id=values["topic"].pk if values["topic"] else None,
            create_topics=values.get("create_topics", False),
            user_id=self._user.pk,
            username=self._user.get_username(),
            language=get_language() or "en",
            answers_from=int(values.get("answers_from") or 1),
        )

    def clean(self) -> dict[str, Any]:
        file: UploadedFile | None = self.cleaned_data.get("import_file")
        if file is not None and (file.size or 0) > MOST_BYTES and not self.errors:
            sentence = now("The file is larger than %(limit)s. Import it with the command %(command)s.")
            self.add_error(
                "import_file", sentence % {"limit": filesizeformat(MOST_BYTES), "command": self.plan.command}
            )
        cleaned: dict[str, Any] = self.cleaned_data
        return cleaned


class ConfirmationForm(forms.Form):
    """The user's yes to a preview. It carries what the preview had counted: see summary.at_stake()."""

    at_stake = forms.CharField(widget=forms.HiddenInput)
