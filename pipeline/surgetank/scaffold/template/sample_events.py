"""Made-up payments: `surgetank dev` and `surgetank replay` send them, and the model is trained on them."""

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from surgetank.drills.recording import Recording

from topology.my_fraud import COUNTRIES, pipeline

EVENTS, CARDS = 20_000, 500
START_MS = 1_767_571_200_000  # 5 January 2026, UTC
FRAUD_SHARE = 0.03


def payments() -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """Return payments in the order of their time, and which of them are fraudulent: bool [EVENTS]."""
    random = np.random.RandomState(20260105)  # its numbers are the same with every version of numpy
    card = random.randint(CARDS, size=EVENTS)
    fraud = random.uniform(size=EVENTS) < FRAUD_SHARE
    usual = np.exp(random.normal(3.5, 0.7, size=CARDS))
    amount = usual[card] * np.exp(random.normal(0.0, 0.4, size=EVENTS))
    amount = np.where(fraud, amount * random.uniform(3, 12, size=EVENTS), amount)
    home = random.randint(len(COUNTRIES) - 1, size=CARDS)
    country = np.where(fraud & (random.uniform(size=EVENTS) < 0.6), len(COUNTRIES) - 1, home[card])
    time_ms = START_MS + np.cumsum(random.randint(1, 40_000, size=EVENTS))
    table = pa.table(
        {
            "event_id": [f"payment-{number:05d}" for number in range(EVENTS)],
            "card": [f"card-{number:03d}" for number in card],
            "amount": np.round(amount, 2),
            "country": [COUNTRIES[place] for place in country],
            "paid_at": pa.array(time_ms, pa.timestamp("ms", tz="UTC")),
        }
    )
    return table, fraud


def recording() -> Recording:
    """Return the payments as events to send; after the last one they repeat with other ids and later times."""
    return Recording.merge([(pipeline.events, payments()[0])], lap=timedelta(days=7))
