"""Moments as pages show them: in the time zone that is active, and so that a program can read them, too."""

from datetime import datetime

from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.timezone import localtime


def shown_moment(when: datetime | None) -> SafeString:
    """2026-01-05 18:00, or a dash."""
    if when is None:
        return SafeString("–")
    return format_html('<time datetime="{}">{}</time>', when.isoformat(), _written(when))


def shown_age(when: datetime) -> SafeString:
    """3 minutes; pointing at it says the moment."""
    return format_html('<time datetime="{}" title="{}">{}</time>', when.isoformat(), _written(when), timesince(when))


def _written(when: datetime) -> str:
    return date_format(localtime(when), "DATETIME_FORMAT")
