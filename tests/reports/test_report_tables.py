"""Tables print fractions as per cent, a column or a row per checkpoint, and missing values as dashes."""

from __future__ import annotations

import copy
import io
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from facegraph.records import ProtocolCard, RunResult, collect_provenance
from facegraph.records.provenance import git_state
from facegraph.reports.table.marks import results_table, subsets_table

NO_NME = {"nme": None, "fr@0.10": 1 / 3, "auc@0.10": 0.57839}
SUMMARY: dict[str, Any] = {
    "count": 3,
    "nme": 0.04216,
    "fr@0.10": 1 / 3,
    "auc@0.10": 0.57839,
    "normalisers": {
        "inter_ocular": {"nme": 0.04216, "fr@0.10": 1 / 3, "auc@0.10": 0.57839},
        "inter_pupil": {"nme": 0.0605},
    },
    "subsets": {"pose": {"count": 2, "nme": 0.07}, "blur": {"count": 0, "nme": None}},
    "per_landmark": [0.01],
}


BEST = {**SUMMARY, "nme": None, "normalisers": SUMMARY["normalisers"] | {"inter_ocular": NO_NME}}


def run_result() -> RunResult:
    card = ProtocolCard(
        dataset="wflw", split="test", scheme="wflw98", num_landmarks=98, trained_on="wflw",
        train_faces=6750, val_faces=750, test_faces=3, test_hash="0123456789ab",
        crop="landmark box", crop_margin=1.25, input_size=256,
        normaliser="inter_ocular", thresholds={"inter_ocular": (0.1,)},
        checkpoint_rule="last epoch", epochs=60, optimiser_steps=7000, seed=0,
    )  # fmt: skip
    provenance = collect_provenance(
        device="cpu", overrides=[], started_at=datetime(2024, 5, 1), git=git_state(), seed=0, params=1
    )
    metrics = copy.deepcopy({"test": {"best": BEST, "last": SUMMARY}})  # tests change theirs
    return RunResult(card, metrics, provenance)


def printed(table: Table) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_results_table_has_a_column_for_each_checkpoint() -> None:
    table = results_table(run_result())
    assert [str(column.header) for column in table.columns] == ["%", "last", "best"]
    labels = ["NME inter_ocular", "NME inter_pupil", "FR @10 inter_ocular", "AUC @10 inter_ocular"]
    assert list(table.columns[0].cells) == labels
    assert list(table.columns[1].cells) == ["4.22", "6.05", "33.33", "57.84"]
    assert list(table.columns[2].cells) == ["-", "6.05", "33.33", "57.84"]
    assert "wflw test: 3 faces, 98 landmarks" in printed(table)


def test_a_normaliser_with_thresholds_of_its_own_gets_rows() -> None:
    result = run_result()
    result.protocol.thresholds["box"] = (0.07,)
    result.metrics["test"]["last"]["normalisers"]["box"] = {"nme": 0.02, "fr@0.07": 0.25, "auc@0.07": 0.7}
    table = results_table(result)
    rows = dict(zip(table.columns[0].cells, table.columns[1].cells, strict=True))
    assert (rows["FR @7 box"], rows["AUC @7 box"]) == ("25.00", "70.00")
    assert "primary normaliser inter_ocular;" in " ".join(str(table.caption).split())


def test_subsets_table_shows_counts_and_dashes() -> None:
    table = subsets_table(run_result())
    assert [str(column.header) for column in table.columns] == ["subset", "faces", "last", "best"]
    assert [list(column.cells) for column in table.columns] == [
        ["all", "pose", "blur"],
        ["3", "2", "0"],
        ["4.22", "7.00", "-"],
        ["-", "7.00", "-"],
    ]
