"""The hub's settings for measuring ratings: no throttle, and a bare view beside the real one."""

from studyhub.settings import *  # noqa: F403

RATINGS_PER_MINUTE = 10**9
ROOT_URLCONF = "bench.urls"
