"""Two runs on the same faces: where one beats the other, as numbers.

Convention: errors are fractions of the normalising distance. A difference is B less A, so a negative one is in B's
favour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from facegraph.errors import DataError, RunError
from facegraph.geometry.completion import labelled_points
from facegraph.metrics.bootstrap import paired_test
from facegraph.metrics.functional import mean_where_true, point_errors
from facegraph.records import Predictions, RunResult, predictions_of, read_predictions
from facegraph.reports.table.normalisers import distances, spelled

ALL = "all"
TIE = 1e-4
"""Errors of a face that differ by less, 0.01 % of the normalising distance, are a tie: they print alike."""


@dataclass(frozen=True)
class Scores:
    """A run's faces under one checkpoint and one normaliser.

    Args:
        label: as figures and tables name the run.
        faces: as predictions.parquet has them.
        point_errors: (M, N) fractions.
    """

    label: str
    folder: Path
    result: RunResult
    normaliser: str
    faces: Predictions
    point_errors: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """(M,) error of each face."""
        return mean_where_true(self.point_errors, self.faces.truth, 1)

    @property
    def landmark_errors(self) -> np.ndarray:
        """(N,) mean error of each landmark; NaN for one that no face has."""
        return mean_where_true(self.point_errors, self.faces.truth, 0)


@dataclass(frozen=True)
class Difference:
    """Two runs on some of the faces.

    Args:
        name: attribute, or `ALL`.
        count: faces.
        a, b: mean errors.
        difference, low, high: b - a and its 95 % interval over test faces.
        p: two-sided, paired. Interval and p are NaN for too few faces.
        b_better, ties, a_better: numbers of faces.
    """

    name: str
    count: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    b_better: int
    ties: int
    a_better: int


@dataclass(frozen=True)
class Comparison:
    """Two runs, B's faces in A's order.

    cards: fields of the protocol cards that differ, as (A's, B's).

    Args:
        differences: all faces first, then every attribute that some face has.
    """

    a: Scores
    b: Scores
    differences: tuple[Difference, ...]
    cards: dict[str, tuple[object, object]]

    @property
    def change(self) -> np.ndarray:
        """(M,) error of each face under B less that under A."""
        return self.b.errors - self.a.errors

    def largest(self, count: int) -> np.ndarray:
        """Rows of the faces whose errors differ most, whoever wins; faces without an error come first."""
        return np.argsort(-np.nan_to_num(np.abs(self.change), nan=np.inf), kind="stable")[:count]


def read_scores(folder: Path, checkpoint: str, normaliser: str | None = None, label: str | None = None) -> Scores:
    """Scores of a run folder, or of a folder that eval.py wrote.

    Args:
        checkpoint: last or best.
        normaliser: one that the predictions have in any spelling, or two landmarks such as 36,45; None for the run's
            own.
        label: None for the folder's name.

    Raises:
        RunError: the folder is not finished, or has no predictions of that checkpoint.
        ConfigError: it lacks the normaliser.
    """
    result, frame = RunResult.read(folder), read_predictions(folder)
    known = sorted(set(frame["checkpoint"]))
    if checkpoint not in known:
        raise RunError(f"{folder} has no predictions of '{checkpoint}', but of {', '.join(known)}; give --checkpoint.")
    faces = predictions_of(frame[frame["checkpoint"] == checkpoint])
    name = spelled(normaliser or result.protocol.normaliser, list(faces.norm_distances))
    errors = point_errors(faces.prediction, faces.truth, distances(faces, name, Path(folder))).astype(np.float64)
    return Scores(label or Path(folder).resolve().name, Path(folder), result, name, faces, errors)


def compare(a: Scores, b: Scores) -> Comparison:
    """What changes from A to B, on all faces and on those of each attribute.

    Raises:
        DataError: the runs were scored on different faces or by different normalisers.
    """
    cards = a.result.protocol.differences(b.result.protocol)
    if "test_hash" in cards or set(a.faces.ids) != set(b.faces.ids):
        where = [f"{s.result.protocol.dataset} {s.result.protocol.split} ({len(s.faces.ids)} faces)" for s in (a, b)]
        hashes = [s.result.protocol.test_hash for s in (a, b)]
        why = (
            f"test_hash {hashes[0]} and {hashes[1]}, so these are not the same faces or not the same annotations"
            if hashes[0] != hashes[1]
            else "of one test set, of which one run scored a part only, as debug=fast does"
        )
        raise DataError(
            f"{a.folder} was scored on {where[0]} and {b.folder} on {where[1]}: {why}. Score one of the runs on the "
            "other's data set with eval.py and compare the folder that it writes."
        )
    if a.normaliser != b.normaliser:
        raise DataError(
            f"errors of {a.folder} are fractions of {a.normaliser}, those of {b.folder} of {b.normaliser}; give one as "
            "--norm."
        )
    places = {name: i for i, name in enumerate(b.faces.ids)}
    b = _reordered(b, np.array([places[name] for name in a.faces.ids]))
    subsets = {ALL: np.ones(len(a.faces.ids), dtype=bool), **a.faces.attributes}
    x, y = a.errors, b.errors
    differences = tuple(_difference(name, x[flag], y[flag]) for name, flag in subsets.items() if flag.any())
    return Comparison(a, b, differences, cards)


def _reordered(scores: Scores, order: np.ndarray) -> Scores:
    faces = scores.faces
    moved = Predictions(
        ids=tuple(faces.ids[i] for i in order),
        row=faces.row[order],
        prediction=faces.prediction[order],
        truth=faces.truth[order],
        norm_distances={name: v[order] for name, v in faces.norm_distances.items()},
        attributes={name: v[order] for name, v in faces.attributes.items()},
        checkpoint=faces.checkpoint,
        said={name: v[order] for name, v in faces.said.items()},
    )
    return replace(scores, faces=moved, point_errors=scores.point_errors[order])


def _difference(name: str, a: np.ndarray, b: np.ndarray) -> Difference:
    test, change = paired_test(b, a), b - a
    return Difference(
        name, len(a), float(a.mean()), float(b.mean()), test.difference, test.low, test.high, test.p,
        b_better=int((change <= -TIE).sum()),
        ties=int((np.abs(change) < TIE).sum()),
        a_better=int((change >= TIE).sum()),
    )  # fmt: skip


def face_table(comparison: Comparison) -> pd.DataFrame:
    """A row per face, the largest gain of B first: id, row, error_a, error_b, difference (fractions), attributes."""
    a = comparison.a
    table = pd.DataFrame(
        {
            "id": list(a.faces.ids),
            "row": a.faces.row,
            "error_a": a.errors,
            "error_b": comparison.b.errors,
            "difference": comparison.change,
            **a.faces.attributes,
        }
    )
    return table.sort_values("difference", kind="stable", ignore_index=True)


def landmark_table(comparison: Comparison) -> pd.DataFrame:
    """A row per landmark: landmark, error_a, error_b, difference (mean fractions), standard_error of the difference."""
    a, b, truth = comparison.a, comparison.b, comparison.a.faces.truth
    change = b.point_errors - a.point_errors
    mean, count = mean_where_true(change, truth, 0), labelled_points(truth).sum(axis=0)
    deviation = np.sqrt(mean_where_true((change - mean) ** 2, truth, 0) / np.where(count > 1, count - 1, np.nan))
    return pd.DataFrame(
        {
            "landmark": np.arange(len(mean)),
            "error_a": a.landmark_errors,
            "error_b": b.landmark_errors,
            "difference": mean,
            "standard_error": deviation,
        }
    )


def difference_table(comparison: Comparison) -> pd.DataFrame:
    """A row per subset with the fields of `Difference`."""
    return pd.DataFrame([vars(d) for d in comparison.differences])
