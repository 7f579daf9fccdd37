"""Tables of a run for the terminal, errors in per cent with two decimals."""

from __future__ import annotations

from typing import Any

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
    table = Table(title=_title(card), caption=_caption(card))
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
    """NME of each attribute subset by the primary normaliser, with its number of faces: a row per checkpoint."""
    rows = _test_rows(result)
    table = Table(title=f"NME % by subset, {result.protocol.normaliser}")
    table.add_column("checkpoint")
    counts: dict[str, int] = {}
    for summary in rows.values():
        counts |= {"all": summary["count"]} | {name: subset["count"] for name, subset in summary["subsets"].items()}
    for name, count in counts.items():
        table.add_column(f"{name}\n{count}", justify="right")
    for checkpoint, summary in rows.items():
        values = {"all": summary[NME]} | {name: subset[NME] for name, subset in summary["subsets"].items()}
        table.add_row(checkpoint, *(percent(values.get(name)) for name in counts))
    return table


def confidence_table(result: RunResult) -> Table:
    """How well confidence tells exact faces from failed ones, by the primary normaliser: a row per checkpoint.

    Plain numbers: the rank correlation of doubt and error, the AUROC of finding failures, the retention score (1 where
    the surest faces are the most exact, 0 where confidence says nothing); of a model that may stop early the mean
    number of its iterations, of one that reports failures the share of faces it reported.
    """
    card = result.protocol
    thresholds = card.thresholds.get(card.normaliser, ())
    columns = {"rank_correlation": "rank correlation", "retention_score": "retention score"}
    columns |= {failure_auroc_name(t): f"failure AUROC\n@{100 * t:g} %" for t in thresholds}
    said = {MEAN_ITERATIONS: "mean\niterations", REPORTED_FAILURES: "share reported\nas failed"}
    found = [summary.get(CONFIDENCE, {}) for summary in _test_rows(result).values()]
    columns |= {name: label for name, label in said.items() if any(name in measures for measures in found)}
    table = Table(title=f"Confidence against error, {card.normaliser}")
    table.add_column("checkpoint")
    for label in columns.values():
        table.add_column(label, justify="right")
    for checkpoint, summary in _test_rows(result).items():
        values = [summary.get(CONFIDENCE, {}).get(name) for name in columns]
        table.add_row(checkpoint, *("-" if value is None else f"{value:.3f}" for value in values))
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
