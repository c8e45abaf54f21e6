"""Decides which changelogs a store must read, and how much of a worker's time a restore may take. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """The start offset of each changelog to read, by topic; omits changelogs that need not be read.

    ``drop`` is the reason to empty the store first, None if it can be kept.
    """

    start: Mapping[str, int]
    drop: str | None = None


def restore_plan(
    have: Mapping[str, int],
    restoring: Mapping[str, int],
    starts: Mapping[str, int],
    changelogs: Mapping[str, tuple[int, int]],
) -> RestorePlan:
    """Return the restore plan of a store. Pure.

    ``have`` are the store's positions, ``restoring`` the source offsets up to which an interrupted restore may have
    included records, ``starts`` the committed offsets of the sources, ``changelogs`` the first offset and the high
    watermark of each changelog, all by topic.
    """
    whole = {topic: low for topic, (low, high) in changelogs.items() if low < high}
    for topic, (low, high) in changelogs.items():
        at = have.get(topic)
        if at is not None and at > high:
            return RestorePlan(whole, f"it includes {topic} up to {at}, which ends at {high}: it is of another one")
        if at is not None and at < low:
            return RestorePlan(whole, f"it includes {topic} up to {at}, which now begins at {low}: it is too old")
    for topic, offset in starts.items():
        at = max(have.get(topic, 0), restoring.get(topic, 0))
        if at > offset:
            return RestorePlan(whole, f"it includes {topic} up to {at}, but only {offset} is committed")
    # Read the changelog even if the store includes all committed source offsets: it may have been rewritten meanwhile
    # (`surgetank state rebuild`). Usually only a marker is left to read.
    return RestorePlan(
        {topic: start for topic, low in whole.items() if (start := have.get(topic, low)) < changelogs[topic][1]}
    )


def rest(spent: float, share: float, running: float) -> float:
    """Return how many seconds to pause after ``spent`` seconds of restoring, to leave time to running tasks. Pure.

    ``running`` is the running part of the owned tasks (0 to 1). If all run, restoring takes ``share`` of the time; the
    fewer tasks run, the larger the part, up to all of it.
    """
    return spent * (1 / (1 - running * (1 - share)) - 1)
