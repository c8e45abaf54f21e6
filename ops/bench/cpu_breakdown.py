"""Computes the CPU of each part of a batch, in microseconds per event, from the output of ``cpu_parts``. Pure."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

PARTS = ("pull", "decode", "features", "infer", "encode", "produce", "commit", "rest", "client threads")
FROM, TO = 0.10, 0.95  # of the events of a run: neither the start nor the end of the backlog


def window(lines: Iterable[str], events: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the first sample after 10 % and the last one before 95 % of ``events``, before the process ends.

    Raises ValueError if there are no two such samples with events between them.
    """
    looks: list[dict[str, Any]] = [json.loads(line) for line in lines if line.endswith("\n")]
    first = next((look for look in looks if look["events"] >= FROM * events), None)
    last = next((look for look in reversed(looks) if look["events"] <= TO * events), None)
    if first is None or last is None or last["events"] <= first["events"]:
        raise ValueError(f"{events:,} events are too few to measure the CPU of their parts")
    return first, last


def breakdown(first: Mapping[str, Any], last: Mapping[str, Any], homes: Mapping[str, str]) -> dict[str, float]:
    """Return CPU microseconds per event by part, and their ``total``.

    ``homes`` maps thread names to the part that gets the thread's time outside of measured parts; for the other Python
    threads it is ``rest``. Threads unknown to Python are the clients'.
    """
    events = last["events"] - first["events"]
    spent = dict.fromkeys(PARTS, 0.0)
    known = 0.0
    for thread, cpu in last["threads"].items():
        used = cpu - first["threads"].get(thread, 0.0)
        known += used
        before = first["parts"].get(thread, {})
        measured = {part: sum_ - before.get(part, 0.0) for part, sum_ in last["parts"].get(thread, {}).items()}
        for part, seconds in measured.items():
            spent[part] += seconds
        # The clock of a whole thread has a lower resolution than that of its parts.
        spent[homes.get(thread, "rest")] += max(0.0, used - sum(measured.values()))
    total = last["process"] - first["process"]
    spent["client threads"] = max(0.0, total - known)
    return {part: round(seconds / events * 1e6, 3) for part, seconds in (spent | {"total": total}).items()}
