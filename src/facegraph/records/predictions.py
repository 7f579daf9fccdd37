"""The table of predictions, one row per face, and its summary in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from facegraph.errors import ConfigError, DataError, RunError
from facegraph.files import plain_parquet
from facegraph.files.atomic import write_atomically
from facegraph.metrics.confidence import failure_auroc, rank_correlation, retention_areas
from facegraph.metrics.functional import auc, failure_rate, mean_error, mean_where_true, nme, point_errors
from facegraph.metrics.names import (
    CONFIDENCE,
    MEAN_ITERATIONS,
    NME,
    RANK_CORRELATION,
    REPORTED_FAILURES,
    RETENTION_SCORE,
    SAID,
    auc_name,
    failure_auroc_name,
    failure_rate_name,
)

PREDICTIONS_FILE = "predictions.parquet"
RESULT_FILE = "result.json"


class Predictions(NamedTuple):
    """Faces of a prediction frame as arrays.

    Args:
        ids: M names.
        row: (M,) int64, row in the source (column `index`).
        prediction, truth: (M, N, 2) float32 image px, truth NaN where the annotation has no landmark.
        norm_distances, attributes: name -> (M,) float64 image px, name -> (M,) bool.
        checkpoint: which weights predicted.
        said: name of metrics.names.SAID -> (M,), only what the model says: confidence float32, higher is surer;
            predicted_error float32, in the model's own unit; iterations float32, how many were run; failed bool,
            reported as failed by the model.
    """

    ids: tuple[str, ...]
    row: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray
    norm_distances: dict[str, np.ndarray]
    attributes: dict[str, np.ndarray]
    checkpoint: str
    said: dict[str, np.ndarray]


def prediction_frame(
    ids: Sequence[str],
    index: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray,
    norm_distances: Mapping[str, np.ndarray],
    attributes: Mapping[str, np.ndarray],
    checkpoint: str,
    said: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Table of one checkpoint's predictions, one row per face; frames of several checkpoints may be concatenated.

    Columns: `id` and `index` (name and row of the face in its source), `checkpoint`, `pred_x0, pred_y0, ...` and
    `true_x0, true_y0, ...` (float32 image px), `norm_<name>` (image px), `attr_<name>` (bool), `nme_<name>`, the
    face's error as a fraction, computed from the stored points, and, where the model says it, `confidence`,
    `predicted_error`, `iterations` (float32) and `failed` (bool).

    Args:
        ids: M unique names.
        index: (M,) unique rows.
        prediction: (M, N, 2) image px.
        truth: (M, N, 2) image px.
        norm_distances: normaliser -> (M,) image px.
        attributes: attribute -> (M,) bool.
        checkpoint: "last" or "best".
        said: name of metrics.names.SAID -> (M,), see Predictions; all NaN is as not there.

    Raises:
        DataError: lengths that differ, a face twice, no face, or a normaliser that is not above zero.
    """
    points = {"pred": np.asarray(prediction, dtype=np.float32), "true": np.asarray(truth, dtype=np.float32)}
    rows = np.asarray(index, dtype=np.int64)
    lengths = {"ids": len(ids), "index": len(rows), "prediction": len(points["pred"])}
    columns_given = {**(said or {}), **norm_distances, **attributes}
    lengths |= {name: len(values) for name, values in columns_given.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(f"a prediction frame needs one value per face, got lengths {lengths}; pass equal lengths.")
    if not norm_distances:
        raise DataError("a prediction frame without normalising distances cannot be scored; pass at least one.")
    _check_unique(ids, rows)
    columns: dict[str, Any] = {"id": [str(i) for i in ids], "index": rows, "checkpoint": checkpoint}
    columns |= {f"norm_{name}": np.asarray(v, dtype=np.float64) for name, v in norm_distances.items()}
    columns |= {f"attr_{name}": np.asarray(v, dtype=bool) for name, v in attributes.items()}
    columns |= _said_columns(said or {})
    pred, true = (p.astype(np.float64) for p in points.values())
    columns |= {f"nme_{name}": nme(pred, true, columns[f"norm_{name}"]) for name in norm_distances}
    for prefix, values in points.items():
        for i in range(values.shape[1]):
            columns |= {f"{prefix}_x{i}": values[:, i, 0], f"{prefix}_y{i}": values[:, i, 1]}
    return pd.DataFrame(columns)


def predictions_of(frame: pd.DataFrame) -> Predictions:
    """The arrays that `prediction_frame` was given.

    Raises:
        DataError: the frame holds several checkpoints or no face, or lacks columns.
    """
    _check_frame(frame)
    return Predictions(
        ids=tuple(frame["id"]),
        row=frame["index"].to_numpy(dtype=np.int64),
        prediction=_points(frame, "pred"),
        truth=_points(frame, "true"),
        norm_distances=_columns(frame, "norm_"),
        attributes=_columns(frame, "attr_"),
        checkpoint=str(frame["checkpoint"].iloc[0]),
        said=_said_columns({name: frame[name].to_numpy() for name in SAID if name in frame.columns}),
    )


def write_predictions(frame: pd.DataFrame, folder: Path) -> Path:
    """Write predictions.parquet into a run folder, in one step; an equal frame that is there already is left alone.

    Without a result.json the run is not finished, and what an earlier attempt left is replaced.

    Raises:
        RunError: the folder holds other predictions of a finished run.
    """
    path, frame = Path(folder) / PREDICTIONS_FILE, frame.reset_index(drop=True)
    if path.exists() and path.with_name(RESULT_FILE).exists():
        if read_predictions(path).equals(frame):
            return path
        raise RunError(f"{path} holds other predictions; a run never overwrites results. Choose another folder.")
    write_atomically(path, frame.to_parquet(index=False))
    return path


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a prediction frame from predictions.parquet or the run folder that holds it.

    Raises:
        RunError: there is no such file, it is no parquet table, or not one that `prediction_frame` made: it lacks
            columns, has a face twice, or errors that are not those of its points.
    """
    path = Path(path) / PREDICTIONS_FILE if Path(path).is_dir() else Path(path)
    try:
        frame = plain_parquet.load(path)
        _check_columns(frame)
        for _, faces in frame.groupby("checkpoint", sort=False):
            _check_unique(faces["id"].tolist(), faces["index"].to_numpy())
        _check_errors(frame)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read predictions from {path}: {error}. Run eval.py on the run to write them.") from None
    return frame


def summarise(
    frame: pd.DataFrame, normalisers: Sequence[str], thresholds: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Numbers of one checkpoint: one entry of `metrics["test"]` in result.json.

    Args:
        frame: one checkpoint's predictions.
        normalisers: names of the distances to report; the first one is the primary normaliser.
        thresholds: normaliser -> failure and AUC thresholds t as fractions.

    Returns:
        count: number of faces M.
        nme, fr@<t>, auc@<t>: over all faces by the primary normaliser, t with two decimals (fr@0.10).
        normalisers: name -> {nme, fr@<t>, auc@<t>}, the primary one included.
        subsets: attribute -> {count, nme, fr@<t>, auc@<t>} by the primary normaliser, over faces with that flag.
        per_landmark: N mean errors over all faces by the primary normaliser.
        confidence, only where the frame has one: {rank_correlation, retention_area, retention_area_oracle,
        retention_area_random, retention_score, failure_auroc@<t>}, see `confidence_measures`; with it, of a model that
        may stop early, mean_iterations, and of one that reports failures their share reported_failures.
        Every value is a fraction; a measure without faces, or one that is not finite, is None.

    Raises:
        DataError: the frame holds several checkpoints, no face, or lacks a normaliser.
        ConfigError: no normaliser was named or a threshold is not above zero.
    """
    faces = predictions_of(frame)
    if not normalisers:
        raise ConfigError(f"no normaliser was named; name at least one of {sorted(faces.norm_distances)}.")
    for name in normalisers:
        if name not in faces.norm_distances:
            raise DataError(
                f"normaliser '{name}' is not among the predictions' {sorted(faces.norm_distances)}; name one of these."
            )
    by_normaliser = {name: _measures(frame[f"nme_{name}"].to_numpy(), thresholds.get(name, ())) for name in normalisers}
    primary = frame[f"nme_{normalisers[0]}"].to_numpy()
    subsets = {
        name: {"count": int(flag.sum())} | _measures(primary[flag], thresholds.get(normalisers[0], ()))
        for name, flag in faces.attributes.items()
    }
    errors = point_errors(faces.prediction, faces.truth, faces.norm_distances[normalisers[0]])
    summary: dict[str, Any] = {
        "count": len(frame),
        **by_normaliser[normalisers[0]],
        "normalisers": by_normaliser,
        "subsets": subsets,
        "per_landmark": [_number(e) for e in mean_where_true(errors, faces.truth, 0)],
    }
    said = _said(faces, primary, thresholds.get(normalisers[0], ()))
    return {**summary, CONFIDENCE: said} if said else summary


def _said(faces: Predictions, errors: np.ndarray, thresholds: Sequence[float]) -> dict[str, float | None]:
    """What a model's word on its own predictions is worth and how often it stopped and gave up; may be empty."""
    said = faces.said
    known = confidence_measures(errors, said[CONFIDENCE], thresholds) if CONFIDENCE in said else {}
    means = {MEAN_ITERATIONS: "iterations", REPORTED_FAILURES: "failed"}
    return known | {name: _number(said[column].mean()) for name, column in means.items() if column in said}


def confidence_measures(
    errors: np.ndarray, confidence: np.ndarray, thresholds: Sequence[float]
) -> dict[str, float | None]:
    """How well confidence (M,) tells which faces have large errors (M,), fractions of one normaliser.

    Returns:
        rank_correlation: of the error with the lack of confidence, 1 where the surest face is always the most exact.
        retention_area, retention_area_oracle, retention_area_random: fractions, and retention_score, see
        facegraph.metrics.confidence.RetentionAreas. failure_auroc@<t>: see `failure_auroc` there.
        None where a number is not defined: no face failed, all faces failed, equal errors or confidences, a NaN.

    Raises:
        DataError: lengths that differ, no face. ConfigError: a threshold that is not above zero.
    """
    areas = retention_areas(errors, confidence)
    doubt = -np.nan_to_num(np.asarray(confidence, dtype=np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    measures = {
        RANK_CORRELATION: rank_correlation(errors, doubt),
        "retention_area": areas.area,
        "retention_area_oracle": areas.oracle,
        "retention_area_random": areas.random,
        RETENTION_SCORE: areas.score,
    }
    measures |= {failure_auroc_name(t): failure_auroc(errors, confidence, t) for t in thresholds}
    return {name: _number(value) for name, value in measures.items()}


def _check_unique(ids: Sequence[str], rows: np.ndarray) -> None:
    for what, keys in (("id", pd.Series(ids)), ("index", pd.Series(rows))):
        if not keys.is_unique:
            twice = keys[keys.duplicated()].iloc[0]
            raise DataError(f"{what} '{twice}' occurs twice; keep one row per face, as PredictionTable.compute does.")


def _check_columns(frame: pd.DataFrame) -> None:
    """Raises ValueError unless all columns of a prediction frame are there and of its types."""
    names = [str(column) for column in frame.columns]
    count = sum(name.startswith("pred_x") for name in names)
    points = [f"{prefix}_{axis}{i}" for prefix in ("pred", "true") for axis in "xy" for i in range(max(count, 1))]
    norms = [name.removeprefix("norm_") for name in names if name.startswith("norm_")]
    errors = [name for name in names if name.startswith("nme_")]
    needed = ["id", "index", "checkpoint", *points, *(f"nme_{name}" for name in norms or ["box"])]
    lacking = [name for name in (*needed, *(f"norm_{name[4:]}" for name in errors)) if name not in names]
    if lacking:
        raise ValueError(f"it lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking[:5])}")
    numbers = [*points, *errors, *(f"norm_{name}" for name in norms), *(name for name in SAID if name in names)]
    kinds = {"index": "iu", **dict.fromkeys(numbers, "fiub")}
    kinds |= {name: "b" for name in names if name.startswith("attr_")}
    kinds |= {name: "bfO" for name in names if name == "failed"}  # of a checkpoint without it beside one with it
    wrong = [name for name, kind in kinds.items() if getattr(frame[name].dtype, "kind", "") not in kind]
    wrong += [name for name in ("id", "checkpoint") if not all(isinstance(value, str) for value in frame[name])]
    if wrong:
        raise ValueError(f"its column {wrong[0]} holds {frame[wrong[0]].dtype}, which it cannot be")


def _check_errors(frame: pd.DataFrame) -> None:
    """Raises ValueError where errors of faces are not those of the points beside them."""
    if frame.empty:
        return
    pred, true = (_points(frame, prefix).astype(np.float64) for prefix in ("pred", "true"))
    for name, norm in _columns(frame, "norm_").items():
        stored = frame[f"nme_{name}"].to_numpy(dtype=np.float64)
        computed = nme(pred, true, norm.astype(np.float64))
        apart = np.flatnonzero(~np.isclose(stored, computed, rtol=1e-4, atol=1e-7, equal_nan=True))
        if len(apart):
            row = int(apart[0])
            raise ValueError(
                f"nme_{name} of face '{frame['id'].iloc[row]}' is {stored[row]:g}, but {computed[row]:g} from its "
                f"points ({len(apart)} of {len(frame)} faces like this)"
            )


def _points(frame: pd.DataFrame, prefix: str) -> np.ndarray:
    """(M, N, 2) float32."""
    count = sum(str(name).startswith("pred_x") for name in frame.columns)
    names = [f"{prefix}_{axis}{i}" for i in range(count) for axis in "xy"]
    return frame[names].to_numpy(dtype=np.float32).reshape(len(frame), count, 2)


def _check_frame(frame: pd.DataFrame) -> None:
    missing = [c for c in ("id", "index", "checkpoint", "pred_x0", "true_x0") if c not in frame.columns]
    if missing:
        raise DataError(f"the prediction frame lacks the columns {missing}; build it with prediction_frame.")
    checkpoints = sorted(frame["checkpoint"].unique())
    if len(checkpoints) != 1:
        raise DataError(
            f"the prediction frame holds the checkpoints {checkpoints}, exactly one is needed; select one with "
            "frame[frame['checkpoint'] == ...]."
        )


def _said_columns(said: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a model said, in the types of the columns. Beside a run that says it, what another does not is all NaN."""
    numbers = {name: np.asarray(values, dtype=np.float32) for name, values in said.items()}
    known = {name: values for name, values in numbers.items() if not np.isnan(values).all()}
    return {name: values != 0 if name == "failed" else values for name, values in known.items()}


def _columns(frame: pd.DataFrame, prefix: str) -> dict[str, np.ndarray]:
    return {str(c)[len(prefix) :]: frame[c].to_numpy() for c in frame.columns if str(c).startswith(prefix)}


def _measures(errors: np.ndarray, thresholds: Sequence[float]) -> dict[str, float | None]:
    measures = {NME: mean_error(errors) if len(errors) else None}
    for t in thresholds:
        measures[failure_rate_name(t)] = failure_rate(errors, t) if len(errors) else None
        measures[auc_name(t)] = auc(errors, t) if len(errors) else None
    return {name: _number(value) for name, value in measures.items()}


def _number(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
