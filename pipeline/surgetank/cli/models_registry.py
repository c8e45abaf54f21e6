"""``surgetank models list|show|verify|publish|pull``: bundles in the local folder and in a registry."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgetank.cli.models_options import (
    Directory,
    RegistryUrl,
    VerifyKey,
    Version,
    folder_of,
    model_settings,
    print_bundle,
)
from surgetank.cli.options import Json, print_json
from surgetank.cli.output import print_table

if TYPE_CHECKING:
    from surgetank.registry.listing import ListedVersion
    from surgetank.serving.bundle import Bundle

PipelineName = Annotated[str | None, typer.Option(help="The pipeline whose features it must have.")]


def list_(
    name: Annotated[str, typer.Argument(help="Only this model.")] = "",
    directory: Directory = None,
    registry: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """List the versions of models in the local folder, and in the registry if one is set. Files are not verified."""
    from surgetank.registry.listing import list_versions
    from surgetank.registry.opening import open_registry

    settings = model_settings(directory, registry)
    opened = open_registry(settings.registry) if settings.registry else None
    found = list_versions(folder_of(settings), opened, name)
    if as_json:
        print_json({"versions": found})
        return
    _print_versions(found)


def show(version: Version, directory: Directory = None, as_json: Json = False) -> None:
    """Show what the manifest of a local bundle says. The bundle is verified, except its signature."""
    from surgetank.registry.reference import parse_reference
    from surgetank.serving.bundle import load

    wanted = parse_reference(version)
    bundle = load(folder_of(model_settings(directory)), wanted.name, wanted.version)
    if as_json:
        print_json(bundle.manifest.model_dump() | {"digest": bundle.digest, "signed": bundle.signed})
        return
    _print_bundle_fields(bundle)


def verify(
    version: Version,
    pipeline: PipelineName = None,
    verify_key: VerifyKey = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Verify a local bundle: manifest, checksum of each file, signature if a key is set. Exit status 2: it is refused.

    With --pipeline also what a worker checks: features, inputs, outputs, and that ONNX Runtime can run it.
    """
    from surgetank.errors import ModelError
    from surgetank.registry.reference import parse_reference
    from surgetank.serving.bundle import load

    wanted, settings = parse_reference(version), model_settings(directory, verify_key=verify_key)
    try:
        bundle = load(folder_of(settings), wanted.name, wanted.version, verify_key=settings.verify_key_file)
        if pipeline is not None:
            _check_for(bundle, pipeline)
    except ModelError as error:
        if not as_json:
            raise
        print_json({"ok": False, "problem": str(error)})
        raise typer.Exit(2) from None
    if as_json:
        print_json({"ok": True, "digest": bundle.digest, "signature_verified": settings.verify_key_file is not None})
        return
    print_bundle(bundle, "verified", as_json=False)
    if settings.verify_key_file is None:
        typer.echo("  the signature was not verified: no key is set (--verify-key)")


def publish(
    version: Version,
    registry: RegistryUrl = None,
    verify_key: VerifyKey = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Copy a verified local bundle into the registry. A version that is there with other content is refused.

    The version is there for others when all of its files are, and it never changes.
    """
    from surgetank.registry.opening import open_folder_registry
    from surgetank.registry.reference import parse_reference
    from surgetank.serving.bundle import load

    wanted, settings = parse_reference(version), model_settings(directory, registry, verify_key)
    opened = open_folder_registry(settings.registry)
    bundle = load(folder_of(settings), wanted.name, wanted.version, verify_key=settings.verify_key_file)
    published = opened.publish(bundle)
    print_bundle(
        bundle,
        "published" if published else "already published",
        as_json=as_json,
        published=published,
        registry=opened.where,
    )


def pull(
    version: Annotated[str, typer.Argument(metavar="NAME:VERSION", help="Or as MLflow names it: models:/NAME@ALIAS.")],
    pipeline: PipelineName = None,
    output: Annotated[str, typer.Option(help="The output with the score, for a model of MLflow with several.")] = "",
    registry: RegistryUrl = None,
    verify_key: VerifyKey = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Copy a version from the registry into the local folder, verified and at once. One that is there is left alone.

    A model of MLflow that is no bundle becomes one with the features of --pipeline; an alias is resolved now, and the
    version that it names is pulled.
    """
    from surgetank.cli.pipeline_argument import resolve
    from surgetank.registry.deadline import within
    from surgetank.registry.opening import MLFLOW, open_registry
    from surgetank.registry.pull import pull as pull_version
    from surgetank.registry.reference import MLFLOW as MLFLOW_REFERENCE
    from surgetank.registry.reference import parse_reference

    wanted, settings = parse_reference(version), model_settings(directory, registry, verify_key)
    url = settings.registry or (MLFLOW if version.startswith(MLFLOW_REFERENCE) else "")
    declared = None if pipeline is None else resolve(pipeline)
    opened = open_registry(
        url,
        spec=None if declared is None else declared.spec,
        output=output,
        kind="number" if declared is None else declared.scores.kind,
    )
    timeout, found = settings.registry_timeout_seconds, wanted.version
    if wanted.alias:
        found = within(timeout, lambda: opened.resolve(wanted.name, wanted.alias), f"resolving {wanted}")
        if not as_json:
            typer.echo(f"{wanted} is version {found}")
    bundle, pulled = pull_version(
        lambda: opened, wanted.name, found, folder_of(settings), verify_key=settings.verify_key_file, timeout=timeout
    )
    print_bundle(bundle, "pulled" if pulled else "already there:", as_json=as_json, pulled=pulled, alias=wanted.alias)


def _check_for(bundle: "Bundle", pipeline: str) -> None:
    from surgetank.cli.pipeline_argument import resolve
    from surgetank.settings import load
    from surgetank.worker.model_parts import model_of

    model_of(bundle, resolve(pipeline), load())


def _print_versions(found: "list[ListedVersion]") -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for title in ("model", "version", "created", "digest", "signed", "where"):
        table.add_column(title)
    for each in found:
        where = " ".join(name for name, there in (("local", each.local), ("registry", each.registry)) if there)
        signed = {True: "yes", False: "no", None: "?"}[each.signed]
        created = each.created.replace("T", " ").removesuffix("Z") or "-"
        table.add_row(*map(escape, (each.model, each.version, created, each.digest[:12] or "-", signed, where)))
    print_table(table)
    for each in found:
        if each.problem:
            typer.echo(f"{each.model} {each.version}: {each.problem}")


def _print_bundle_fields(bundle: "Bundle") -> None:
    from rich.markup import escape
    from rich.table import Table

    manifest = bundle.manifest
    rows: list[tuple[str, Any]] = [
        ("model", f"{bundle.name} {bundle.version}"),
        ("meaning", manifest.meaning),
        ("digest", bundle.digest),
        ("signed", "yes" if bundle.signed else "no"),
        ("created", manifest.created),
        ("parent", manifest.parent),
        ("licence", manifest.licence),
        ("made by", manifest.created_by),
        ("input", manifest.input),
        ("output", manifest.output),
        *(("feature", name) for name in bundle.features),
        *(("file", path) for path in manifest.files),
        *(("figure", f"{name}: {value}") for name, value in manifest.figures.items()),
    ]
    table = Table(show_header=False)
    table.add_column(width=8)
    table.add_column()
    for title, value in rows:
        if value:
            table.add_row(title, escape(str(value)))
    print_table(table)
