"""The limit of open files of a worker: each store opens about ten, and the usual limit is 1,024."""

import logging
import resource

log = logging.getLogger(__name__)

WANTED = 65_536


def raise_limit() -> None:
    """Raise the soft limit of open files of this process as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("the limit of open files stays at %d; a worker with very many tasks needs more: %s", soft, error)
