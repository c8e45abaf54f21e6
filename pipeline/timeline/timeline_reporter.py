"""What a worker tells to its pipeline's timeline, in its words."""

import hashlib
import importlib.metadata
import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.declaration import Pipeline
from pipeline.errors import SurgetankError
from pipeline.settings import KafkaSettings
from pipeline.timeline.events import EventKind, TimelineEvent, listed
from pipeline.timeline.reading import reading
from pipeline.timeline.writer import TimelineWriter

log = logging.getLogger(__name__)


class TimelineReporter:
    """The story of one worker, from its start to its end."""

    def __init__(self, timeline: TimelineWriter, kafka: KafkaSettings, pipeline: Pipeline) -> None:
        self._timeline = timeline
        self._kafka = kafka
        self._pipeline = pipeline

    def started(self, *, model: str, model_version: str, **details: Any) -> None:
        """Tell that the worker is about to join, and if it is of another model or code than the last one, that too."""
        code = code_version(self._pipeline)
        versions = {"model": model, "model_version": model_version, "code": code}
        self._timeline.tell(
            EventKind.WORKER_STARTED, f"started with model {model} {model_version}, code {code}", versions | details
        )
        threading.Thread(target=self._compare, args=(versions,), name="deploy", daemon=True).start()

    def stopped(self) -> None:
        """Tell that the worker has ended as it was asked to, and wait a little until that is written."""
        self._timeline.tell(EventKind.WORKER_STOPPED, "stopped as asked", {"exit_code": 0})
        self.close()

    def failed(self, exit_code: int, why: str) -> None:
        """Tell that the worker is about to end, and why."""
        self._timeline.tell(
            EventKind.WORKER_FAILED, f"ends with status {exit_code}: {why}", {"exit_code": exit_code, "why": why}
        )

    def rebalanced(self, change: str, partitions: Sequence[int]) -> None:
        """Tell what the group gave to the worker or took from it."""
        self._timeline.tell(
            EventKind.REBALANCE,
            f"{change} partitions {listed(partitions) or 'none'}",
            {"change": change, "partitions": sorted(partitions)},
        )

    def opened(self, partitions: Iterable[int]) -> None:
        """Tell which tasks run from now on."""
        opened = sorted(set(partitions))
        self._timeline.tell(EventKind.TASK_OPENED, f"tasks {listed(opened)} run", {"partitions": opened})

    def anomaly(self, signal: str, *, begins: bool, score: float, why: str) -> None:
        """Tell that something is unusual, or no more."""
        state = "begins" if begins else "ends"
        self._timeline.tell(
            EventKind.ANOMALY,
            f"{signal} {state}: {why}",
            {"signal": signal, "state": state, "score": round(score, 3), "why": why},
        )

    def close(self) -> None:
        """Wait a little until what was told is written."""
        self._timeline.close()

    def _compare(self, versions: dict[str, str]) -> None:
        try:
            with reading(self._kafka, self._pipeline, since_ms=0) as reader:
                last = last_deploy(reader.history())
        except SurgetankError as error:
            log.debug("what was deployed before is not known: %s", error)
            return
        if (what := deploy(last, versions)) is not None:
            self._timeline.tell(EventKind.DEPLOY, what, versions | {"before": last})


def last_deploy(events: Iterable[TimelineEvent]) -> dict[str, str] | None:
    """Return what the last deploy brought; None if there was none. Pure."""
    deploys = [event.details for event in events if event.kind == EventKind.DEPLOY]
    return {name: str(deploys[-1].get(name)) for name in ("model", "model_version", "code")} if deploys else None


def deploy(before: dict[str, str] | None, now: dict[str, str]) -> str | None:
    """Say what is deployed, if that is not what was deployed last. Pure."""
    if before is None:
        return f"model {now['model']} {now['model_version']}, code {now['code']}"
    changed = []
    if (before["model"], before["model_version"]) != (now["model"], now["model_version"]):
        was, is_ = (f"{each['model']} {each['model_version']}" for each in (before, now))
        changed.append(f"model {is_}, before it {was}")
    if before["code"] != now["code"]:
        changed.append(f"code {now['code']}, before it {before['code']}")
    return "; ".join(changed) or None


def code_version(pipeline: Pipeline) -> str:
    """Return the engine's version, and a hash of its code and of the pipeline's declaration."""
    digest = hashlib.sha256(repr(pipeline).encode())
    engine = Path(__file__).parents[1]
    for path in sorted(engine.rglob("*.py")):
        digest.update(path.relative_to(engine).as_posix().encode() + path.read_bytes())
    return f"{importlib.metadata.version('surgetank')}+{digest.hexdigest()[:8]}"
