"""Which plan a worker follows, and the file in which the last known one is kept."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.rollout.followed_plan import KnownPlan, PlanSource, followed_plan
from surgetank.rollout.kept_plan import KeptPlan
from surgetank.rollout.rollout_log import RolloutLog
from surgetank.serving_plan import Canary, ServingPlan
from tests.support.rollout_commands import MODEL, command, log_of

KNOWN = KnownPlan(MODEL, 7, ServingPlan("3", loaded=frozenset({"2"})))
TEXTS = st.text(min_size=1, max_size=5)
KEYS = st.frozensets(st.binary(max_size=5), max_size=3)
CANARIES = st.builds(Canary, TEXTS, st.floats(0, 1), st.text(max_size=5), KEYS, KEYS)
PLANS = st.builds(ServingPlan, TEXTS, st.none() | CANARIES, st.none() | TEXTS, st.frozensets(TEXTS, max_size=3))


def test_what_the_topic_says_counts() -> None:
    """Whatever was known before."""
    found = followed_plan(MODEL, log_of(command("deploy", version="1")), KNOWN)
    assert (found.source, found.revision, found.warning) == (PlanSource.TOPIC, 1, "")
    assert found.plan == ServingPlan("1")


def test_without_a_command_the_pinned_version_serves() -> None:
    """Commands for another model, or a plan that was known for one, do not matter; nothing is wrong."""
    for known in (None, KnownPlan("another", 7, KNOWN.plan)):
        found = followed_plan(MODEL, RolloutLog(MODEL), known)
        assert (found.source, found.plan, found.warning) == (PlanSource.PINNED, None, "")


def test_a_topic_that_cannot_be_read_changes_nothing() -> None:
    """The last known plan goes on; without one the pinned version serves. Both with the reason."""
    found = followed_plan(MODEL, None, KNOWN, "it is missing")
    assert (found.source, found.revision, found.plan) == (PlanSource.LAST_KNOWN, 7, KNOWN.plan)
    assert "it is missing" in found.warning
    assert "revision 7, with version 3, goes on" in found.warning
    found = followed_plan(MODEL, None, None, "it is missing")
    assert (found.source, found.plan) == (PlanSource.PINNED, None)
    assert "the pinned version of the model serves" in found.warning


def test_a_topic_that_was_made_again_changes_nothing() -> None:
    """Nobody asked for another version; the warning says which command to give."""
    found = followed_plan(MODEL, RolloutLog(MODEL), KNOWN)
    assert (found.source, found.plan) == (PlanSource.LAST_KNOWN, KNOWN.plan)
    assert "surgetank models deploy PIPELINE VERSION" in found.warning


@given(model=TEXTS, revision=st.integers(0, 2**40), plan=PLANS)
def test_a_kept_plan_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, model: str, revision: int, plan: ServingPlan
) -> None:
    """With all keys, of any bytes."""
    kept = KeptPlan(tmp_path_factory.getbasetemp() / "kept" / "flights.json")
    kept.write(KnownPlan(model, revision, plan))
    assert kept.read() == KnownPlan(model, revision, plan)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"model": 1, "primary": 2}', b"[" * 100_000],
)
def test_a_broken_file_is_no_plan(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and written anew with the next plan."""
    kept = KeptPlan(tmp_path / "flights.json")
    (tmp_path / "flights.json").write_bytes(content)
    assert kept.read() is None
    assert "cannot be read" in caplog.text
    kept.write(KNOWN)
    assert kept.read() == KNOWN


def test_a_folder_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A worker goes on without it."""
    (tmp_path / "file").write_text("")
    kept = KeptPlan(tmp_path / "file" / "flights.json")
    kept.write(KNOWN)
    assert "cannot be kept" in caplog.text
    assert KeptPlan(None).read() is None


def test_no_file_is_no_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As at the first start; nothing is logged."""
    assert KeptPlan(tmp_path / "flights.json").read() is None
    assert caplog.text == ""
