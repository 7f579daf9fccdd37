"""What a cascade says after each of its iterations, recorded once, and what quitting by a threshold makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from facegraph.models.musica.settings import ALWAYS, NEVER
from facegraph.models.musica.study.quitting import QuitPoint

LOSSES = (0.01, 0.02, 0.05)
"""Shares by which quitting may make the NME of the validation faces worse, for which a threshold is chosen."""
_QUANTILES = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True, eq=False)
class StageRecord:
    """Faces that ran all T iterations.

    Attributes:
        errors: (M, T) true error after each in image px over the data set's first normaliser.
        predicted, own: (M, T) the error that the model predicts and the true one in the same unit, that of its training
            loss.
        attention: (M, T, P) weights of its P patches; None without attention.
    """

    errors: np.ndarray
    predicted: np.ndarray
    own: np.ndarray
    attention: np.ndarray | None = None

    @property
    def stages(self) -> int:
        return self.errors.shape[1]


def iterations_until(predicted: np.ndarray, threshold: float | None) -> np.ndarray:
    """(M,) number of iterations, 1 to T, of faces that quit once their predicted error (M, T) is below a threshold.

    None: all run to the end. NaN goes on. After the last iteration there is nothing to quit.
    """
    faces, stages = predicted.shape
    if threshold is None:
        return np.full(faces, stages)
    quits = predicted < threshold
    quits[:, -1] = True
    return quits.argmax(axis=1) + 1


def quit_point(
    test: StageRecord, validation: StageRecord | None, macs: Sequence[int], threshold: float | None
) -> QuitPoint:
    """What a threshold costs and saves.

    Args:
        macs: (T,) multiply-adds of a face that quits after 1, 2, ... iterations.
    """
    return _point(test, validation, macs, threshold, iterations_until(test.predicted, threshold))


def fixed_points(test: StageRecord, validation: StageRecord | None, macs: Sequence[int]) -> list[QuitPoint]:
    """All faces stopped after the same number of iterations, for each number."""
    points = []
    for number in range(1, test.stages + 1):
        all_alike = np.full(len(test.errors), number)
        point = _point(test, None, macs, None, all_alike)
        val = None if validation is None else float(validation.errors[:, number - 1].mean())
        points.append(replace(point, val_nme=val))
    return points


def _point(
    test: StageRecord,
    validation: StageRecord | None,
    macs: Sequence[int],
    threshold: float | None,
    iterations: np.ndarray,
) -> QuitPoint:
    shares = np.bincount(iterations - 1, minlength=test.stages) / len(iterations)
    val = None
    if validation is not None:
        val = float(_at(validation.errors, iterations_until(validation.predicted, threshold)).mean())
    return QuitPoint(
        threshold=threshold,
        nme=float(_at(test.errors, iterations).mean()),
        val_nme=val,
        iterations=float(iterations.mean()),
        macs=float(shares @ np.asarray(macs, dtype=np.float64)),
        shares=tuple(float(share) for share in shares),
    )


def _at(errors: np.ndarray, iterations: np.ndarray) -> np.ndarray:
    return errors[np.arange(len(errors)), iterations - 1]


def automatic_thresholds(validation: StageRecord) -> list[float | None]:
    """Never, quantiles of what is predicted for validation faces before the last iteration, always.

    Each lies in the middle between two predictions: at one of them rounding would decide when its face stops.
    """
    seen = validation.predicted[:, :-1]
    seen = np.unique(seen[np.isfinite(seen)])
    middles = (seen[1:] + seen[:-1]) / 2
    between = np.unique(np.quantile(middles, _QUANTILES, method="nearest")).tolist() if middles.size else []
    return [NEVER, *between, ALWAYS]


def chosen_thresholds(validation: StageRecord, thresholds: Sequence[float | None]) -> dict[float | None, str]:
    """Threshold -> the shares of LOSSES, in words, at which it has the fewest iterations on validation faces."""
    full = float(validation.errors[:, -1].mean())
    found: dict[float | None, list[str]] = {}
    runs = {t: iterations_until(validation.predicted, t) for t in thresholds}
    for loss in LOSSES:
        fits = [t for t, number in runs.items() if _at(validation.errors, number).mean() <= (1 + loss) * full]
        if fits:
            best = min(fits, key=lambda t: float(runs[t].mean()))
            found.setdefault(best, []).append(f"{100 * loss:g} %")
    return {t: ", ".join(losses) for t, losses in found.items()}
