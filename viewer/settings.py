"""The viewer's settings. Every environment variable is read here, once, and nowhere else.

A value that cannot be read stops the start with the variable's name and what it may be.
"""

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from kit.addresses import trusted_proxies
from kit.logs import CONSOLE

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()


def _text(name: str) -> str:
    value: str = env.str(name, default="")
    return value.strip()


def _flag(name: str, *, default: bool) -> bool:
    text = _text(name).lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    if text:
        raise ImproperlyConfigured(f"{name} is {text!r}. It may be true or false.")
    return default


def _hub_url() -> str:
    text = _text("HUB_URL") or "http://127.0.0.1:8000"
    may_be = "It may be the hub's address, such as https://hub.example.org or http://127.0.0.1:8000."
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ImproperlyConfigured(f"HUB_URL is {text!r}. {may_be}") from error
    extras = parts.username or parts.password or parts.query or parts.fragment
    if parts.scheme not in {"http", "https"} or not parts.hostname or extras or not port_is_fine:
        raise ImproperlyConfigured(f"HUB_URL is {text!r}. {may_be}")
    return text.rstrip("/")


def _hub_token() -> str:
    text = _text("HUB_TOKEN")
    if not all("!" <= character <= "~" for character in text):
        # The value itself is a secret, so the sentence does not repeat it.
        raise ImproperlyConfigured(
            "HUB_TOKEN cannot be sent. It may be one word of plain ASCII letters, digits and signs, "
            "as create_subscriber prints it on the hub."
        )
    return text


def _secret_key() -> str:
    """The key that signs sessions: made on the first start, readable by its owner only."""
    path = DATA_DIR / "viewer-secret-key"
    if not path.exists():
        DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
        try:
            # link, unlike rename, leaves the key of a process that was first.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def _sqlite(name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        "CONN_MAX_AGE": 60,
        "OPTIONS": {
            # Writers queue up at BEGIN. A transaction that begins as a reader and then wants to write
            # fails at once when another one wrote meanwhile, however long the busy timeout is.
            "transaction_mode": "IMMEDIATE",
            # A page of the feed is written in well under a second: whoever waits for longer is told so.
            "timeout": 5,
            # Readers go on reading while a page of the feed is written. `synchronous` stays FULL: a rating
            # that waits for the hub exists nowhere else, so it must survive a power cut.
            "init_command": "PRAGMA journal_mode=WAL",
        },
        # A file, because a database in memory has no WAL and would test something else.
        "TEST": {"NAME": str(DATA_DIR / "viewer-test.sqlite3")},
    }


def _database() -> dict[str, Any]:
    url = _text("VIEWER_DATABASE_URL")
    if not url:
        DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _sqlite(str(DATA_DIR / "viewer.sqlite3"))
    may_be = (
        "VIEWER_DATABASE_URL may be sqlite:////absolute/path.sqlite3 or "
        "postgres://USER:PASSWORD@HOST:PORT/NAME. Leave it unset for an SQLite file in DATA_DIR."
    )
    try:
        scheme = urlsplit(url).scheme
        config = dict(env.db_url_config(url))
    except ValueError as error:
        raise ImproperlyConfigured(may_be) from error
    if scheme == "sqlite" and config["NAME"] not in {"", ":memory:"}:
        return _sqlite(str(config["NAME"]))
    if scheme in {"postgres", "postgresql"} and config["NAME"]:
        return {**config, "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
    raise ImproperlyConfigured(may_be)


DATA_DIR = Path(_text("DATA_DIR") or BASE_DIR / "var").resolve()
DEBUG = _flag("DEBUG", default=False)
HTTPS = _flag("HTTPS", default=False)
ALLOWED_HOSTS = [
    host.strip() for host in (_text("ALLOWED_HOSTS") or "localhost,127.0.0.1,[::1]").split(",") if host.strip()
]

HUB_URL = _hub_url()
HUB_TOKEN = _hub_token()
# When set, every page asks for it. When empty, whoever reaches the port may study.
VIEWER_PASSWORD = _text("VIEWER_PASSWORD")
# Whose X-Forwarded-For is believed, where wrong passwords are counted by address.
TRUSTED_PROXIES = trusted_proxies(_text("TRUSTED_PROXIES"))

SECRET_KEY = _secret_key()
DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "viewer.apps.ViewerConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "viewer.storage.StorageMiddleware",
    "viewer.password.PasswordMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "kit.markdown.bounded_pages",
]

ROOT_URLCONF = "viewer.urls"
WSGI_APPLICATION = "viewer.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.messages.context_processors.messages",
                "viewer.password.password_is_set",
            ],
        },
    },
]

LANGUAGE_CODE = "en"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
# Static files are served from the package itself, so that no collecting step can be forgotten.
WHITENOISE_USE_FINDERS = True

# Scripts and styles come from files alone: nothing inline, nothing evaluated, nothing from elsewhere.
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    },
}

# The hub often stands on the same host, and browsers share cookies between ports: names of our own.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
SESSION_COOKIE_NAME = "viewer_session"
SESSION_COOKIE_AGE = 60 * 60 * 24 * 30
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_NAME = "viewer_csrf"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "viewer.views.form_expired"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if HTTPS:
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LOGGING = {
    **CONSOLE,
    "root": {"handlers": ["console"], "level": "WARNING"},
}
