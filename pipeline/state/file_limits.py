"""How many files a worker may have open: each store takes about ten, and a usual limit is 1,024."""

import logging
import resource

log = logging.getLogger(__name__)

WANTED = 65_536


def raise_limit() -> None:
    """Let this process open as many files as it wants, as far as the system allows that without being asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("at most %d files may be open; a worker with very many tasks needs more: %s", soft, error)
