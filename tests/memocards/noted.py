"""What the history says, in sentences."""

from typing import Any

from django.contrib.admin.models import LogEntry

from memocards.content.history import sentence


def noted(**where: Any) -> list[str]:
    """The sentences of these entries, oldest first."""
    return [sentence(entry) for entry in LogEntry.objects.filter(**where).order_by("pk")]
