"""VIEWER_PASSWORD: one password for the whole viewer, remembered in a signed session until the viewer is locked."""

import secrets
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from kit.addresses import client_address
from viewer.models import Lock, UnlockAttempts

SESSION_KEY = "password"
# There is one account, whoever it is that tries.
ACCOUNT = "viewer"


def password_is_set(request: HttpRequest) -> dict[str, bool]:
    """For the templates: whether there is anything to lock again."""
    return {"password_is_set": bool(settings.VIEWER_PASSWORD)}


def _proof() -> str:
    """What an unlocked session holds: with another password, or once the viewer was locked, it opens nothing."""
    lock, _made = Lock.objects.get_or_create(pk=1, defaults={"secret": secrets.token_urlsafe()})
    return salted_hmac("viewer.password", settings.VIEWER_PASSWORD, secret=lock.secret, algorithm="sha256").hexdigest()


def _is_unlocked(request: HttpRequest) -> bool:
    held = str(request.session.get(SESSION_KEY, ""))
    return bool(held) and constant_time_compare(held, _proof())


class PasswordMiddleware:
    """Every page asks for the password, where one is set. Static files are served before this is asked."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        login = reverse("login")
        if not settings.VIEWER_PASSWORD or request.path == login or _is_unlocked(request):
            return self.get_response(request)
        # A form that was sent to a locked viewer is not repeated after the login: back to its start instead.
        target = request.get_full_path() if request.method in {"GET", "HEAD"} else reverse("home")
        return redirect(f"{login}?{urlencode({'next': target})}")


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def login(request: HttpRequest) -> HttpResponse:
    asked_for = request.POST.get("next") or request.GET.get("next") or ""
    target = asked_for if url_has_allowed_host_and_scheme(asked_for, allowed_hosts=None) else reverse("home")
    if not settings.VIEWER_PASSWORD or _is_unlocked(request):
        return redirect(target)
    problem, wait = "", 0
    if request.method == "POST":
        address = client_address(request.META, settings.TRUSTED_PROXIES)
        if wait := UnlockAttempts.count(account=ACCOUNT, address=address):
            problem = "Too many wrong passwords. Try again in a few minutes."
        elif constant_time_compare(request.POST.get("password", "").strip(), settings.VIEWER_PASSWORD):
            UnlockAttempts.forget(account=ACCOUNT)
            request.session[SESSION_KEY] = _proof()
            return redirect(target)
        else:
            problem = "That is not the password. It is the value of VIEWER_PASSWORD."
    page = render(request, "viewer/login.html", {"next": target, "problem": problem})
    if wait:
        page.status_code, page.headers["Retry-After"] = 429, str(wait)
    elif problem:
        page.status_code = 403
    return page


@require_POST
def lock(request: HttpRequest) -> HttpResponse:
    """Lock the viewer, in every browser in which it is open."""
    Lock.objects.filter(pk=1).delete()
    request.session.flush()
    return redirect("login")
