"""Does the numbering fit the faces, and does every face look like one?"""

from __future__ import annotations

import numpy as np

from facegraph.data.scheme_file import FEWEST_FACES as FEWEST_FOR_FLIP
from facegraph.data.scheme_file import check_flip
from facegraph.doctor.examination import Examination
from facegraph.doctor.findings import ERROR, INFO, WARNING, Finding, some
from facegraph.errors import DataError
from facegraph.geometry.procrustes import align_to, procrustes
from facegraph.landmarks import LandmarkScheme

FLIP, SHAPES, EXCHANGED = "mirror list", "shapes", "left and right"
WORST = 20
SUSPICIOUS = 5.0
"""Score of facegraph.data.shape_residual from which a face is worth a look.

Measured: 6 of 2,566 faces of 300-W (three of them clearly wrong by the picture, the others stretched or covered mouths
and doubtful brows), 1 of 206 of WFLW (a brow landmark on the other brow)."""
CLEARLY_BETTER = 0.5
"""Share of its distance to the mean shape that a face must lose by exchanging left and right to be named."""


def mirror_list(examination: Examination) -> list[Finding]:
    """The scheme's mirror list against the mean shape; values: deviation per landmark, share of the norm distance."""
    scheme = examination.store.info.scheme
    landmarks = examination.store.landmarks[examination.usable]
    if len(landmarks) < FEWEST_FOR_FLIP:
        return [Finding(INFO, FLIP, f"not checked: {len(landmarks)} faces, at least {FEWEST_FOR_FLIP} are needed")]
    mean, deviation = flip_deviation(scheme, landmarks)
    unit = float(scheme.distance(examination.normaliser, mean)) if examination.normaliser else 1.0
    deviation = deviation / max(unit, 1e-9)
    values = {"deviation": [round(float(d), 4) for d in deviation], "unit": examination.normaliser or "shape norm"}
    try:
        check_flip(scheme, landmarks)
    except DataError as error:
        return [Finding(ERROR, FLIP, str(error), values=values)]
    worst = int(deviation.argmax())
    message = (
        f"the mirrored mean shape lies on the mean shape within {deviation[worst]:.1%} of the "
        f"{examination.normaliser or 'norm'} distance (landmark {worst}; median {np.median(deviation):.1%})"
    )
    return [Finding(INFO, FLIP, message, values=values)]


def flip_deviation(scheme: LandmarkScheme, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean shape (N, 2) of faces (M, N, 2), centred and of unit norm, and how far (N,) each mirrored landmark lies
    from the one whose number it gets."""
    mean = procrustes(landmarks)[1]
    mirrored = align_to((mean * [-1, 1])[list(scheme.flip)], mean)
    return mean, np.linalg.norm(mirrored - mean, axis=-1)


def exchanged(examination: Examination) -> list[Finding]:
    """Faces that fit the mean shape far better with left and right exchanged; measured: share of the distance left."""
    rows = np.flatnonzero(examination.usable)
    if len(rows) < FEWEST_FOR_FLIP:
        return []
    landmarks, flip = examination.store.landmarks[rows], list(examination.store.info.scheme.flip)
    aligned, mean = procrustes(landmarks)
    own = np.linalg.norm(aligned - mean, axis=(-2, -1))
    other = np.linalg.norm(align_to(aligned[:, flip], mean) - mean, axis=(-2, -1))
    left = other / np.maximum(own, 1e-9)
    found = np.flatnonzero(left < CLEARLY_BETTER)
    if not len(found):
        return []
    found = found[np.argsort(left[found], kind="stable")]
    ids = tuple(str(examination.ids[row]) for row in rows[found])
    message = (
        f"{len(ids):,} of {len(rows):,} faces fit far better with left and right landmarks exchanged ({some(ids, 3)}): "
        "their picture was mirrored without renumbering, or they are numbered from the other side. Correct them."
    )
    return [Finding(WARNING, EXCHANGED, message, ids, {}, tuple(round(float(v), 4) for v in left[found]))]


def shapes(examination: Examination) -> list[Finding]:
    """The faces with the largest shape residual; measured: the score, values: the landmark that stands out."""
    residuals = examination.residuals
    if residuals is None:
        message = f"not checked: {int(examination.usable.sum())} faces are too few to tell what is usual"
        return [Finding(INFO, SHAPES, message)]
    rows = np.argsort(-residuals.score, kind="stable")
    suspicious = int((residuals.score > SUSPICIOUS).sum())
    findings = []
    if suspicious:
        message = (
            f"{suspicious:,} of {len(rows):,} faces have a landmark more than {SUSPICIOUS:g} times as "
            "far from where its face puts it as is usual. Look at the picture of the worst: wrong annotations are few, "
            "rare poses are fine."
        )
        findings.append(_shape_finding(examination, message, rows[:suspicious], warn=True))
    listed = rows[:WORST]
    message = f"the {len(listed)} most unusual shapes, scores {residuals.score[listed[-1]]:.1f} to "
    message += f"{residuals.score[listed[0]]:.1f}; median of all faces {np.median(residuals.score):.1f}"
    return [*findings, _shape_finding(examination, message, listed, warn=False)]


def _shape_finding(examination: Examination, message: str, rows: np.ndarray, warn: bool) -> Finding:
    assert examination.residuals is not None
    landmark = examination.residuals.per_landmark[rows].argmax(axis=-1)
    return Finding(
        WARNING if warn else INFO,
        SHAPES,
        message,
        tuple(str(examination.ids[row]) for row in rows),
        {"landmarks": [int(i) for i in landmark]},
        tuple(round(float(s), 3) for s in examination.residuals.score[rows]),
    )
