"""Images of the faces that a run was scored on, from the data set that its config.yaml names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facegraph.data.source import FaceSource, fingerprint
from facegraph.errors import ConfigError, FacegraphError
from facegraph.geometry.affine import transform_points
from facegraph.reports.compare.comparison import Comparison, Scores
from facegraph.reports.compare.run_labels import run_of
from facegraph.reports.compare.text import captions_of, scheme_of
from facegraph.runs.compose import compose, make
from facegraph.runs.configuration import CONFIG_FILE, read_config
from facegraph.runs.trust import TARGET
from facegraph.viz.pairs import write_pair_sheet

if TYPE_CHECKING:
    from omegaconf import DictConfig

SHOWN = 16
_CLEAN = "none"
_OF_DATASET = re.compile(r"dataset(\.\w+)*=")


def open_source(scores: Scores) -> tuple[FaceSource | None, str]:
    """The faces that a run was scored on and an empty text, or None and why they cannot be shown.

    Other faces than those scored (test_hash) are refused.
    """
    wanted = scores.result.protocol.test_hash
    try:
        dataset = _dataset(scores)
        if dataset is None:
            return None, f"{run_of(scores.folder) / CONFIG_FILE} names no data set."
        source = make(dataset).test()
        found = fingerprint(source.table)
    except (FacegraphError, OSError, ImportError) as error:
        return None, str(error)
    if found != wanted:
        return None, f"the data set at hand has other test faces (test_hash {found}) than were scored ({wanted})."
    return source, ""


def _dataset(scores: Scores) -> DictConfig | None:
    """Configuration of the data set scored: of the run, or the one that eval.py was told to use instead.

    Raises:
        ConfigError: what result.json says that eval.py was told would build something or read it from elsewhere.
    """
    chosen = [override for override in scores.result.provenance.overrides if _OF_DATASET.match(override)]
    run = run_of(scores.folder)
    for override in chosen:
        if TARGET in override or "${" in override:
            raise ConfigError(f"{scores.folder} was scored with {override}, which is used in no comparison.")
    if run != scores.folder.resolve() and any(o.startswith("dataset=") for o in chosen):
        return compose([*chosen, "box=landmarks"], "eval").dataset
    return read_config(run).get("dataset")


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
        source, reason = open_source(scores)
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
