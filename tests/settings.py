"""The hub's settings for its tests: a PostgreSQL of their own, which may forget everything in a crash."""

import os
from pathlib import Path

# What a developer has set is not what is tested; a process that a test starts may have its own.
if "STUDYHUB_TEST_DATABASE" not in os.environ:
    for _name in (
        *("LLM_BASE_URL", "LLM_MODEL", "LLM_API_KEY", "PUBLISH_ENABLED", "LADDER_DAYS", "STUDY_TIME_ZONE"),
        *("TRUSTED_PROXIES", "IDLE_TRANSACTION_TIMEOUT_SECONDS"),
    ):
        os.environ.pop(_name, None)

from studyhub.settings import *  # noqa: F403
from studyhub.settings import DATA_DIR, DATABASES

if "EMBEDDED" in DATABASES["default"]:
    DATABASES["default"]["EMBEDDED"] = {
        # The same, where a process that a test starts has a DATA_DIR of its own.
        "DIRECTORY": Path(os.environ.get("STUDYHUB_TEST_POSTGRES", DATA_DIR / "postgres-for-tests")),
        "PARAMETERS": {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "jit": "off"},
    }
# A process that a test starts works in that test's database.
if _database := os.environ.get("STUDYHUB_TEST_DATABASE"):
    DATABASES["default"]["NAME"] = _database
else:
    # A test that imports the application of the web must not bound the waits of all that follow.
    LOCK_TIMEOUT_SECONDS = STATEMENT_TIMEOUT_SECONDS = 0
    # Each client of a test would look through all static files first: they are looked up when asked for.
    WHITENOISE_AUTOREFRESH = True

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
