"""The hub's settings. Every environment variable is read here, once, and nowhere else.

A value that cannot be read stops the start with the variable's name and what it may be.
"""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from kit import environment
from kit.addresses import trusted_proxies
from kit.logs import CONSOLE
from studyhub.database_sessions import with_parameters

BASE_DIR = Path(__file__).resolve().parent.parent


def _ladder(name: str, default: str) -> tuple[int, ...]:
    text = environment.text(name, default)
    try:
        days = tuple(int(part) for part in text.split(","))
    except ValueError:
        days = ()
    rising = all(earlier < later for earlier, later in pairwise(days))
    if not days or not rising or days[0] < 1 or days[-1] > 36_500:
        raise ImproperlyConfigured(
            f"{name} is {text!r}. It may be whole days from 1 to 36500 in rising order, separated by commas, such as "
            f"{default}."
        )
    return days


def _llm_base_url() -> str:
    """The value is not repeated: somebody may have written a password into it."""
    text = environment.text("LLM_BASE_URL")
    parts = environment.address(text, ("http", "https"))
    sound = (
        parts is not None and parts.hostname and text.isprintable() and " " not in text and not set("@?#") & set(text)
    )
    if text and not sound:
        raise ImproperlyConfigured(
            "LLM_BASE_URL may be the http or https address of an OpenAI-compatible endpoint, such as "
            "http://localhost:11434/v1, with neither password nor query. A key belongs into LLM_API_KEY."
        )
    return text


def _llm_model() -> str:
    text = environment.text("LLM_MODEL")
    if len(text) > 200 or not text.isprintable():
        raise ImproperlyConfigured("LLM_MODEL may be a model's name of at most 200 characters.")
    if LLM_BASE_URL and not text:
        raise ImproperlyConfigured("LLM_BASE_URL is set, but LLM_MODEL is not. Set it to the name of a model there.")
    return text


def _llm_api_key() -> str:
    """The value is not repeated: it is a secret."""
    text = environment.text("LLM_API_KEY")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ImproperlyConfigured("LLM_API_KEY may be letters, digits and signs of ASCII, without blanks.")
    return text


def _database() -> dict[str, Any]:
    """The server that DATABASE_URL names, or PostgreSQL from the wheel with its data below DATA_DIR."""
    return with_parameters(
        _server(),
        # A command that is stopped with Ctrl-Z, or a process whose host is lost, must not keep its locks.
        {"idle_in_transaction_session_timeout": IDLE_TRANSACTION_TIMEOUT_SECONDS * 1000},
    )


def _server() -> dict[str, Any]:
    url = environment.text("DATABASE_URL")
    common: dict[str, Any] = {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True, "ATOMIC_REQUESTS": False}
    options = {"application_name": _application_name()}
    if not url:
        return {
            "ENGINE": "studyhub.embedded_postgres",
            "NAME": "studyhub",
            "EMBEDDED": {"DIRECTORY": DATA_DIR / "postgres", "PARAMETERS": {"jit": "off"}},
            "OPTIONS": options,
            **common,
        }
    parts = environment.address(url, ("postgres", "postgresql"))
    if parts is None or not parts.path.strip("/"):
        # Without the value: it may hold a password.
        raise ImproperlyConfigured(
            "DATABASE_URL may be postgres://USER:PASSWORD@HOST:PORT/NAME. Leave it unset to use the PostgreSQL "
            "that comes with StudyHub."
        )
    named_database = environment.database(url)
    # An address where nobody answers, or a line that has died: the system's own patience is of many minutes.
    patience = {"connect_timeout": 5, "tcp_user_timeout": 20_000, "keepalives_idle": 15, "keepalives_interval": 5}
    return {**named_database, **common, "OPTIONS": options | patience | named_database.get("OPTIONS", {})}


def _application_name() -> str:
    """By which PostgreSQL's list of sessions tells our processes apart, such as `manage.py run_relay`."""
    program, *arguments = sys.argv or [""]
    path = Path(program)
    name = path.parent.name if path.stem == "__main__" else path.name
    return " ".join([name, *(word for word in arguments[:1] if not word.startswith("-"))])


DATA_DIR = Path(environment.text("DATA_DIR") or BASE_DIR / "var").resolve()
DEBUG = environment.flag("DEBUG", default=False)
HTTPS = environment.flag("HTTPS", default=False)
SECRET_KEY = environment.text("SECRET_KEY") or environment.kept_secret_key(DATA_DIR / "secret-key")
ALLOWED_HOSTS = environment.texts("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")

# Whose X-Forwarded-For is believed, where something is counted by address: logins, waits, bodies on their way.
TRUSTED_PROXIES = trusted_proxies(environment.text("TRUSTED_PROXIES"))

# What one request may take of the database, and how long any process may keep a transaction open without a word.
LOCK_TIMEOUT_SECONDS = environment.whole_number("LOCK_TIMEOUT_SECONDS", default=2, lowest=1, highest=60)
STATEMENT_TIMEOUT_SECONDS = environment.whole_number("STATEMENT_TIMEOUT_SECONDS", default=15, lowest=1, highest=3600)
IDLE_TRANSACTION_TIMEOUT_SECONDS = environment.whole_number(
    "IDLE_TRANSACTION_TIMEOUT_SECONDS", default=60, lowest=1, highest=86_400
)

# Where `make run` serves the hub and the viewer.
PORT = environment.whole_number("PORT", default=8000, lowest=1, highest=65_535)
VIEWER_PORT = environment.whole_number("VIEWER_PORT", default=8001, lowest=1, highest=65_535)

PUBLISH_ENABLED = environment.flag("PUBLISH_ENABLED", default=True)
STUDY_TIME_ZONE = environment.time_zone("STUDY_TIME_ZONE", "UTC")
DAY_ROLLOVER_HOUR = environment.whole_number("DAY_ROLLOVER_HOUR", default=4, lowest=0, highest=23)
LADDER_DAYS = _ladder("LADDER_DAYS", "1,3,7,14,30")

# Who writes explanations. Without an endpoint people do, and nothing is deferred.
LLM_BASE_URL = _llm_base_url()
LLM_MODEL = _llm_model()
LLM_API_KEY = _llm_api_key()
LLM_TIMEOUT_SECONDS: float = environment.whole_number("LLM_TIMEOUT_SECONDS", default=120, lowest=1, highest=3600)

# For one learner's token or session. A hand is slower; a program sends batches.
RATINGS_PER_MINUTE = 600
RATING_BATCHES_PER_MINUTE = 60

# How many long polls, event streams and large pages of the feed may be open. The Procfile lets granian accept some
# thousand connections more than these.
WAITS_PER_SUBSCRIBER = environment.whole_number("WAITS_PER_SUBSCRIBER", default=256, lowest=1, highest=6144)
WAITS_PER_ADDRESS = environment.whole_number("WAITS_PER_ADDRESS", default=2048, lowest=1, highest=6144)
WAITS_IN_ALL = 6144
# How many bodies of requests may be on their way from one address.
BODIES_PER_ADDRESS = 64
# The largest body of somebody who is logged in or has a token; a few kilobytes are enough for anybody else.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440
# Where staff may send more: a file to import, and the form around it.
UPLOAD_PATHS = r"/admin/memocards/(memocard|question)/import/"
UPLOAD_BYTES = 65 * 1024 * 1024
UPLOADS_AT_ONCE = 4

INSTALLED_APPS = [
    # Before the others: its templates go over theirs.
    "studyhub.apps.StudyHubConfig",
    "studyhub.apps.StudyHubAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "ninja",
    # Jobs: its tables, and its app, which finds memocards/tasks.py by its name.
    "procrastinate.contrib.django",
    "publish.apps.PublishConfig",
    "memocards.apps.MemocardsConfig",
]

# What an answer must have comes first: it is put on every answer, also on refusals of what stands below.
MIDDLEWARE = [
    "csp.middleware.CSPMiddleware",
    # Outside of what may fail, so that error pages carry its header too.
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "studyhub.front.guards.Security",
    "studyhub.error_pages.problems_below_api",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "studyhub.lock_patience.few_wait_for_locks",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "studyhub.front.refusals.answer_refusals",
    "studyhub.front.queries.refuse_nul",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "studyhub.time_zone.ReaderTimeZone",
    "django.contrib.messages.middleware.MessageMiddleware",
    "kit.markdown.bounded_pages",
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
LOCALE_PATHS = [BASE_DIR / "locale"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "api:openapi-view"
USE_I18N = True
FORMAT_MODULE_PATH = "studyhub.formats"
USE_TZ = True
# What is kept, and what the API says. Pages are in their reader's zone: see studyhub/time_zone.py.
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

SESSION_ENGINE = "studyhub.sessions"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
# Scripts take the token from the page that they belong to.
CSRF_COOKIE_HTTPONLY = True
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
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        # Several lines a job, and a few every minute.
        "procrastinate": {"level": "WARNING"},
        # A line a request to the endpoint that writes explanations.
        "httpx": {"level": "WARNING"},
    },
}
