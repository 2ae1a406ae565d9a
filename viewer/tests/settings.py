"""The viewer's settings for its tests: a directory of their own, and nothing of the developer's environment."""

import atexit
import os
import shutil
import tempfile

for _name in (
    "HUB_URL",
    "HUB_TOKEN",
    "VIEWER_PASSWORD",
    "VIEWER_DATABASE_URL",
    "DEBUG",
    "HTTPS",
    "ALLOWED_HOSTS",
    "TRUSTED_PROXIES",
):
    os.environ.pop(_name, None)
for _name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(_name, None)
# Two runs in one checkout must not share a database file.
os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="viewer-tests-")
atexit.register(shutil.rmtree, os.environ["DATA_DIR"], ignore_errors=True)

from viewer.settings import *  # noqa: E402, F403

ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
