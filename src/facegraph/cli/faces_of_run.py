"""Images of the faces that a run was scored on, from the data set that its config.yaml names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from facegraph import checkpoint as folders
from facegraph.compose import check_trusted, make
from facegraph.data.source import FaceSource, fingerprint
from facegraph.errors import FacegraphError
from facegraph.geometry.affine import transform_points
from facegraph.reports.comparison import Comparison
from facegraph.reports.comparison_page import captions_of, scheme_of
from facegraph.reports.run_labels import run_of
from facegraph.viz_pairs import write_pair_sheet

SHOWN = 16
_CLEAN = "none"


def open_source(folder: Path, test_hash: str) -> tuple[FaceSource | None, str]:
    """The test faces of a run and an empty text, or None and why they cannot be shown.

    Folders that eval.py wrote on another data set name none that could be opened; other faces than those scored
    (test_hash) are refused.
    """
    try:
        saved = folders.read_config(run_of(folder))
        check_trusted(saved)
        source = make(saved.dataset).test()
        found = fingerprint(source.table)
    except (FacegraphError, OSError, ImportError) as error:
        return None, str(error)
    if found != test_hash:
        return None, f"the data set that the run was trained on now holds other test faces (test_hash {found})."
    return source, ""


def draw_pairs(comparison: Comparison, path: Path, count: int = SHOWN) -> tuple[Path, str]:
    """Write the sheet of the faces whose errors differ most and return it with a note on its images.

    Images come from the data set of A's configuration, or of B's; without one the points are drawn on blank ground.
    """
    rows = comparison.largest(count)
    a, b = comparison.a, comparison.b
    parts = (a.faces.prediction, b.faces.prediction, a.faces.truth)
    first, second, truth = (part[rows].astype(np.float64) for part in parts)
    source, reasons = None, []
    for scores, at in ((a, a.faces.row), (b, b.faces.row)):
        source, reason = open_source(scores.folder, scores.result.protocol.test_hash)
        if source is not None:
            stored = at[rows]
            break
        reasons.append(f"{scores.label}: {reason}")
    note = f"The {len(rows)} faces with the largest difference: left A, right B; green truth, red prediction."
    image_of: Callable[[int], np.ndarray] | None = None
    if source is None:
        note += " Drawn without images, because no data set could be opened. " + " ".join(dict.fromkeys(reasons))
    else:
        opened = source
        image_of = lambda i: opened.image(int(stored[i]))  # noqa: E731
        matrices = [opened.image_to_stored(int(row)) for row in stored]
        first, second, truth = (_mapped(matrices, points) for points in (first, second, truth))
        hidden = {s.result.protocol.corruption for s in (a, b)} - {_CLEAN}
        if hidden:
            note += f" The models saw these faces made harder ({'; '.join(sorted(hidden))}), which is not shown."
    sheet = write_pair_sheet(image_of, first, second, truth, captions_of(comparison, rows), scheme_of(comparison), path)
    return sheet, note


def _mapped(matrices: Sequence[np.ndarray], points: np.ndarray) -> np.ndarray:
    """Points (M, N, 2), each face's by its own matrix."""
    return np.stack([transform_points(m, p) for m, p in zip(matrices, points, strict=True)])
