"""Room for connections: a process may have more files open than it does at first."""

import logging
import resource

logger = logging.getLogger(__name__)

# What the Procfile lets granian accept, and the hub's own files.
WANTED = 8192 + 512


def raise_descriptor_limit() -> None:
    """Raise this process's limit as far as is wanted and allowed; say so where it is not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < WANTED:
        logger.warning(
            "Only %s files may be open in this process, and each connection is one. Raise the limit to %s "
            "(ulimit -Hn, LimitNOFILE=) where thousands of consumers wait.",
            allowed,
            WANTED,
        )
