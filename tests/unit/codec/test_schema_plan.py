"""surgetank.codec.schema_plan: what is to register, and what a registry refuses."""

import json

import pytest

from surgetank.codec.schema_plan import COMPATIBILITY, SubjectStatus, TopicSchema, apply, plan
from tests.unit.codec.avro_samples import record

FIRST = json.dumps(record(("a", "int")))
SPACED = json.dumps(record(("a", "int")), indent=1)
SECOND = json.dumps(record(("a", "int"), {"name": "b", "type": "int", "default": 0}))
OTHER = json.dumps(record(("a", "string")))


class Registry:
    """Subjects in memory; takes everything but ``OTHER``."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.levels: dict[str, str] = {}

    def latest(self, subject: str) -> tuple[int, int, str] | None:
        """Return id, version and text."""
        texts = self.texts.get(subject)
        return (10 * len(texts), len(texts), texts[-1]) if texts else None

    def find(self, subject: str, text: str) -> tuple[int, int] | None:
        """Return id and version."""
        versions = [version for version, each in enumerate(self.texts.get(subject, []), 1) if each == text]
        return (10 * versions[0], versions[0]) if versions else None

    def is_compatible(self, subject: str, text: str) -> bool:
        """Return whether it is not the incompatible one."""
        return text != OTHER

    def compatibility(self, subject: str) -> str | None:
        """Return the level."""
        return self.levels.get(subject)

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set it."""
        self.levels[subject] = level

    def register(self, subject: str, text: str) -> int:
        """Add a version."""
        self.texts.setdefault(subject, []).append(text)
        return 10 * len(self.texts[subject])


def test_a_plan_that_was_applied_changes_nothing() -> None:
    """A new subject gets the schema and the level; spaces are no difference."""
    registry = Registry()
    (planned,) = plan(registry, [TopicSchema("t", "event", FIRST)], None)
    assert (planned.status, planned.changes) == (SubjectStatus.NEW_SUBJECT, True)
    assert apply(registry, [planned]) == {"t-value": 10}
    assert registry.levels == {"t-value": COMPATIBILITY}
    (again,) = plan(registry, [TopicSchema("t", "event", SPACED)], None)
    assert (again.status, again.changes, again.id, again.version) == (SubjectStatus.REGISTERED, False, 10, 1)
    assert apply(registry, [again]) == {"t-value": 10}
    assert registry.texts == {"t-value": [FIRST]}


@pytest.mark.parametrize(("text", "status"), [(SECOND, SubjectStatus.NEW_VERSION), (OTHER, SubjectStatus.REFUSED)])
def test_a_changed_schema_is_a_new_version_or_refused(text: str, status: SubjectStatus) -> None:
    """As the registry says."""
    registry = Registry()
    registry.register("t-value", FIRST)
    (planned,) = plan(registry, [TopicSchema("t", "event", text)], None)
    assert (planned.status, planned.changes) == (status, True)


def test_a_schema_that_is_no_longer_the_latest_is_registered() -> None:
    """Another team may have registered a later version, with which ours can be read."""
    registry = Registry()
    registry.register("t-value", FIRST)
    registry.register("t-value", SECOND)
    registry.set_compatibility("t-value", COMPATIBILITY)
    (planned,) = plan(registry, [TopicSchema("t", "event", FIRST)], None)
    assert (planned.status, planned.changes, planned.id) == (SubjectStatus.REGISTERED, False, 10)
    assert apply(registry, [planned]) == {"t-value": 10}
    assert registry.texts == {"t-value": [FIRST, SECOND]}


def test_a_level_of_a_subject_stays_unless_it_is_named() -> None:
    """Its owner may have chosen it."""
    registry = Registry()
    registry.register("t-value", FIRST)
    registry.set_compatibility("t-value", "BACKWARD")
    schema = TopicSchema("t", "event", FIRST)
    assert not plan(registry, [schema], None)[0].changes
    (planned,) = plan(registry, [schema], "FULL")
    assert planned.changes
    apply(registry, [planned])
    assert registry.levels == {"t-value": "FULL"}
