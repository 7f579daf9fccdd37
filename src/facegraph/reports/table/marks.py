"""Tables of a run for the terminal, errors in per cent with two decimals."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from facegraph.metrics.names import (
    MEAN_ITERATIONS,
    NME,
    REPORTED_FAILURES,
    auc_name,
    failure_auroc_name,
    failure_rate_name,
)
from facegraph.records import CONFIDENCE, ProtocolCard, RunResult

_CHECKPOINTS = ("last", "best")


def results_table(result: RunResult) -> Table:
    """Test results: a column per checkpoint; NME by each normaliser, FR and AUC by the primary one and by those that
    have thresholds of their own."""
    card = result.protocol
    columns = _test_rows(result)
    table = Table(title=escape(_title(card)), caption=escape(_caption(card)))
    table.add_column("%")
    for checkpoint in columns:
        table.add_column(checkpoint, justify="right")
    normalisers = list(dict.fromkeys(name for summary in columns.values() for name in summary["normalisers"]))
    rows = [(f"NME {name}", name, NME) for name in normalisers]
    for name, t in _scored_thresholds(card):
        rows.append((f"FR @{100 * t:g} {name}", name, failure_rate_name(t)))
        rows.append((f"AUC @{100 * t:g} {name}", name, auc_name(t)))
    for label, name, measure in rows:
        table.add_row(label, *(percent(c["normalisers"].get(name, {}).get(measure)) for c in columns.values()))
    return table


def subsets_table(result: RunResult) -> Table:
    """NME of each attribute subset by the primary normaliser, with its number of faces: a column per checkpoint."""
    columns = _test_rows(result)
    table = Table(title=f"NME % by subset, {result.protocol.normaliser}")
    table.add_column("subset")
    for name in ("faces", *columns):
        table.add_column(name, justify="right")
    subsets = {"all": list(columns.values())}
    for name in dict.fromkeys(name for summary in columns.values() for name in summary["subsets"]):
        subsets[name] = [summary["subsets"].get(name, {}) for summary in columns.values()]
    for name, found in subsets.items():
        count = next(subset["count"] for subset in found if subset)
        table.add_row(escape(name), str(count), *(percent(subset.get(NME)) for subset in found))
    return table


def confidence_table(result: RunResult) -> Table:
    """How well confidence tells exact faces from failed ones, by the primary normaliser: a column per checkpoint.

    Plain numbers: the rank correlation of doubt and error, the AUROC of finding failures, the retention score (1 where
    the surest faces are the most exact, 0 where confidence says nothing); of a model that may stop early the mean
    number of its iterations, of one that reports failures the share of faces it reported.
    """
    card = result.protocol
    columns = {name: summary.get(CONFIDENCE, {}) for name, summary in _test_rows(result).items()}
    rows = {"rank_correlation": "rank correlation", "retention_score": "retention score"}
    for t in card.thresholds.get(card.normaliser, ()):
        rows[failure_auroc_name(t)] = f"failure AUROC @{100 * t:g} %"
    said = {MEAN_ITERATIONS: "mean iterations", REPORTED_FAILURES: "share reported as failed"}
    rows |= {name: label for name, label in said.items() if any(name in found for found in columns.values())}
    table = Table(title=f"Confidence against error, {card.normaliser}")
    table.add_column("")
    for checkpoint in columns:
        table.add_column(checkpoint, justify="right")
    for name, label in rows.items():
        values = (found.get(name) for found in columns.values())
        table.add_row(label, *("-" if value is None else f"{value:.3f}" for value in values))
    return table


def percent(fraction: float | None) -> str:
    """A fraction in per cent with two decimals; a missing value is a dash.

    >>> percent(0.04216), percent(None)
    ('4.22', '-')
    """
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def _scored_thresholds(card: ProtocolCard) -> list[tuple[str, float]]:
    """(normaliser, threshold) of the rows; a normaliser with the primary one's thresholds would only repeat them."""
    primary = card.thresholds.get(card.normaliser, ())
    chosen = [(card.normaliser, threshold) for threshold in primary]
    others = {name: values for name, values in card.thresholds.items() if name != card.normaliser}
    return chosen + [(name, t) for name, values in others.items() if tuple(values) != tuple(primary) for t in values]


def _test_rows(result: RunResult) -> dict[str, dict[str, Any]]:
    test = result.metrics.get("test", {})
    known = [name for name in _CHECKPOINTS if name in test]
    return {name: test[name] for name in (*known, *(other for other in test if other not in _CHECKPOINTS))}


def _title(card: ProtocolCard) -> str:
    return f"{card.dataset} {card.split}: {card.test_faces} faces, {card.num_landmarks} landmarks"


def _caption(card: ProtocolCard) -> str:
    flip = ", test-time flip" if card.test_time_flip else ""
    flip += "".join(f", {name} {value:g}" for name, value in card.model_facts.items())
    return (
        f"primary normaliser {card.normaliser}; {card.crop} x {card.crop_margin:g} at {card.input_size} px{flip}; "
        f"{card.train_faces} training faces, {card.epochs} epochs, seed {card.seed}; {card.checkpoint_rule}"
    )
