"""The settings of the model that scores, and of the commands that say which versions answer."""

from pathlib import Path

from pydantic import Field

from surgetank.settings.section import Bytes, Seconds, Section, Threads


class ModelSettings(Section):
    """The model that scores. Rollout commands have priority; without them, change the version here and restart."""

    directory: Path | None = Field(
        default=None, description="folder of model bundles; default: models/ beside the topology file"
    )
    name: str = Field(default="", description="name of the bundle; default: the model that the pipeline declares")
    version: str = Field(
        default="",
        description="version of the bundle; default: the version that the pipeline declares, else the only one present",
    )
    registry: str = Field(
        default="",
        description="location of a registry of models, as s3://bucket/models, a folder or "
        "mlflow:http://mlflow:5000; a version that is not in the folder of bundles is pulled from it; "
        "default: none",
    )
    registry_timeout_seconds: Seconds = Field(
        default=300.0, gt=0, description="pulling a version fails after this long"
    )
    verify_key_file: Path | None = Field(
        default=None,
        description="public key (PEM); only bundles with a signature of its private key are loaded; default: "
        "signatures are not verified",
    )
    threads: Threads = Field(default=1, ge=1, description="intra-op threads of ONNX Runtime")
    provider: str = Field(
        default="CPU",
        min_length=1,
        description="execution provider of ONNX Runtime: CPU, CUDA, OpenVINO, TensorRT ...; all but CPU need another "
        "package than onnxruntime",
    )
    latency_target_seconds: Seconds = Field(
        default=0.0,
        ge=0,
        description="from the arrival of an event in Kafka to the commit of its score: batches are as large as this "
        "allows for their oldest event. A backlog is processed in large batches. 0: none, and batches have up to "
        "worker.batch_rows_max rows",
    )
    cache_bytes: Bytes = Field(
        default=0,
        ge=0,
        description="memory for the scores of rows that the model has scored, for each version in memory; equal rows "
        "are scored once. Batches bypass the cache while it takes more time than it saves. 0: no cache",
    )
    cache_ttl_seconds: Seconds = Field(default=300.0, gt=0, description="a score is kept for this long at most")
    call_deadline_seconds: Seconds = Field(
        default=20.0, gt=0, description="a model call that takes longer ends the process with exit code 4"
    )


class RolloutSettings(Section):
    """The commands that say which versions of the model answer."""

    operator: str = Field(
        default="", max_length=200, description="who gives commands; default: the user and the host name"
    )
    wait_seconds: Seconds = Field(
        default=10.0,
        ge=0,
        description="a worker waits this long at its start for the topic PIPELINE.rollout; then it starts with the "
        "last known versions, or the pinned one",
    )
