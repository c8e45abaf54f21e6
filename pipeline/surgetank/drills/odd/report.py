"""The report of the drill with odd pipelines: sums over all of them, and each mismatch."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from surgetank.drills.odd.oracle import SCORE
from surgetank.drills.odd.pipeline_run import PipelineResult
from surgetank.drills.report import DrillReport

WIDTH = 80
_MISMATCHES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class OddReport(DrillReport):
    """Sums over the pipelines of a seed.

    ``refused`` counts refusals at start by kind, ``outcomes`` the records by outcome, ``rejected_records`` those that
    the brokers rejected, ``rejected_reasons`` the ones with a delivery report by reason. Sizes are in bytes; the peak
    is that of the worker nearest to its bound. ``mismatches`` has those of each pipeline, by its number. After Ctrl-C
    (``interrupted``) the pipelines are those that were judged by then.
    """

    seed: int
    seconds: float
    interrupted: bool
    pipelines: int
    ran: int
    refused: dict[str, int]
    sent: int
    sent_bytes: int
    positions: int
    rejected_records: int
    rejected_reasons: dict[str, int]
    outcomes: dict[str, int]
    resident_peak: int
    resident_bound: int
    wrong: int
    mismatches: dict[int, list[str]]

    @classmethod
    def of(
        cls, seed: int, seconds: float, results: Sequence[PipelineResult], *, interrupted: bool = False
    ) -> "OddReport":
        """Sum the results of pipelines."""
        ran = [result for result in results if result.resident_bound]
        nearest = max(ran, key=lambda result: result.resident_peak / result.resident_bound, default=PipelineResult(0))
        return cls(
            seed=seed,
            seconds=round(seconds, 1),
            interrupted=interrupted,
            pipelines=len(results),
            ran=len(ran),
            refused=_sorted(Counter(result.refused for result in results if result.refused)),
            sent=sum(result.sent for result in results),
            sent_bytes=sum(result.sent_bytes for result in results),
            positions=sum(result.positions for result in results),
            rejected_records=sum(result.rejected_records for result in results),
            rejected_reasons=_sorted(sum((result.rejected_reasons for result in results), Counter())),
            outcomes=_sorted(sum((result.outcomes for result in results), Counter())),
            resident_peak=nearest.resident_peak,
            resident_bound=nearest.resident_bound,
            wrong=sum(result.wrong for result in results),
            mismatches={result.number: result.mismatches for result in results if result.mismatches},
        )

    @property
    def lines(self) -> list[str]:
        """The report as text of at most 80 columns; only mismatches may be longer."""
        rows: list[tuple[str, Any]] = [
            ("pipelines", self.pipelines),
            ("  run", self.ran),
            ("  refused at start", sum(self.refused.values())),
            *((f"    {kind}", count) for kind, count in self.refused.items()),
            ("records sent", self.sent),
            ("bytes sent", self.sent_bytes),
            ("records that the brokers rejected", self.rejected_records),
            *((f"    {reason}", count) for reason, count in self.rejected_reasons.items()),
            ("records in the topics", self.positions),
            *((f"  {outcome}", count) for outcome, count in self.outcomes.items()),
            ("resident size of the worker nearest to its bound", self.resident_peak),
            ("  its bound", self.resident_bound),
            ("mismatches", self.wrong),
        ]
        shown = [
            f"seed {self.seed} pipeline {number}: {what}" for number, found in self.mismatches.items() for what in found
        ]
        return [
            *(f"{name[: WIDTH - 20]:<{WIDTH - 18}}{value:>18,}" for name, value in rows),
            *shown[:_MISMATCHES_SHOWN],
            f"seed {self.seed}, {self.seconds:.0f} s: {self._verdict}",
        ]

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong, and there was something to judge: pipelines that ran, records and scores."""
        return self._verdict == "passed"

    @property
    def _verdict(self) -> str:
        if self.interrupted:
            return "FAILED: interrupted"
        if self.wrong:
            return "FAILED"
        judged = {"pipeline ran": self.ran, "record was read": self.positions, "score": self.outcomes.get(SCORE, 0)}
        missing = [what for what, count in judged.items() if not count]
        return f"FAILED: no {', no '.join(missing)}" if missing else "passed"


def _sorted(counts: "Counter[str]") -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))
