"""Judges Kafka and what a pipeline needs of it: version, topics, rights. Pure."""

from collections.abc import Collection, Mapping, Sequence

from surgetank.doctor.finding import CheckFinding, ok, problem, skipped, warning

PROTOCOL_VERSION = "inter.broker.protocol.version"  # brokers up to 3.9 have it; its default is their release
OLDEST = (3, 7)


def kafka(bootstrap: str, brokers: int, settings: Mapping[str, str] | None) -> CheckFinding:
    """Judge the release of the brokers by the settings of one of them; None if they may not be read."""
    found = f"{brokers} broker{'s' if brokers > 1 else ''} at {bootstrap}"
    if settings is None:
        return ok("kafka", f"{found}; their version is unknown: this user may not read their settings")
    if PROTOCOL_VERSION not in settings:
        return ok("kafka", f"{found}, Kafka 4.0 or later")
    release = settings[PROTOCOL_VERSION].partition("-")[0]
    major, minor = (int(part) for part in release.split(".")[:2])
    if (major, minor) < OLDEST:
        return warning("kafka", f"{found}, Kafka {release}", "use Kafka 3.7 or later: older ones are not tested")
    return ok("kafka", f"{found}, Kafka {release}")


def topics(pipeline: str, problems: Sequence[str]) -> CheckFinding:
    """Judge the topics of a pipeline by their ``problems``."""
    if not problems:
        return ok("topics", f"the topics fit pipeline {pipeline!r}")
    return problem(
        "topics", "; ".join(problems), f"surgetank topics apply {pipeline}; surgetank topics check {pipeline}"
    )


def rights(required: Mapping[str, Collection[str]], allowed: Mapping[str, Collection[str] | None]) -> CheckFinding:
    """Judge the rights of this user: those ``required``, by resource, and those ``allowed`` as the brokers tell.

    Rights are named READ, WRITE and so on; a resource with None, or none, is unknown.
    """
    known = {resource: set(found) for resource, found in allowed.items() if found is not None}
    lacking = [
        f"{right.capitalize()} on {resource}"
        for resource, needed in required.items()
        if resource in known
        for right in sorted(set(needed) - known[resource])
    ]
    if lacking:
        return problem("rights", f"this user lacks {', '.join(lacking)}", "grant them with kafka-acls.sh --add")
    unknown = [resource for resource in required if resource not in known]
    if unknown:
        return skipped("rights", f"unknown for {', '.join(unknown)}")
    return ok("rights", "this user has those of a worker on topics and group; those on transactional ids are not told")
