"""The quality figures of a probability model, as stored in its bundle."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

_BANDS = 10


def figures(late: npt.NDArray[np.bool_], probability: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return rows, share of late flights, AUC, log loss (nats), Brier score, and a calibration table.

    ``base_log_loss`` is that of predicting the share for every flight. The table has ten bands, each with a tenth of
    the rows by increasing probability: the mean prediction (``said``), and the share of late flights (``was``).
    """
    order = np.argsort(probability, kind="stable")
    share = float(late.mean())
    return {
        "rows": len(late),
        "late_share": share,
        "auc": float(roc_auc_score(late, probability)),
        "log_loss": float(log_loss(late, probability)),
        "base_log_loss": float(log_loss(late, np.full(len(late), share))),
        "brier": float(brier_score_loss(late, probability)),
        "calibration": [
            {"rows": len(band), "said": float(probability[band].mean()), "was": float(late[band].mean())}
            for band in np.array_split(order, _BANDS)
        ],
    }


def markdown(title: str, parts: dict[str, dict[str, Any]]) -> str:
    """Return the figures of several sets of rows as a Markdown page."""
    lines = [f"# {title}", "", "| | " + " | ".join(parts) + " |", "|---|" + "---:|" * len(parts)]
    for name in ("rows", "late_share", "auc", "log_loss", "base_log_loss", "brier"):
        values = " | ".join(_cell(part[name]) for part in parts.values())
        lines.append(f"| {name.replace('_', ' ')} | {values} |")
    for name, part in parts.items():
        lines += [
            "",
            f"Calibration on {name}, by tenths of the rows:",
            "",
            "| said | was | rows |",
            "|---:|---:|---:|",
        ]
        lines += [
            f"| {_cell(band['said'])} | {_cell(band['was'])} | {band['rows']:,} |" for band in part["calibration"]
        ]
    return "\n".join(lines) + "\n"


def _cell(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
