"""The hub's settings. Every environment variable is read here, once, and nowhere else.

A value that cannot be read stops the start with the variable's name and what it may be.
"""

import os
import secrets
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()


def _flag(name: str, *, default: bool) -> bool:
    text = os.environ.get(name, "").strip().lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    if text:
        raise ImproperlyConfigured(f"{name} is {text!r}. It may be true or false.")
    return default


def _ladder(name: str, default: str) -> tuple[int, ...]:
    text = os.environ.get(name, "").strip() or default
    try:
        days = tuple(int(part) for part in text.split(","))
    except ValueError:
        days = ()
    if not days or days[0] < 1 or any(later <= earlier for earlier, later in pairwise(days)):
        raise ImproperlyConfigured(
            f"{name} is {text!r}. It may be whole days in rising order, separated by commas, such as {default}."
        )
    return days


def _time_zone(name: str, default: str) -> str:
    text = os.environ.get(name, "").strip() or default
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ImproperlyConfigured(
            f"{name} is {text!r}. It may be a name of the time zone database, such as Asia/Seoul."
        ) from error
    return text


def _whole_number(name: str, *, default: int, lowest: int, highest: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
        raise ImproperlyConfigured(f"{name} is {text!r}. It may be a whole number from {lowest} to {highest}.")
    return int(text)


def _secret_key() -> str:
    """SECRET_KEY from the environment, or one made on the first start and kept readable by its owner only."""
    if given := os.environ.get("SECRET_KEY", "").strip():
        return given
    path = DATA_DIR / "secret-key"
    if not path.exists():
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"secret-key.{os.getpid()}")
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


def _database() -> dict[str, Any]:
    """The server that DATABASE_URL names, or PostgreSQL from the wheel with its data below DATA_DIR."""
    url = os.environ.get("DATABASE_URL", "").strip()
    common: dict[str, Any] = {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True, "ATOMIC_REQUESTS": False}
    if not url:
        return {
            "ENGINE": "studyhub.embedded_postgres",
            "NAME": "studyhub",
            "EMBEDDED": {"DIRECTORY": DATA_DIR / "postgres", "PARAMETERS": {"jit": "off"}},
            **common,
        }
    if urlsplit(url).scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(
            "DATABASE_URL may be postgres://USER:PASSWORD@HOST:PORT/NAME. Leave it unset to use the PostgreSQL "
            "that comes with StudyHub."
        )
    return {**env.db_url_config(url), **common}


DATA_DIR = Path(os.environ.get("DATA_DIR", "").strip() or BASE_DIR / "var").resolve()
DEBUG = _flag("DEBUG", default=False)
HTTPS = _flag("HTTPS", default=False)
SECRET_KEY = _secret_key()
ALLOWED_HOSTS = [
    host.strip()
    for host in (os.environ.get("ALLOWED_HOSTS", "").strip() or "localhost,127.0.0.1,[::1]").split(",")
    if host.strip()
]

# Where `make run` serves the hub and the viewer.
PORT = _whole_number("PORT", default=8000, lowest=1, highest=65_535)
VIEWER_PORT = _whole_number("VIEWER_PORT", default=8001, lowest=1, highest=65_535)

PUBLISH_ENABLED = _flag("PUBLISH_ENABLED", default=True)
STUDY_TIME_ZONE = _time_zone("STUDY_TIME_ZONE", "UTC")
DAY_ROLLOVER_HOUR = _whole_number("DAY_ROLLOVER_HOUR", default=4, lowest=0, highest=23)
LADDER_DAYS = _ladder("LADDER_DAYS", "1,3,7,14,30")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "ninja",
    "studyhub.apps.StudyHubConfig",
    "publish.apps.PublishConfig",
    "memocards.apps.MemocardsConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "studyhub.urls"
WSGI_APPLICATION = "studyhub.wsgi.application"
ASGI_APPLICATION = "studyhub.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ko", "한국어")]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
# Static files are served from the apps themselves, so that no collecting step can be forgotten.
WHITENOISE_USE_FINDERS = True

# Scripts and styles come from files alone: nothing inline, nothing evaluated, nothing from elsewhere.
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    },
}

SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True
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
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "stream": sys.stderr}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {"django": {"handlers": [], "level": "INFO", "propagate": True}},
}
