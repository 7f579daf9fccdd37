"""Sweep folders as a finished sweep leaves them, from drawn numbers: no training, no pictures."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from facegraph.files.atomic import write_atomically
from facegraph.landmarks import SCHEMES
from facegraph.records import (
    PREDICTIONS_FILE,
    ProtocolCard,
    Provenance,
    RunResult,
    collect_provenance,
    prediction_frame,
    summarise,
)
from facegraph.records.provenance import GitState
from facegraph.sweeps.manifest import Job, SweptTable, read_sweep, write_table
from facegraph.sweeps.status import Failure, Progress, evaluation_folder, write_failure, write_progress
from facegraph.sweeps.table import Table, table_from

SCHEME = SCHEMES["ibug68"]
FACES = 60
NORMALISERS = ("inter_ocular", "inter_pupil")
THRESHOLDS = {"inter_ocular": (0.10,), "inter_pupil": (0.10,)}
STARTED = datetime(2024, 5, 1, tzinfo=timezone.utc)
CARD = ProtocolCard(
    dataset="drawn", split="test", scheme=SCHEME.name, num_landmarks=68, trained_on="drawn", train_faces=190,
    val_faces=10, test_faces=FACES, test_hash="0123456789ab", crop="landmark box", crop_margin=1.25, input_size=64,
    normaliser=NORMALISERS[0], thresholds=THRESHOLDS, checkpoint_rule="last: after the final epoch", epochs=3,
    optimiser_steps=18, seed=0,
)  # fmt: skip


def shape() -> np.ndarray:
    """(68, 2) a face whose outer eye corners are 50 px apart, in image px."""
    rng = np.random.default_rng(5)
    points = rng.uniform(20, 80, size=(68, 2))
    points[36], points[45] = (25.0, 40.0), (75.0, 40.0)
    points[37:42] = points[36] + np.linspace(1, 12, 5)[:, None] * (1.0, 0.0)
    points[42:45] = points[45] - np.linspace(12, 6, 3)[:, None] * (1.0, 0.0)
    points[46:48] = points[45] - np.linspace(4, 2, 2)[:, None] * (1.0, 0.0)
    return points


def frame_with(errors: np.ndarray, checkpoint: str = "last", seed: int = 0) -> pd.DataFrame:
    """Predictions whose inter-ocular NME per face is errors (M,), a fraction; a third of the faces is in `occlusion`.

    Each landmark is off by its own share of the error, in a drawn direction; ids are face_000 ...
    """
    count, rng = len(errors), np.random.default_rng(1000 + seed)
    truth = np.repeat(shape()[None], count, axis=0) + np.arange(count)[:, None, None] % 7
    angle = rng.uniform(0, 2 * np.pi, size=(count, 68))
    share = rng.uniform(0.5, 1.5, size=(count, 68))
    share /= share.mean(axis=1, keepdims=True)
    offset = 50 * errors[:, None] * share
    prediction = truth + offset[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return prediction_frame(
        ids=[f"face_{i:03d}" for i in range(count)],
        index=np.arange(count),
        prediction=prediction,
        truth=truth,
        norm_distances={name: SCHEME.distance(name, truth) for name in NORMALISERS},
        attributes={"occlusion": np.arange(count) % 3 == 0, "blur": np.zeros(count, dtype=bool)},
        checkpoint=checkpoint,
    )


def drawn_errors(mean: float, seed: int = 0, count: int = FACES) -> np.ndarray:
    """(count,) positive per-face errors: hard and easy faces are the same ones for all means and seeds."""
    difficulty = np.random.default_rng(7).lognormal(0, 0.4, count)
    noise = np.random.default_rng([11, seed]).lognormal(0, 0.1, count)
    errors = difficulty * noise
    return errors * mean / errors.mean()


def write_run(
    folder: Path,
    errors: np.ndarray,
    seed: int = 0,
    card: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> RunResult:
    """A finished run: result.json, predictions.parquet of last and best (best is 2 % lower), config.yaml, a curve."""
    predictions, test = _tested(errors.tobytes(), seed)
    write_atomically(folder / PREDICTIONS_FILE, predictions)
    result = RunResult(
        replace(CARD, **{"seed": seed, "test_faces": len(errors), **(card or {})}),
        {"val": {"last": {"nme": float(errors.mean())}}, "test": copy.deepcopy(test)},
        replace(_origin(), **{"seed": seed, "overrides": list(overrides), **(provenance or {})}),
    )
    result.write(folder)
    write_begun(folder, errors, seed, overrides=overrides)
    return result


# tests write the same runs again and again; a table of 280 columns takes a quarter of a second
@functools.lru_cache(maxsize=64)
def _tested(errors: bytes, seed: int) -> tuple[bytes, dict[str, Any]]:
    values = np.frombuffer(errors)
    frames = {"last": frame_with(values, "last", seed), "best": frame_with(0.98 * values, "best", seed)}
    both = pd.concat(frames.values(), ignore_index=True)
    return both.to_parquet(index=False), {n: summarise(f, NORMALISERS, THRESHOLDS) for n, f in frames.items()}


@functools.lru_cache
def _origin() -> Provenance:
    return collect_provenance(
        device="cpu, 1 threads", overrides=(), started_at=STARTED, git=GitState("c0ffee" * 6, False), seed=0,
        params=1_250_000, macs=310_000_000, train_seconds=12.5,
    )  # fmt: skip


def write_begun(
    folder: Path, errors: np.ndarray, seed: int = 0, epochs: int = 3, of: int = 3, overrides: Sequence[str] = ()
) -> None:
    """What a training leaves before its end: config.yaml, log/metrics.csv with a line per epoch, progress.json."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"seed": seed, "name": "drawn", "data": {"seed": seed}, "set": [o for o in overrides if "seed" not in o]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "log").mkdir(exist_ok=True)
    nme = [float(errors.mean()) * (1 + 1 / (epoch + 1)) for epoch in range(epochs)]
    curve = pd.DataFrame({"epoch": range(epochs), "step": [6 * (e + 1) - 1 for e in range(epochs)], "val/nme": nme})
    curve.to_csv(folder / "log" / "metrics.csv", index=False)
    write_progress(folder, Progress(epochs, of, nme[-1] if nme else None))


def topk_table(**changes: Any) -> Table:
    """Rows k1, k3, k5 (swept value, paper's values) and one that is only published; NME, FR, AUC, a subset, a cost."""
    node: dict[str, Any] = {
        "name": "drawn/topk",
        "title": "Neighbours of a landmark",
        "source": "a paper, Table 7",
        "cost": "not measured",
        "base": ["experiment=drawn"],
        "baseline": "k3",
        "axis": "neighbours k",
        "rows": {
            **{
                f"k{k}": {"label": f"k = {k}", "overrides": [f"head.top_k={k}"], "value": k, "paper": {"nme": paper}}
                for k, paper in ((1, 4.44), (3, 4.40), (5, 4.50))
            },
            "lab": {"label": "LAB & co_1", "paper": {"nme": 5.27, "fr": 7.56}},
        },
        "columns": {
            "nme": {"label": "NME", "metric": "nme"},
            "fr": {"label": "FR@10", "metric": "fr@0.10"},
            "auc": {"label": "AUC@10", "metric": "auc@0.10"},
            "occlusion": {"label": "Occlusion", "metric": "nme", "subset": "occlusion"},
            "params": {"label": "params", "metric": "params"},
        },
    }  # fmt: skip
    return table_from(node | changes)


def curve_table(name: str = "drawn/occlusion") -> Table:
    """Rows gcn and fc, each scored under three conditions that make a curve."""
    shares = (0.0, 0.2, 0.4)
    return table_from(
        {
            "name": name,
            "title": "Occluded share",
            "source": "own",
            "cost": "not measured",
            "baseline": "fc",
            "axis": "occluded share",
            "rows": {n: {"label": n.upper(), "overrides": [f"head={n}"]} for n in ("gcn", "fc")},
            "evaluations": {
                f"share{100 * s:g}": {"label": f"{s}", "overrides": [f"corruption.share={s}"], "value": s}
                for s in shares
            },
            "columns": {
                f"nme{s}": {"label": f"{s}", "metric": "nme", "evaluation": f"share{100 * s:g}"} for s in shares
            },
        }
    )  # fmt: skip


def jobs_of(table: Table, seeds: Sequence[int] = (0, 1)) -> tuple[Job, ...]:
    return tuple(
        Job(
            row=row.name,
            seed=seed,
            identity=hashlib.sha256(f"{table.name} {row.name} {seed}".encode()).hexdigest()[:12],
            overrides=(*table.base, *(row.overrides or ()), f"seed={seed}"),
            scored=tuple(e.name for e in table.evaluations_of(row)),
        )
        for row in table.trained
        for seed in seeds
    )


def write_sweep(
    folder: Path,
    table: Table | None = None,
    seeds: Sequence[int] = (0, 1),
    means: Mapping[str, float] | None = None,
    unfinished: Mapping[tuple[str, int], str] | None = None,
    scale: str = "paper",
    cards: Mapping[str, Mapping[str, Any]] | None = None,
    provenances: Mapping[str, Mapping[str, Any]] | None = None,
) -> SweptTable:
    """A sweep folder.

    means: row -> NME of seed 0 as a fraction, 0.045 and rising by 0.002 per row if left out; seed s is 2 s % above it.
    unfinished: (row, seed) -> "new",
    "partial" (epoch 1 of 3) or "failed" (out of memory). cards, provenances: row -> fields that differ.
    """
    table = table or topk_table()
    swept = SweptTable(table, scale, jobs_of(table, seeds), (f"sweeps={table.name}", f"scale={scale}"))
    write_table(folder, swept)
    order = [row.name for row in table.trained]
    for job in swept.jobs:
        mean = (means or {}).get(job.row, 0.045 + 0.002 * order.index(job.row))
        errors, place = drawn_errors(mean * (1 + 0.02 * job.seed), job.seed), job.folder(folder)
        state = (unfinished or {}).get((job.row, job.seed))
        if state is None:
            card, origin = (cards or {}).get(job.row), (provenances or {}).get(job.row)
            write_run(place, errors, job.seed, card, origin, job.overrides)
            for i, name in enumerate(job.scored):
                write_run(evaluation_folder(place, name), errors * (1 + 0.3 * i), job.seed, card, origin)
        elif state != "new":
            write_begun(place, errors, job.seed, epochs=1)
            if state == "failed":
                write_failure(place, Failure("out of memory", "CUDA out of memory. Lower data.batch_size."))
    return swept


def folder_of(sweep: Path, row: str, seed: int = 0) -> Path:
    """Run folder of a row of the first table that has it."""
    swept = next(s for s in read_sweep(sweep) if any(job.row == row for job in s.jobs))
    return next(job.folder(sweep) for job in swept.jobs if (job.row, job.seed) == (row, seed))
