"""How a measure is printed: unit, decimals, and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass

from facegraph.errors import ConfigError
from facegraph.metrics.face_scores import AUC, FAILURE_RATE, split_metric
from facegraph.metrics.names import (
    FAILURE_AUROC,
    MEAN_ITERATIONS,
    NME,
    RANK_CORRELATION,
    REPORTED_FAILURES,
    RETENTION_SCORE,
)
from facegraph.sweeps.table import Column, of_confidence


@dataclass(frozen=True)
class Unit:
    """How a stored number is printed.

    Args:
        symbol: after a header, "" for none.
        factor: printed = stored * factor.
        lower: whether lower is better.
    """

    symbol: str
    factor: float
    decimals: int
    lower: bool = True

    def text(self, value: float | None) -> str:
        """A value in the printed unit; a dash where there is none."""
        return "-" if value is None else f"{value:.{self.decimals}f}"

    def after(self, words: str) -> str:
        """Words with the unit in brackets, as a header has them."""
        return f"{words} [{self.symbol}]" if self.symbol else words

    def signed(self, value: float | None) -> str:
        """A difference in the printed unit, with its sign."""
        if value is None:
            return "-"
        text = f"{value:+.{self.decimals}f}"
        return text if float(text) != 0 else text.replace("-", "+")


_ERROR = {
    NME: Unit("%", 100, 2),
    FAILURE_RATE: Unit("%", 100, 2),
    AUC: Unit("%", 100, 2, lower=False),
}
COSTS = {"params": Unit("M", 1e-6, 2), "macs": Unit("G", 1e-9, 3), "latency_ms": Unit("ms", 1, 1)}
"""Measures of a model instead of faces, as provenance names them."""

_CONFIDENCE = {
    RANK_CORRELATION: Unit("", 1, 3, lower=False),
    RETENTION_SCORE: Unit("", 1, 3, lower=False),
    FAILURE_AUROC: Unit("", 1, 3, lower=False),
    MEAN_ITERATIONS: Unit("", 1, 2),
    REPORTED_FAILURES: Unit("%", 100, 2),
}


def unit_of(metric: str) -> Unit:
    """Unit that a column's metric prints in.

    Raises:
        ConfigError: an unknown metric.
    """
    if metric in COSTS:
        return COSTS[metric]
    if of_confidence(metric):
        return _CONFIDENCE[metric.split("@")[0]]
    if metric == NME:
        return _ERROR[NME]
    try:
        return _ERROR[split_metric(metric)[0]]
    except ConfigError as error:
        raise ConfigError(f"{str(error)[:-1]}; or one of {', '.join(COSTS)}.") from None


def is_rate(metric: str) -> bool:
    """Whether a metric is a failure rate."""
    return metric.startswith(f"{FAILURE_RATE}@")


def measure_text(metric: str) -> str:
    """A metric as tables head it.

    >>> measure_text("fr@0.10"), measure_text("params"), measure_text("failure_auroc@0.10")
    ('FR@10', 'params', 'failure AUROC@10')
    """
    if of_confidence(metric):
        name, _, fraction = metric.partition("@")
        words = name.replace("_", " ").replace("auroc", "AUROC")
        return f"{words}@{100 * float(fraction):g}" if fraction else words
    if metric in COSTS or metric == NME:
        return metric.replace("_ms", "") if metric in COSTS else metric.upper()
    kind, threshold = split_metric(metric)
    return f"{kind.upper()}@{100 * threshold:g}"


def heading(column: Column) -> str:
    """Label of a column with its unit; one that ends in a per cent sign, such as a share of occlusion, says of what.

    >>> heading(Column("a", "NME", "nme")), heading(Column("b", "10 %", "nme", evaluation="share_10"))
    ('NME [%]', 'NME [%] at 10 %')
    """
    unit = unit_of(column.metric)
    if column.label.endswith("%"):
        return f"{unit.after(measure_text(column.metric))} at {column.label}"
    return unit.after(column.label)
