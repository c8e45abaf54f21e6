"""Builds what answers in a worker: the versions of its model in memory, the scorer, and the shadow."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from surgetank.batch_sizing import BatchSizer
from surgetank.clock import Clock
from surgetank.declaration import Pipeline
from surgetank.errors import SettingsError
from surgetank.kafka.optional_columns import OptionalColumns
from surgetank.processing.shadow_admission import Skipped
from surgetank.processing.shadow_scoring import ShadowScoring
from surgetank.records import ModelVersion
from surgetank.runtime.worker_runtime import WorkerRuntime
from surgetank.scored_rows import ScoreKind
from surgetank.serving.loaded_models import LOAD_SECONDS, LoadedModels
from surgetank.serving.model import Model
from surgetank.serving.router import PlanRouter, ServedModels
from surgetank.serving.scorer import Scorer
from surgetank.serving_plan import ServingPlan
from surgetank.settings import Settings
from surgetank.state.predictions import encode_version
from surgetank.telemetry.health import Health
from surgetank.telemetry.metrics import Metrics
from surgetank.timeline.timeline_reporter import TimelineReporter, describe_plan
from surgetank.worker.batch_parts import batch_sizer, cached
from surgetank.worker.model_parts import model_of
from surgetank.worker.processing_parts import find_model
from surgetank.worker.wire_parts import WireParts

log = logging.getLogger(__name__)


class ServingReporter:
    """A ``ServingListener``: tells metrics, log, timeline, shadow, and the metadata of offsets what is served."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._loaded: dict[str, tuple[str, str]] = {}
        self._health: Health | None = None
        self._shadow: ShadowScoring | None = None
        self._timeline: TimelineReporter | None = None
        self._claim: Callable[[ModelVersion], None] | None = None
        self._primary: ModelVersion | None = None

    def connect(
        self,
        shadow: ShadowScoring,
        timeline: TimelineReporter,
        claim: Callable[[ModelVersion], None],
        health: Health,
    ) -> None:
        """Report later changes to these too. ``claim`` names the primary in the metadata of offsets."""
        self._shadow, self._timeline, self._claim, self._health = shadow, timeline, claim, health

    def loaded(self, version: str, engine: str, digest: str) -> None:
        """Take the engine and the digest of a version; metrics show them while it is served."""
        self._loaded[version] = (engine, digest)

    def show(self, models: ServedModels) -> None:
        """Set the metrics of the versions that are served, and remove those of others."""
        roles = (("primary", models.primary), ("canary", models.canary), ("shadow", models.shadow))
        self._metrics.model_info.replace(
            {(model.name, model.version, role): 1.0 for role, model in roles if model is not None}
        )
        served = {model for _, model in roles if model is not None}
        known = [
            (each.name, each.version, *self._loaded[each.version]) for each in served if each.version in self._loaded
        ]
        self._metrics.model_engine_info.replace({(name, version, engine): 1.0 for name, version, engine, _ in known})
        self._metrics.model_bundle_info.replace({(name, version, digest): 1.0 for name, version, _, digest in known})
        self._primary = version_of(models.primary)

    def served(self, models: ServedModels, seconds: float) -> None:
        """Report a plan that came into force."""
        before = self._primary
        self.show(models)
        self._metrics.model_switch_seconds.set(seconds)
        self._metrics.model_plans.add(1, outcome="served")
        primary = version_of(models.primary)
        log.info("model %s: serves %s, %.3f s after the request", primary.name, describe_plan(models.plan), seconds)
        if self._health is not None:
            self._health.warn("model", "")
        if self._shadow is not None:
            self._shadow.serve(models.shadow)
        if self._claim is not None and primary != before:
            self._claim(primary)
        if self._timeline is not None:
            self._timeline.model_switched(primary.name, models.plan, seconds)

    def refused(self, plan: ServingPlan, version: str, why: str) -> None:
        """Report a plan that does not come into force."""
        self._metrics.model_plans.add(1, outcome="refused")
        name = "" if self._primary is None else self._primary.name
        cause = f"version {version} does not load: {why}" if version else why
        log.error("model %s: does not serve %s: %s; what was served goes on", name, describe_plan(plan), cause)
        if self._health is not None:
            self._health.warn("model", f"it does not serve {describe_plan(plan)}: {cause}; it tries again")
        if self._timeline is not None:
            self._timeline.model_refused(name, plan, version, why)


class ServingParts:
    """What answers in a worker. ``models`` takes plans, ``sizer`` decides the size of a batch."""

    def __init__(
        self,
        settings: Settings,
        models: LoadedModels,
        reporter: ServingReporter,
        sizer: BatchSizer,
        *,
        kind: ScoreKind,
        identity: str,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.models = models
        self.sizer = sizer
        self.scorer = Scorer(PlanRouter(models.current), clock, kind)
        self._kind = kind
        self._settings = settings
        self._reporter = reporter
        self._clock = clock
        self._metrics = metrics
        lost = partial(metrics.shadow_rows_skipped.add, reason=Skipped.NOT_WRITTEN)
        self._shadow_records = OptionalColumns(settings.kafka, client_id=f"{identity}-shadow", lost=lost)
        self._shadow: ShadowScoring | None = None

    @property
    def model(self) -> ModelVersion:
        """The primary of the plan in force."""
        return version_of(self.models.current().primary)

    def shadow_scoring(self, wire: WireParts) -> ShadowScoring:
        """Return what scores committed events with the shadow of the plan in force."""
        self._shadow = ShadowScoring(
            wire.shadow_writer,
            self._shadow_records.send,
            rows_max=self.sizer.rows_max,
            call_deadline_seconds=self._settings.model.call_deadline_seconds,
            clock=self._clock,
            metrics=self._metrics,
            kind=self._kind,
        )
        return self._shadow

    def connect(self, timeline: TimelineReporter, runtime: WorkerRuntime, health: Health) -> LoadedModels:
        """Report the changes of later plans; return what takes them. Call it after ``shadow_scoring``."""
        assert self._shadow is not None
        self._shadow.connect(lambda: runtime.records.ready_rows)
        self._reporter.connect(self._shadow, timeline, runtime.serve, health)
        return self.models

    def closing(self, stopped: Callable[[], None]) -> Callable[[], None]:
        """Return a function that ends the shadow, waits a few seconds for its records, then calls ``stopped``."""

        def close() -> None:
            if self._shadow is not None:
                self._shadow.serve(None)
            self._shadow_records.close()
            stopped()

        return close


def serving_parts(
    pipeline: Pipeline,
    settings: Settings,
    folder: Path,
    plan: ServingPlan | None,
    identity: str,
    clock: Clock,
    metrics: Metrics,
) -> ServingParts:
    """Return what answers, with the primary of the plan loaded, else the pinned version.

    ``folder``: the bundles, unless set otherwise; ``plan``: that of the rollout, if there is one; ``clock`` agrees with
    the timestamps of the events. The pinned version answers too if the primary of the plan cannot be served.
    Raises ModelError if the pinned version cannot be served either, and SettingsError for a cache of other scores than
    numbers.
    """
    if settings.model.cache_bytes and pipeline.scores.kind != "number":
        raise SettingsError(
            f"model.cache_bytes is {settings.model.cache_bytes}, but the scores of pipeline {pipeline.name!r} are of "
            f"kind {pipeline.scores.kind!r}, and the cache keeps numbers only; set it to 0"
        )

    def load(version: str) -> Model:
        bundle = find_model(pipeline, settings, folder, version)
        model = model_of(bundle, pipeline, settings)
        if pipeline.changelogs:
            encode_version(model.version)  # raises if the table of last scores cannot store it
        model.warm_up(settings.worker.batch_rows_max)
        reporter.loaded(bundle.version, model.engine, bundle.digest)
        return cached(settings, model, clock, metrics)

    reporter = ServingReporter(metrics)
    first = _first(plan, load)
    sizer = batch_sizer(settings, first, metrics)
    seconds = LOAD_SECONDS + (settings.model.registry_timeout_seconds if settings.model.registry else 0.0)
    models = LoadedModels(
        ServingPlan(first.version),
        {first.version: first},
        load,
        listener=reporter,
        clock=clock,
        load_seconds=seconds,
    )
    reporter.show(models.current())
    kind = pipeline.scores.kind
    return ServingParts(settings, models, reporter, sizer, kind=kind, identity=identity, clock=clock, metrics=metrics)


def _first(plan: ServingPlan | None, load: Callable[[str], Model]) -> Model:
    if plan is None:
        return load("")
    try:
        return load(plan.primary)
    except Exception as error:  # noqa: BLE001 - a model may raise anything; the pinned version answers
        why = str(error) or repr(error)
    log.error("version %s of the rollout is not served: %s; the pinned version answers", plan.primary, why)
    return load("")


def version_of(model: Model) -> ModelVersion:
    """Return name and version of a model."""
    return ModelVersion(model.name, model.version)
