"""A model that raises, gives no number, hangs, or was better in its last version."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from surgetank.declaration import SCORE
from surgetank.drills.wire import decoder
from surgetank.kafka.offset_collector import OffsetQuery
from surgetank.kafka.topic_reader import TopicReader
from surgetank.lag.group_monitor import GroupMonitor
from surgetank.lag.offset_collector_process import OffsetCollectorProcess
from surgetank.records import DeadLetterReason, ModelVersion
from surgetank.registry.folder_registry import FolderRegistry
from surgetank.serving.scorer import MODEL_ERROR, NOT_A_NUMBER
from tests.support import misbehaving_models
from tests.support.consumer_group import until
from tests.support.event_bytes import buried, far_away, real, send
from tests.support.live_pipeline import IN_PLAY, Stage, real_events

StageFactory = Callable[..., Stage]

EVENTS = 100_000


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (misbehaving_models.raises_for_far_rows, MODEL_ERROR),
        (misbehaving_models.not_a_number_for_far_rows, NOT_A_NUMBER),
    ],
)
def test_rows_that_the_model_cannot_score_are_dead_lettered(
    stage: StageFactory, tmp_path: Path, model: Callable[[], bytes], reason: DeadLetterReason
) -> None:
    """Exactly the guilty rows die, with the reason; their neighbours in the same batches are scored."""
    models = tmp_path / "models"
    misbehaving_models.publish(models, "1", model())
    events = real(EVENTS)
    far = [event for event, is_far in zip(events, far_rows(EVENTS), strict=True) if is_far]
    assert far
    under = stage(**IN_PLAY, **{"model.directory": models})
    lying = send(under, events)
    worker = under.worker()

    found = under.audit()

    assert found.ok, (found, under.logs())
    assert (found.scores, found.dead_letters) == (EVENTS - len(far), len(far))
    letters = list(buried(under))
    assert all(letter.cause.reason == reason for letter in letters)
    assert all(letter.event == lying[letter.cause.source][letter.cause.offset] for letter in letters)
    assert Counter(letter.event.value for letter in letters) == Counter(event.value for event in far)
    assert under.fleet.stop(worker) == 0


def test_a_model_call_that_hangs_ends_the_worker_and_commits_nothing(stage: StageFactory, tmp_path: Path) -> None:
    """Exit code 4 and one clear line; with the older version all is scored once, what hung included."""
    models = tmp_path / "models"
    misbehaving_models.publish(models, "1", misbehaving_models.good())
    misbehaving_models.publish(models, "2", misbehaving_models.hangs_beyond(50_000.0))
    under = stage(
        **IN_PLAY,
        **{"model.directory": models, "model.call_deadline_seconds": 3, "worker.stuck_deadline_seconds": 30},
    )
    send(under, [*real(EVENTS), *(far_away(row) for row in range(under.pipeline.events.partitions))])
    worker = under.worker(ready=False, environment={"SURGETANK_MODEL__VERSION": "2"})

    assert worker.process.wait(60) == 4, under.logs()

    log = worker.log.read_text()
    errors = [line for line in log.splitlines() if " ERROR " in line]
    assert len(errors) == 1, log
    assert "a model call has run for" in errors[0]
    assert "model.call_deadline_seconds is 3" in errors[0]
    assert "Traceback" not in log
    before = under.audit(wait=0)
    assert not before.duplicates
    assert before.waiting >= under.pipeline.events.partitions

    under.worker(environment={"SURGETANK_MODEL__VERSION": "1"})
    after = under.audit()
    assert after.ok, (after, under.logs())
    assert (after.scores, after.dead_letters) == (EVENTS + under.pipeline.events.partitions, 0)
    assert before.scores + versions(under)["1"] == after.scores


def test_going_back_to_an_older_version_is_one_restart(stage: StageFactory, tmp_path: Path) -> None:
    """The version that is set answers, not the highest, beside workers that serve another. Each score says which.

    It is pulled from the registry at start; its digest is that of the published bundle.
    """
    models = tmp_path / "models"
    shutil.copytree(Path(__file__).parents[2] / "topology" / "models", models)
    registry = FolderRegistry(str(tmp_path / "registry"))
    registry.publish(misbehaving_models.publish(tmp_path / "made", "9", misbehaving_models.good()))
    misbehaving_models.publish(models, "10", misbehaving_models.not_a_number_for_far_rows())
    under = stage(**IN_PLAY, **{"model.directory": models, "model.registry": registry.where})
    worker = under.worker(environment={"SURGETANK_MODEL__VERSION": "9"})
    under.send(5_000)
    assert under.audit().scores == 5_000
    assert versions(under) == {"9": 5_000}

    successor = under.worker()  # the declaration names version 1

    with OffsetCollectorProcess(under.kafka) as collector:
        query = OffsetQuery(group=under.pipeline.group, topics=(under.pipeline.events.topic,))
        monitor = GroupMonitor(query, lambda query: collector.ask(query, 30.0), under.clock)
        both = {ModelVersion(misbehaving_models.NAME, version) for version in ("1", "9")}
        until(lambda: set(monitor.poll().models.values()) == both, 60, "`surgetank lag` shows both versions")
        shown = monitor.poll()
    assert {(shown.owners[source], model.version) for source, model in shown.models.items()} == {
        (f"{under.pipeline.name}-{worker.name}", "9"),
        (f"{under.pipeline.name}-{successor.name}", "1"),
    }
    page = successor.ask("/metrics", timeout=5) or ""
    assert f'surgetank_model_info{{model="{misbehaving_models.NAME}",role="primary",version="1"}} 1.0' in page
    digest = registry.published(misbehaving_models.NAME, "9").digest
    assert f'digest="{digest}"' in (worker.ask("/metrics", timeout=5) or "")
    assert under.fleet.stop(worker) == 0

    under.send(7_000)
    found = under.audit()
    assert found.ok, found
    assert versions(under) == {"9": 5_000, "1": 7_000}


def far_rows(count: int) -> list[bool]:
    """Say of each of the first real events whether it is of a far flight."""
    recording = real_events()
    distances = recording.tables[0]["distance"].to_numpy()[recording.row[:count]]
    return [bool(far) for far in distances > misbehaving_models.FAR]


def versions(under: Stage) -> Counter[str]:
    """Count the committed scores of each version of the model."""
    counted: Counter[str] = Counter()
    decode = decoder(SCORE)
    with TopicReader(under.kafka, [under.pipeline.scores.topic]) as reader:
        for records in reader.catch_up():
            counted.update(decode(records).columns["model_version"].to_pylist())
    return counted
