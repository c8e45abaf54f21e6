"""The limit of open files of a worker: each store opens about ten, and the usual limit is 1,024.

A Kafka client without a free file descriptor reports only that brokers do not answer in time.
"""

import logging
import resource

from surgetank.errors import SettingsError

log = logging.getLogger(__name__)

WANTED = 65_536
NEEDED = 256  # of a worker without tables: its connections to a cluster of three brokers, and a margin


def raise_limit() -> None:
    """Raise the soft limit of open files of this process as far as the hard limit allows.

    Raises SettingsError if that is less than a worker needs.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < NEEDED:
        raise SettingsError(
            f"a process may open {hard} files here (ulimit -n, LimitNOFILE of systemd): a worker needs at least "
            f"{NEEDED}, and about ten for each task with tables"
        )
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("the limit of open files stays at %d; a worker with very many tasks needs more: %s", soft, error)
