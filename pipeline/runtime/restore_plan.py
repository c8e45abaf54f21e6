"""What a store needs to be read from changelogs, and how much of a worker's time that may take. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """From where each changelog must be read, by topic; those that need not be are left out.

    ``drop`` says why the store must be emptied first, None if it need not.
    """

    start: Mapping[str, int]
    drop: str | None = None


def restore_plan(
    have: Mapping[str, int],
    restoring: Mapping[str, int],
    starts: Mapping[str, int],
    changelogs: Mapping[str, tuple[int, int]],
) -> RestorePlan:
    """Return what a store needs. Pure.

    ``have`` are the store's positions, ``restoring`` up to where it may include sources because a restore was cut
    short, ``starts`` the committed offsets of the sources, ``changelogs`` the first offset and the high watermark of
    each changelog, all by topic.
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
    # Also where the sources say that nothing is missing: a changelog may have been written anew meanwhile
    # (`surgetank state rebuild`). Mostly there is a marker to read.
    return RestorePlan(
        {topic: start for topic, low in whole.items() if (start := have.get(topic, low)) < changelogs[topic][1]}
    )


def rest(spent: float, share: float, running: float) -> float:
    """Return for how many seconds to rest after so many of restoring, so that tasks that run get theirs. Pure.

    Where nearly all tasks run, restoring takes ``share`` of the time; the fewer do, the more, since more wait for it.
    """
    return spent * (1 / (1 - running * (1 - share)) - 1)
