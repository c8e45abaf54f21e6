"""surgetank.serving.router: rows go to primary and canary as the plan in force says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surgetank.clock import SystemClock
from surgetank.records import ModelVersion
from surgetank.serving.router import PlanRouter, Route, ServedModels
from surgetank.serving.scorer import NOT_A_NUMBER, Scorer
from surgetank.serving_plan import Canary, ServingPlan
from tests.support.function_model import FunctionModel
from tests.support.small_models import constant_times_first, keyed_events

MODELS = {version: constant_times_first(float(version), version) for version in "123"}
keys = st.lists(st.one_of(st.none(), st.binary(max_size=8)), min_size=1, max_size=60)


def router_of(plan: ServingPlan) -> PlanRouter:
    """Return the router of a plan of the versions 1, 2 and 3."""
    served = ServedModels.of(plan, MODELS)
    return PlanRouter(lambda: served)


@given(keys, st.floats(0, 1), st.lists(st.binary(max_size=8), max_size=3))
def test_every_row_is_in_one_route(keys: list[bytes | None], share: float, allow: list[bytes]) -> None:
    """Positions ascend within a route, and together are those of the batch; no route is empty."""
    plan = ServingPlan("1", Canary("2", share, allow=frozenset(allow)))
    routes = router_of(plan).primary(keyed_events(keys))
    positions = [np.arange(len(keys))[route.positions].tolist() for route in routes]
    assert all(each and each == sorted(each) for each in positions)
    assert sorted(at for each in positions for at in each) == list(range(len(keys)))


@given(keys, st.floats(0, 1))
def test_each_score_is_that_of_the_version_it_names(keys: list[bytes | None], share: float) -> None:
    """With two versions in one batch; every score is by the version that the key gets."""
    plan = ServingPlan("1", Canary("2", share))
    events = keyed_events(keys)
    matrix = np.ones((len(keys), 2), dtype=np.float32)
    scored = Scorer(router_of(plan), SystemClock()).score(events, matrix)
    named = [scored.models[place].version for place in scored.model.tolist()]
    assert scored.scores.tolist() == [float(version) for version in named]
    alone = [router_of(plan).primary(keyed_events([key]))[0].model.version for key in keys]
    assert named == alone


def test_without_a_canary_all_rows_are_one_slice() -> None:
    """So that the features are not copied; as with one that has no key of the batch, or all, or that is the primary."""
    events, whole = keyed_events([b"a", b"b"]), slice(0, 2)
    for plan, version in (
        (ServingPlan("1"), "1"),
        (ServingPlan("1", Canary("2", 0.0)), "1"),
        (ServingPlan("1", Canary("2", 1.0)), "2"),
        (ServingPlan("1", Canary("1", 0.5)), "1"),
        (ServingPlan("3", shadow="1", loaded=frozenset("2")), "3"),
    ):
        assert router_of(plan).primary(events) == (Route(MODELS[version], whole),)


def test_rows_without_a_score_are_counted_for_their_version() -> None:
    """A canary that fails is not the primary's fault."""
    models = dict(MODELS) | {"2": FunctionModel(lambda matrix: np.full(len(matrix), np.nan), version="2")}
    served = ServedModels.of(ServingPlan("1", Canary("2", 0.0, allow=frozenset({b"b"}))), models)
    events = keyed_events([b"a", b"b", b"c"])
    scored = Scorer(PlanRouter(lambda: served), SystemClock()).score(events, np.ones((3, 2), dtype=np.float32))
    assert scored.models == (ModelVersion("m", "1"), ModelVersion("m", "2"))
    assert scored.failed == (0, 1)
    assert [(letter.row, letter.reason) for letter in scored.dead] == [(1, NOT_A_NUMBER)]
