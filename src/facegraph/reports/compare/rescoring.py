"""Metrics again from predictions.parquet: another normaliser, threshold or subset, without the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from facegraph.errors import ConfigError
from facegraph.metrics.bootstrap import Interval, interval
from facegraph.metrics.face_scores import face_scores
from facegraph.metrics.functional import nme
from facegraph.metrics.names import NME, auc_name, failure_rate_name
from facegraph.records import RESULT_FILE, RunResult, predictions_of, read_predictions
from facegraph.reports.table.normalisers import distances, spelled


@dataclass(frozen=True)
class Rescored:
    """Metrics of one run.

    measures: nme, fr@<t>, auc@<t> as fractions; None where one is not finite. intervals: 95 % over test faces;
    None for too few faces.

    Args:
        normaliser: name, or the pair of landmarks as given.
        faces: how many count.
    """

    folder: Path
    checkpoint: str
    normaliser: str
    subset: str | None
    faces: int
    measures: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]


def rescore(
    folder: Path,
    normaliser: str | None = None,
    thresholds: Sequence[float] = (),
    subset: str | None = None,
    checkpoint: str = "last",
) -> Rescored:
    """Score a run's predictions again.

    Args:
        folder: run folder, or the predictions.parquet itself.
        normaliser: a name that the file has, or two landmarks of the truth as `60,72`; None for the run's own.
        thresholds: of failure rate and AUC, fractions of the normaliser.
        subset: attribute of the faces that count; None for all.

    Raises:
        RunError: no readable predictions. ConfigError: a normaliser, subset, checkpoint or threshold that the file
            cannot give. DataError: a face whose two landmarks of the pair coincide.
    """
    folder = Path(folder)
    frame = read_predictions(folder)
    kept = frame[frame["checkpoint"] == checkpoint]
    if kept.empty:
        known = ", ".join(sorted(frame["checkpoint"].unique()))
        raise ConfigError(f"{folder} has no predictions of checkpoint '{checkpoint}'; it has {known}. Choose one.")
    kept = _subset(kept, subset, folder)
    name = _own_normaliser(kept, folder) if normaliser is None else spelled(normaliser, normalisers_of(kept))
    errors = _errors(kept, name, folder)
    metrics = [NME, *(f(t) for t in dict.fromkeys(thresholds) for f in (failure_rate_name, auc_name))]
    scores = {metric: face_scores(metric, errors) for metric in metrics}
    finite = {metric: bool(np.isfinite(values).all()) for metric, values in scores.items()}
    return Rescored(
        folder=folder,
        checkpoint=checkpoint,
        normaliser=name,
        subset=subset,
        faces=len(kept),
        measures={m: float(values.mean()) if finite[m] else None for m, values in scores.items()},
        intervals={m: _interval(values) for m, values in scores.items()},
    )


def _interval(scores: np.ndarray) -> Interval | None:
    found = interval(scores)
    return found if np.isfinite(found).all() else None


def normalisers_of(frame: pd.DataFrame) -> list[str]:
    return [str(c).removeprefix("nme_") for c in frame.columns if str(c).startswith("nme_")]


def _own_normaliser(frame: pd.DataFrame, folder: Path) -> str:
    """The primary normaliser of the run; the file's first one where there is no result beside it."""
    place = folder if folder.is_dir() else folder.parent
    if (place / RESULT_FILE).is_file():
        return RunResult.read(place).protocol.normaliser
    return normalisers_of(frame)[0]


def _subset(frame: pd.DataFrame, subset: str | None, folder: Path) -> pd.DataFrame:
    if subset is None:
        return frame
    known = [str(c).removeprefix("attr_") for c in frame.columns if str(c).startswith("attr_")]
    if subset not in known:
        listed = ", ".join(known) or "none"
        raise ConfigError(f"{folder} has no subset '{subset}'; its faces have: {listed}. Name one, or leave it out.")
    kept = frame[frame[f"attr_{subset}"]]
    if kept.empty:
        raise ConfigError(f"no test face of {folder} is in subset '{subset}'; choose another.")
    return kept


def _errors(frame: pd.DataFrame, normaliser: str, folder: Path) -> np.ndarray:
    if normaliser in normalisers_of(frame):
        return frame[f"nme_{normaliser}"].to_numpy()
    faces = predictions_of(frame)
    prediction, truth = (points.astype(np.float64) for points in (faces.prediction, faces.truth))
    return nme(prediction, truth, distances(faces, normaliser, folder))
