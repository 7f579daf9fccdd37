"""What a confidence is worth: the error of the faces that are kept when the least sure ones are put aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from facegraph.errors import DataError
from facegraph.metrics.confidence import error_retention, failure_auroc, retention_area
from facegraph.reports.plots.drawing import new_figure, of_normaliser, style_of, write_picture

_ORACLE, _RANDOM = (0, (1, 1.5)), (0, (6, 3))


def plot_retention(
    faces: Mapping[str, tuple[np.ndarray, np.ndarray]], thresholds: Sequence[float], path: Path, normaliser: str
) -> Path:
    """Error-retention curve of each label, between that of the faces in the order of their error and without order.

    The legend has the area under each curve and the AUROC of finding faces with an error above each threshold; a
    threshold that all faces keep, or none, is left out.

    Args:
        faces: label -> per-face errors (M,) as fractions and confidences (M,), higher is surer.
        thresholds: of a failure, fractions. path: PNG to write; an existing one is replaced.
        normaliser: name of the distance the errors are fractions of.

    Raises:
        DataError: no label, a label without faces. ConfigError: a threshold that is not above zero.
    """
    if not faces:
        raise DataError("no confidences to draw; pass at least one label with its errors and confidences.")
    figure = new_figure(6.8, 4.6)
    axes = figure.add_subplot()
    for i, (label, (errors, confidence)) in enumerate(faces.items()):
        colour, first = style_of(i).colour, i == 0
        share, kept = error_retention(errors, confidence)
        text = _legend(label, errors, confidence, thresholds)
        axes.plot(100 * share, 100 * kept, color=colour, linewidth=1.5, label=text)
        best = error_retention(errors, -np.asarray(errors))[1]
        axes.plot(
            100 * share, 100 * best, color=colour, linestyle=_ORACLE, linewidth=1.0,
            label="in the order of the true error" if first else None,
        )  # fmt: skip
        axes.axhline(
            100 * float(np.mean(errors)), color=colour, linestyle=_RANDOM, linewidth=1.0,
            label="in random order" if first else None,
        )  # fmt: skip
    axes.set(xlim=(0, 100), xlabel="Faces kept, the surest first [%]")
    axes.set_ylim(bottom=0)
    axes.set(ylabel=f"Mean error of the kept faces [{of_normaliser(normaliser)}]")
    axes.set_title("Error against the share of faces kept", fontsize=11)
    axes.grid(color="0.9")
    axes.legend(loc="lower right", fontsize="small")
    return write_picture(figure, path)


def _legend(label: str, errors: np.ndarray, confidence: np.ndarray, thresholds: Sequence[float]) -> str:
    area = retention_area(errors, confidence)
    found = {t: failure_auroc(errors, confidence, t) for t in thresholds}
    parts = [f"above {100 * t:g} %: AUROC {value:.2f}" for t, value in found.items() if np.isfinite(value)]
    return f"{label}: area {100 * area:.2f} %" + "".join(f", {part}" for part in parts)
