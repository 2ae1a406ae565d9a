"""Logins: how often a password is guessed, and how many are checked at the same time, is limited.

Checking a password takes a good part of a second of one processor, on purpose. So an attempt is counted and may be
refused before that, for a known and an unknown name alike.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from kit.addresses import client_address
from studyhub.models import LoginAttempts

# In one process. One thread more may wait for its turn; the other threads, and a processor, stay for other pages.
CHECKED_AT_ONCE: Final = 1 if (os.cpu_count() or 1) < 4 else 2
_BUSY_SECONDS: Final = 1

_admitted = threading.BoundedSemaphore(CHECKED_AT_ONCE + 1)
_checking = threading.BoundedSemaphore(CHECKED_AT_ONCE)

R = TypeVar("R", bound=HttpResponseBase)


class CountedForm:
    """A form that checks a password. `retry_after`: seconds, where it refused to look at the password."""

    retry_after = 0

    @contextmanager
    def attempt(self, request: HttpRequest, account: str) -> Iterator[None]:
        """Check the password inside: whatever is raised there is a failure, anything else a success.

        `account`: the name exactly as the backend will look it up. Raises ValidationError.
        """
        if not _admitted.acquire(blocking=False):
            raise self._refusal(_BUSY_SECONDS, _("Many people are logging in just now. Try again in a few seconds."))
        try:
            address = client_address(request.META, settings.TRUSTED_PROXIES)
            if seconds := LoginAttempts.count(account=account, address=address):
                raise self._refusal(seconds, _("Too many failed logins. Try again in a few minutes."))
            with _checking:
                yield
        finally:
            _admitted.release()
        LoginAttempts.forget(account=account)

    def _refusal(self, seconds: int, sentence: str) -> ValidationError:
        self.retry_after = seconds
        return ValidationError(sentence, code="throttled")


class LoginForm(CountedForm, AuthenticationForm):
    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username")
        if name is None or not self.cleaned_data.get("password"):
            return super().clean()  # which tries nothing then
        assert self.request is not None  # noqa: S101
        with self.attempt(self.request, name):
            return super().clean()


class StaffLoginForm(LoginForm, AdminAuthenticationForm):
    """The admin's: its own sentences, and staff only."""


class OldPasswordForm(CountedForm, AdminPasswordChangeForm):
    """A new password for who knows the old one: a session left open must not be a place to guess it."""

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request = request

    @sensitive_variables()
    def clean_old_password(self) -> str:
        with self.attempt(self._request, self.user.get_username()):
            return super().clean_old_password()


class LoginPage(LoginView):
    """The learners' login, and the API documentation's."""

    authentication_form = LoginForm

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return with_refusal(super().post(request, *args, **kwargs))


class PasswordChangePage(PasswordChangeView):
    form_class = OldPasswordForm

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "request": self.request}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return with_refusal(super().post(request, *args, **kwargs))


def with_refusal(response: R) -> R:
    """The page of a form, with 429 and Retry-After where the form refused to look at the password."""
    form = (getattr(response, "context_data", None) or {}).get("form")
    if isinstance(form, CountedForm) and form.retry_after:
        response.status_code = 429
        response.headers["Retry-After"] = str(form.retry_after)
    return response
