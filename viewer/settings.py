"""The viewer's settings. Every environment variable is read here, once, and nowhere else.

A value that cannot be read stops the start with the variable's name and what it may be.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from kit import environment
from kit.addresses import trusted_proxies
from kit.logs import CONSOLE

BASE_DIR = Path(__file__).resolve().parent.parent


def _hub_url() -> str:
    text = environment.text("HUB_URL") or "http://127.0.0.1:8000"
    may_be = "It may be the hub's address, such as https://hub.example.org or http://127.0.0.1:8000."
    parts = environment.address(text, ("http", "https"))
    if parts is None or not parts.hostname or parts.username or parts.password or parts.query or parts.fragment:
        raise ImproperlyConfigured(f"HUB_URL is {text!r}. {may_be}")
    return text.rstrip("/")


def _hub_token() -> str:
    text = environment.text("HUB_TOKEN")
    if not all("!" <= character <= "~" for character in text):
        # The value itself is a secret, so the sentence does not repeat it.
        raise ImproperlyConfigured(
            "HUB_TOKEN cannot be sent. It may be one word of plain ASCII letters, digits and signs, "
            "as create_subscriber prints it on the hub."
        )
    return text


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
    url = environment.text("VIEWER_DATABASE_URL")
    if not url:
        return _sqlite(str(DATA_DIR / "viewer.sqlite3"))
    may_be = (
        "VIEWER_DATABASE_URL may be sqlite:////absolute/path.sqlite3 or "
        "postgres://USER:PASSWORD@HOST:PORT/NAME. Leave it unset for an SQLite file in DATA_DIR."
    )
    try:
        scheme = urlsplit(url).scheme
        config = environment.database(url)
    except ValueError as error:
        raise ImproperlyConfigured(may_be) from error
    if scheme == "sqlite" and config["NAME"] not in {"", ":memory:"}:
        return _sqlite(str(config["NAME"]))
    if scheme in {"postgres", "postgresql"} and config["NAME"]:
        return {**config, "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
    raise ImproperlyConfigured(may_be)


DATA_DIR = Path(environment.text("DATA_DIR") or BASE_DIR / "var").resolve()
DEBUG = environment.flag("DEBUG", default=False)
HTTPS = environment.flag("HTTPS", default=False)
ALLOWED_HOSTS = environment.texts("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")

HUB_URL = _hub_url()
HUB_TOKEN = _hub_token()
# When set, every page asks for it. When empty, whoever reaches the port may study.
VIEWER_PASSWORD = environment.text("VIEWER_PASSWORD")
# Whose X-Forwarded-For is believed, where wrong passwords are counted by address.
TRUSTED_PROXIES = trusted_proxies(environment.text("TRUSTED_PROXIES"))

DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
# It signs the sessions.
SECRET_KEY = environment.kept_secret_key(DATA_DIR / "viewer-secret-key")
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
