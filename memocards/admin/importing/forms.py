"""The two forms of an import: which file and how to read it; and the answer to its preview."""

import shlex
from dataclasses import asdict, dataclass
from typing import Any, Final

from django import forms
from django.core import signing
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as now
from django.utils.translation import gettext_lazy as _
from import_export.forms import ImportForm

from memocards.admin.forms import LIVE
from memocards.admin.importing.uploads import KEPT_SECONDS
from memocards.models import Topic

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


TOO_OLD: Final = _("This preview is too old, or was answered already. To go on, choose the file again.")


@dataclass(frozen=True)
class Plan:
    """What is to be done with an upload, and for whom. `at_stake` is what its preview counted; empty before that."""

    kind: str
    upload: str
    file: str
    # Empty: by its content.
    format: str
    encoding: str
    html: bool
    # As it was called then, for whoever reads; the key is what counts.
    topic: str
    topic_id: int | None
    create_topics: bool
    user_id: int
    username: str
    at_stake: str = ""

    def sign(self) -> str:
        return signing.dumps(asdict(self), salt="memocards.import", compress=True)

    @classmethod
    def unsign(cls, text: str, kind: str, user_id: int) -> "Plan | None":
        """None for one that is forged, another page's or user's, or too old."""
        try:
            plan = cls(**signing.loads(text, salt="memocards.import", max_age=KEPT_SECONDS))
        except signing.BadSignature:
            return None
        return plan if (plan.kind, plan.user_id) == (kind, user_id) else None

    def command(self, name: str) -> str:
        """What to type where a file is too large for a page."""
        words = ["manage.py", name, self.file]
        words += ["--topic", self.topic] if self.topic else []
        words += ["--create-topics"] if self.create_topics else []
        words += ["--format", self.format] if self.format else []
        words += ["--encoding", self.encoding] if self.encoding != ENCODINGS[0][0] else []
        words += ["--html"] if self.html else []
        return shlex.join([*words, "--author", self.username])


class FileForm(ImportForm):  # type: ignore[misc]
    topic = forms.ModelChoiceField(
        Topic.objects.filter(LIVE),
        label=_("Topic"),
        required=False,
        empty_label=_("Where each row says"),
        help_text=_("Anki’s decks are topics: “Asia::Capitals” is one."),
    )
    create_topics = forms.BooleanField(label=_("Create topics that are missing"), required=False)
    encoding = forms.ChoiceField(
        label=_("Encoding"), choices=ENCODINGS, required=False, help_text=_("Of CSV, TSV and text files.")
    )
    html = forms.BooleanField(
        label=_("Texts are HTML"), required=False, help_text=_("Else they are Markdown. Anki’s are HTML anyway.")
    )

    field_order = ["import_file", "topic", "create_topics", "format", "encoding", "html", "resource"]
    # import-export's script guesses the format by the file's name; here the content says what it is.
    media = forms.Media()

    def __init__(self, formats: list[Any], resources: list[Any], *, user: Any, **kwargs: Any) -> None:
        super().__init__(formats, resources, **kwargs)
        self._formats, self._resource, self._user = formats, resources[0], user
        chosen: Any = self.fields["format"]
        chosen.label = _("Format")
        chosen.choices = [choice for choice in chosen.choices if choice[0]]
        file = self.fields["import_file"]
        file.label, file.help_text = _("File"), resources[0].hint
        file.widget.attrs = {"accept": ",".join(sorted({name for made in formats for name in made.extensions}))}
        if not user.has_perm("memocards.add_topic"):
            del self.fields["create_topics"]

    @property
    def plan(self) -> Plan:
        given = self.cleaned_data
        file = given["import_file"]
        return Plan(
            kind=self._resource.kind,
            upload=getattr(file, "tmp_storage_name", ""),
            file=file.name,
            format=self._formats[int(given["format"])].name,
            encoding=given["encoding"] or ENCODINGS[0][0],
            html=given["html"],
            topic=given["topic"].name if given["topic"] else "",
            topic_id=given["topic"].pk if given["topic"] else None,
            create_topics=given.get("create_topics", False),
            user_id=self._user.pk,
            username=self._user.get_username(),
        )

    def clean(self) -> dict[str, Any]:
        file: UploadedFile | None = self.cleaned_data.get("import_file")
        if file is not None and (file.size or 0) > MOST_BYTES and not self.errors:
            sentence = now("The file is larger than %(limit)s. Import it with the command %(command)s.")
            command = self.plan.command(self._resource.command)
            self.add_error("import_file", sentence % {"limit": filesizeformat(MOST_BYTES), "command": command})
        cleaned: dict[str, Any] = self.cleaned_data
        return cleaned


class AnswerForm(forms.Form):
    """A yes to a preview. The plan goes through the browser, signed."""

    plan_signed = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, kind: str, user_id: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kind, self._user_id = kind, user_id

    def clean_plan_signed(self) -> Plan:
        plan = Plan.unsign(self.cleaned_data["plan_signed"], self._kind, self._user_id)
        if plan is None:
            raise forms.ValidationError(TOO_OLD)
        return plan

    @property
    def plan(self) -> Plan:
        plan: Plan = self.cleaned_data["plan_signed"]
        return plan
