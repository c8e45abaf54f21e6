"""The project folder of an odd pipeline, with the shape that a user's project has: schemas, topology, models."""

import json
from collections.abc import Mapping
from pathlib import Path

from surgetank.declaration import Pipeline
from surgetank.drills.odd.declaration import OddPipeline
from surgetank.drills.odd.schemas import OddSchema
from surgetank.serving import bundle

MODULE = "topology.odd"
INPUT, OUTPUT = "features", "score"


def declared(source: str) -> Pipeline:
    """Return the pipeline that a file declares. Raises TopologyError."""
    names: dict[str, Pipeline] = {}
    exec(source, names)
    return names["pipeline"]


def project_files(odd: OddPipeline) -> dict[str, str]:
    """Return the text files of the project, by path below its folder."""
    ids, files = dict[str, object](), dict[str, str]()
    for schema in filter(None, (odd.events, odd.facts)):
        files |= _schema_files(schema)
        ids |= {str(id_): {"schema": schema.name, "version": n} for n, id_ in enumerate(schema.ids, 1)}
    return files | {
        "schemas/ids.json": json.dumps(ids),
        "topology/__init__.py": "",
        "topology/odd.py": odd.source,
    }


def write_project(folder: Path, files: Mapping[str, str]) -> None:
    """Write text files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_model(folder: Path, pipeline: Pipeline, content: bytes) -> None:
    """Write the bundle of a model that was trained on the features of a pipeline."""
    manifest = bundle.Manifest(
        name=pipeline.model,
        version="1",
        meaning="a number that the drill with odd pipelines can compute too",
        features=pipeline.spec.declaration(),
        fingerprint=pipeline.spec.fingerprint(),
        sha256=bundle.sha256(content),
        input=INPUT,
        output=OUTPUT,
        figures={},
        created_by="surgetank chaos odd",
    )
    bundle.write(folder / "topology" / "models", manifest, content)


def _schema_files(schema: OddSchema) -> dict[str, str]:
    versions = schema.versions()
    old = {f"schemas/released/{schema.name}/{n}.avsc": json.dumps(avro) for n, avro in enumerate(versions[:-1], 1)}
    return old | {f"schemas/{schema.name}.avsc": json.dumps(versions[-1])}
