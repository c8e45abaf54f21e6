"""Reports the events of one worker to the timeline of its pipeline."""

import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from surgetank.declaration import Pipeline
from surgetank.errors import SurgetankError
from surgetank.records import TopicPartition
from surgetank.serving_plan import ServingPlan
from surgetank.settings import KafkaSettings
from surgetank.timeline.events import EventKind, TimelineEvent, format_ranges
from surgetank.timeline.reader import open_timeline
from surgetank.timeline.writer import TimelineWriter
from surgetank.version import engine_version

log = logging.getLogger(__name__)


class TimelineReporter:
    """Writes the events of one worker from start to end. Each call but ``stopped`` and ``close`` returns at once."""

    def __init__(self, timeline: TimelineWriter, kafka: KafkaSettings, pipeline: Pipeline) -> None:
        self._timeline = timeline
        self._kafka = kafka
        self._pipeline = pipeline

    def started(self, *, model: str, model_version: str, **details: Any) -> None:
        """Report the start of the worker, and a deploy if its model or code differs from the last deploy."""
        code = code_version(self._pipeline)
        versions = {"model": model, "model_version": model_version, "code": code}
        self._timeline.write(
            EventKind.WORKER_STARTED, f"started with model {model} {model_version}, code {code}", versions | details
        )
        threading.Thread(target=self._compare, args=(versions,), name="deploy", daemon=True).start()

    def stopped(self) -> None:
        """Report a requested stop, and wait a few seconds until it is written."""
        self._timeline.write(EventKind.WORKER_STOPPED, "stopped as asked", {"exit_code": 0})
        self.close()

    def failed(self, exit_code: int, reason: str) -> None:
        """Report that the worker ends with an error."""
        self._timeline.write(
            EventKind.WORKER_FAILED, f"ends with status {exit_code}: {reason}", {"exit_code": exit_code, "why": reason}
        )

    def rebalanced(self, change: str, partitions: Sequence[int]) -> None:
        """Report partitions that were gained, given up or lost."""
        self._timeline.write(
            EventKind.REBALANCE,
            f"{change} partitions {format_ranges(partitions) or 'none'}",
            {"change": change, "partitions": sorted(partitions)},
        )

    def opened(self, partitions: Iterable[int]) -> None:
        """Report the tasks that are running from now on."""
        tasks = sorted(set(partitions))
        self._timeline.write(EventKind.TASK_OPENED, f"tasks {format_ranges(tasks)} run", {"partitions": tasks})

    def expired(self, source: TopicPartition, records: int) -> None:
        """Report records that retention deleted before they were read."""
        self._timeline.write(
            EventKind.EVENTS_EXPIRED,
            f"retention deleted {records} records of {source} before they were read",
            {"topic": source.topic, "partition": source.partition, "records": records},
        )

    def anomaly(self, signal: str, *, begins: bool, score: float, why: str) -> None:
        """Report the start or the end of an anomaly."""
        state = "begins" if begins else "ends"
        self._timeline.write(
            EventKind.ANOMALY,
            f"{signal} {state}: {why}",
            {"signal": signal, "state": state, "score": round(score, 3), "why": why},
        )

    def model_switched(self, model: str, plan: ServingPlan, seconds: float) -> None:
        """Report the versions that the worker serves from the next batch on, ``seconds`` after they were requested."""
        self._timeline.write(
            EventKind.MODEL_SWITCHED,
            f"serves {model} {describe_plan(plan)}",
            {"model": model, "seconds": round(seconds, 3), **versions_of(plan)},
        )

    def model_refused(self, model: str, plan: ServingPlan, version: str, why: str) -> None:
        """Report that a plan of versions does not come into force; the one before it goes on."""
        what = f"does not serve {model} {describe_plan(plan)}: "
        what += f"version {version} does not load: {why}" if version else why
        details = {"model": model, "failed_version": version, "why": why, **versions_of(plan)}
        self._timeline.write(EventKind.MODEL_REFUSED, what, details)

    def close(self) -> None:
        """Wait a few seconds until all events are written."""
        self._timeline.close()

    def _compare(self, versions: dict[str, str]) -> None:
        try:
            with open_timeline(self._kafka, self._pipeline, since_ms=0) as reader:
                last = last_deploy(reader.history())
        except SurgetankError as error:
            log.debug("the last deploy is unknown: %s", error)
            return
        if (what := describe_deploy(last, versions)) is not None:
            self._timeline.write(EventKind.DEPLOY, what, versions | {"before": last})


def describe_plan(plan: ServingPlan) -> str:
    """Describe who answers by a plan: 2, canary 3 (5 % of the keys), shadow 4. Pure."""
    canary, shadow = plan.canary, plan.shadow
    parts = [plan.primary]
    parts += [] if canary is None else [f"canary {canary.version} ({canary.share * 100:g} % of the keys)"]
    parts += [] if shadow is None else [f"shadow {shadow}"]
    return ", ".join(parts)


def versions_of(plan: ServingPlan) -> dict[str, Any]:
    """Return the versions of a plan as JSON values, without the lists of keys. Pure."""
    canary = plan.canary
    return {
        "model_version": plan.primary,
        "canary": None if canary is None else {"version": canary.version, "share": canary.share},
        "shadow": plan.shadow,
        "loaded": sorted(plan.loaded),
    }


def last_deploy(events: Iterable[TimelineEvent]) -> dict[str, str] | None:
    """Return model, model_version and code of the last deploy; None if there was none. Pure."""
    deploys = [event.details for event in events if event.kind == EventKind.DEPLOY]
    return {name: str(deploys[-1].get(name)) for name in ("model", "model_version", "code")} if deploys else None


def describe_deploy(before: dict[str, str] | None, now: dict[str, str]) -> str | None:
    """Describe the changes since the last deploy; None if there are none. Pure."""
    if before is None:
        return f"model {now['model']} {now['model_version']}, code {now['code']}"
    changed = []
    if (before["model"], before["model_version"]) != (now["model"], now["model_version"]):
        was, now_is = (f"{each['model']} {each['model_version']}" for each in (before, now))
        changed.append(f"model {now_is}, previously {was}")
    if before["code"] != now["code"]:
        changed.append(f"code {now['code']}, previously {before['code']}")
    return "; ".join(changed) or None


def code_version(pipeline: Pipeline) -> str:
    """Return the package version with a hash of its code and of the pipeline's declaration."""
    declared = asdict(pipeline) | {"features": pipeline.spec.declaration()}
    digest = hashlib.sha256(json.dumps(declared, sort_keys=True).encode())
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return f"{engine_version()}+{digest.hexdigest()[:8]}"
