"""The payments job by hand gives the features of the pipeline, batch by batch, in any cut."""

import json

import numpy as np
import pyarrow as pa
import pytest

from ops.bench.job import Avro
from ops.bench.payments import LEAD, Paid, layout, made_up, memory, payments, warm
from ops.bench.payments_job import BUNDLE, PaymentsJob, pack, unpack
from surgetank.codec.schema_repository import project_schemas
from surgetank.offline.backfill import compute_aggregates, matrices
from surgetank.offline.history import History, OrderedEvents
from surgetank.serving.bundle import load
from surgetank.serving.onnx_model import OnnxModel

LAST_MS = 1_750_000_000_000
CARDS, COUNT = 300, 12_000


@pytest.fixture(scope="module")
def paid() -> Paid:
    """Made-up payments: the lead, every card once, and some more."""
    (first,) = made_up(CARDS, COUNT, LAST_MS)
    return first


def test_the_bundle_fits_the_pipeline(paid: Paid) -> None:
    """Both the declaration and the schema; the model has learnt something of memory."""
    bundle = load(BUNDLE.parents[1], payments.model)
    bundle.check(payments.spec)
    payments.check(project_schemas().columns("card_payment"))
    figures = bundle.manifest.figures["test, the last quarter"]
    assert figures["log_loss"] < figures["base_log_loss"] / 2


def test_after_the_warm_up_every_card_has_a_row(paid: Paid) -> None:
    """Few cards pay often and many seldom, but each has paid by then; the last payment is at its time."""
    assert len(set(paid.keys[LEAD : warm(CARDS)])) == CARDS
    assert len(set(paid.keys[:LEAD])) > 10
    often = np.unique(paid.keys[warm(CARDS) :], return_counts=True)[1]
    assert often.max() > 20 * np.median(often)
    assert LAST_MS - 5_000 < paid.times_ms[-1] <= LAST_MS
    assert (np.diff(paid.times_ms) < 0).any()


def test_the_same_payments_every_time() -> None:
    """All contenders score the same events."""
    one, other = (next(iter(made_up(CARDS, 500, LAST_MS))) for _ in range(2))
    assert one.keys == other.keys
    assert all(left.equals(right) for left, right in zip(one.columns, other.columns, strict=True))


def test_by_hand_it_gives_the_scores_of_the_features_offline(paid: Paid) -> None:
    """Rows in batches of any size, by way of bytes, against SQL over all payments at once, and the model."""
    avro = Avro("card_payment")
    values = avro.encode(paid.columns)
    job = PaymentsJob("bench", "some.events")
    state: dict[bytes, bytes] = {}
    scores: list[bytes] = []
    start, random = 0, np.random.default_rng(3)
    while start < COUNT:
        stop = min(start + int(random.integers(1, 3_000)), COUNT)
        keys = paid.keys[start:stop]
        place = {key: at for at, key in enumerate(dict.fromkeys(keys))}
        rows = unpack([state.get(key) for key in place])
        index = np.array([place[key] for key in keys])
        scores += job.score(values[start:stop], rows, index, [0] * len(keys), list(range(start, stop)))
        state |= dict(zip(place, pack(rows), strict=True))
        start = stop
    found = Avro("score").decode(scores)

    table = pa.table(dict(zip(avro.names, paid.columns, strict=True)))
    taken = OrderedEvents(table, np.arange(COUNT))  # as they arrived
    statistics = compute_aggregates(payments, History({payments.events.topic: taken}))
    matrix = np.concatenate([part for _, part in matrices(payments, taken, statistics)])
    manifest = json.loads((BUNDLE / "manifest.json").read_text())
    session = OnnxModel(
        BUNDLE / "model.onnx",
        name="payments",
        version="1",
        input=manifest["input"],
        output=manifest["output"],
        features=payments.spec.names,
    )
    np.testing.assert_allclose(found.field("score").to_numpy(), session.score(matrix), rtol=0, atol=1e-6)
    assert found.field("event_id").to_pylist() == table["event_id"].to_pylist()
    assert found.field("key").to_pylist() == table["card"].to_pylist()


def test_a_card_without_a_row_has_a_fresh_one() -> None:
    """What was packed comes back to the last bit, and can be changed in place."""
    rows = np.random.default_rng(1).random((3, layout.width))
    back = unpack([*pack(rows), None])
    np.testing.assert_array_equal(back[:3], rows)
    np.testing.assert_array_equal(back[3], layout.fresh)
    back[0] = 0


def test_the_statistics_stand_in_the_order_of_the_features() -> None:
    """The matrix by hand is the amount, then what the layout gives."""
    assert payments.spec.names == ("amount", *(each.name for each in memory.aggregates))
    assert tuple(each.measure for each in memory.aggregates) == layout.measures
