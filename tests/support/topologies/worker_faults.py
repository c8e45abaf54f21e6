"""Kills a worker at a chosen point, from within: what luck would hit once in a thousand runs.

The worker is ours, the code that dies is the product's: a test names the point and the call at which it dies.
"""

import os
import resource
import signal
from collections.abc import Callable
from typing import Any

from surgetank.kafka.topic_rewriter import TopicRewriter
from surgetank.runtime import worker_monitor
from surgetank.runtime.changelog_restorer import ChangelogRestorer
from surgetank.runtime.rebalance_listener import TaskRebalanceListener
from surgetank.state.state_manager import StateManager
from surgetank.state.store import Store

ENVIRONMENT = "TEST_FAULT"

NO_ROOM = "no room"
REFRESH = "refresh"
POINTS: dict[str, tuple[type, str]] = {
    "gaining": (TaskRebalanceListener, "assigned"),
    "giving up": (TaskRebalanceListener, "revoked"),
    "between commit and write": (StateManager, "commit"),
    "in the write": (Store, "write"),
    "in a restore": (ChangelogRestorer, "_apply"),
    "in a rewriting": (TopicRewriter, "put"),
}


def arm(fault: str) -> None:
    """Have this process killed by SIGKILL: ``<point>:<n>`` is before the n-th call of that point; empty: never.

    ``no room:<n>`` lets no file of it grow beyond n bytes instead, and ``refresh:<n>`` has it commit its standing
    offsets again every n seconds, not only each hour.
    """
    if fault:
        point, _, call = fault.partition(":")
        if point == NO_ROOM:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(call), int(call)))
            return
        if point == REFRESH:
            worker_monitor.REFRESH_SECONDS = float(call)
            return
        owner, name = POINTS[point]
        setattr(owner, name, _dying(getattr(owner, name), int(call)))


def _dying(method: Callable[..., Any], call: int) -> Callable[..., Any]:
    calls = 0

    def dying(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*args, **more)

    return dying
