"""Train the model ops/bench/models/payments-odd: ``python -m ops.training.payments``.

For the benchmark only: the payments and their labels are synthetic (ops/bench/payments.py). The model has the size of
the flights model, so that a score has the same cost.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import sklearn

from ops.bench.payments import layout, made_up, payments, warm
from ops.training.engines import with_engine
from ops.training.figures import figures
from ops.training.flights import Labels, Matrix, fit
from surgetank.features.windows import advance
from surgetank.serving.bundle import Manifest, load, sha256, write
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.scikit_trees import INPUT, OUTPUT, onnx_bytes

COMMAND = "python -m ops.training.payments"
MODELS = Path(__file__).parents[1] / "bench" / "models"
CARDS, PAYMENTS = 2_000, 200_000
LAST_MS = 1_750_000_000_000


def examples() -> tuple[Matrix, Labels]:
    """Return features float32 [n, F] and odd bool [n] of the payments, in their order."""
    rows = layout.rows(CARDS)
    place: dict[bytes, int] = {}
    parts, labels = [], []
    for paid in made_up(CARDS, PAYMENTS, LAST_MS):
        columns = dict(zip(("event_id", "card", "amount", "paid_at"), paid.columns, strict=True))
        amount = columns["amount"].to_numpy()
        index = np.array([place.setdefault(key, len(place)) for key in paid.keys])
        always = np.ones(len(amount), dtype=np.bool_)
        seen, _ = advance(layout, rows, index, paid.times_ms, amount.reshape(-1, 1), always, always)
        parts.append(np.column_stack([amount, seen]).astype(np.float32))
        labels.append(paid.odd)
    return np.concatenate(parts)[warm(CARDS) :], np.concatenate(labels)[warm(CARDS) :]


def train() -> tuple[Manifest, bytes]:
    """Return manifest and model, trained on the first three quarters and tested on the last."""
    matrix, odd = examples()
    past = len(odd) * 3 // 4
    model = onnx_bytes(fit(matrix[:past], odd[:past]), len(payments.spec.names))
    scores = OnnxModel(
        model, name="payments", version="0", input=INPUT, output=OUTPUT, features=payments.spec.names
    ).score(matrix)
    manifest = Manifest(
        name=payments.model,
        version="1",
        meaning="probability that a made-up payment is far more than its card usually pays",
        features=payments.spec.declaration(),
        fingerprint=payments.spec.fingerprint(),
        sha256=sha256(model),
        input=INPUT,
        output=OUTPUT,
        figures={"test, the last quarter": figures(odd[past:], scores[past:])},
        created_by=f"{COMMAND} (scikit-learn {sklearn.__version__})",
    )
    return with_engine(manifest, model, matrix), model


def main() -> int:
    """Train; write the bundle, or compare with the existing bundle."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Train the model of the bench's payments.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the model would change")
    arguments = parser.parse_args()
    manifest, model = train()
    if arguments.check:
        same = load(MODELS, manifest.name, manifest.version).manifest.sha256 == manifest.sha256
        print("the checked-in model is this one, bit by bit" if same else "the checked-in model differs")
        return 0 if same else 1
    print(f"wrote {write(MODELS, manifest, model, replace=True).folder}: {len(model):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
