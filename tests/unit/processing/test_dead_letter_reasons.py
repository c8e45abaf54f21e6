"""Each dead-letter reason is registered, is a label of the metric, and is explained in the runbook."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import surgetank
from surgetank.processing.dead_letter_reasons import REASONS
from surgetank.records import DeadLetterReason
from surgetank.telemetry.metrics import FAILED_STAGE, REASON
from tests.support.prometheus_tools import ROOT

RUNBOOK = ROOT / "ops" / "runbooks" / "DeadLetterShareHigh.md"


def steps() -> Iterator[ModuleType]:
    """Yield the modules of all packages that can dead-letter a record."""
    for package in ("codec", "features", "processing", "serving", "state"):
        path = [f"{folder}/{package}" for folder in surgetank.__path__]
        for found in pkgutil.walk_packages(path, f"surgetank.{package}."):
            yield importlib.import_module(found.name)


def test_every_declared_reason_is_registered() -> None:
    """A reason is a constant of the module that raises it."""
    declared = {each for module in steps() for each in vars(module).values() if isinstance(each, DeadLetterReason)}
    assert declared == set(REASONS)


def test_reasons_of_one_step_have_different_labels() -> None:
    """Step and label in the headers of a dead letter identify the reason."""
    assert len({(reason.step, reason.label) for reason in REASONS}) == len(REASONS)


def test_reasons_are_the_labels_of_the_metric() -> None:
    """Every reason can be counted, and no label is left over."""
    assert REASON.values == {reason.label for reason in REASONS}
    assert FAILED_STAGE.values == {reason.step for reason in REASONS}


def test_every_reason_is_explained_in_the_runbook() -> None:
    """Its row of the table has the step, the label and the meaning."""
    text = RUNBOOK.read_text()
    missing = [reason for reason in REASONS if f"| `{reason.step}` | `{reason.label}` | {reason.meaning} |" not in text]
    assert missing == []
