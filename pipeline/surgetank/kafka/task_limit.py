"""The number of tasks that the topics of a pipeline allow. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from surgetank.declaration import Pipeline


@dataclass(frozen=True, slots=True)
class TaskLimit:
    """The number of tasks that the topics of a pipeline allow, and what to do to get more, as a sentence."""

    tasks: int
    advice: str


def task_limit(pipeline: Pipeline, partitions: Mapping[str, int], *, recording: bool = False) -> TaskLimit:
    """Return the task limit of a pipeline; ``partitions`` their numbers by topic. Pure.

    A task writes to the partition of its number in each output topic, and state moves only by a migration.
    """
    outputs = {topic: partitions[topic] for topic in pipeline.outputs(recording=recording)}
    tasks = min(outputs.values())
    smallest = ", ".join(f"{topic} has {number} partitions" for topic, number in outputs.items() if number == tasks)
    if pipeline.changelogs:
        advice = f"let the others run empty, stop the workers and run `surgetank state reshard {pipeline.name}`"
    else:
        features = " --features" * recording
        advice = f"run `surgetank topics apply {pipeline.name} --grow{features}`, then restart the workers"
    return TaskLimit(tasks, f"{smallest}: {advice}")
