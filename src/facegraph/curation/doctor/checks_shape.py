"""Does the numbering fit the faces, and does every face look like one?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facegraph.curation.doctor.examination import Examination
from facegraph.curation.doctor.findings import ERROR, INFO, WARNING, Finding, some
from facegraph.data.scheme_file import FEWEST_FACES as FEWEST_FOR_FLIP
from facegraph.data.scheme_file import check_flip, mirrored_mean
from facegraph.errors import DataError
from facegraph.geometry.procrustes import align_to, procrustes

FLIP, SHAPES, EXCHANGED, EXCHANGED_PAIRS = "mirror list", "shapes", "left and right", "exchanged pairs"
WORST = 20
SUSPICIOUS = 5.0
"""Score of facegraph.curation.shape_residual from which a face is worth a look.

Measured: 6 of 2,566 faces of 300-W (three of them clearly wrong by the picture, the others stretched or covered mouths
and doubtful brows), 1 of 206 of WFLW (a brow landmark on the other brow)."""
CLEARLY_BETTER = 0.5
"""Share of its distance to the mean shape that is left when a face with left and right exchanged is put right."""
PAIR_BETTER = 0.7
"""The same for the two landmarks of one mirror pair.

Measured: without exchanges no pair of 2,566 faces of 300-W is below 0.98, and of 1,966 hard faces of WFLW 12 are below
0.7, all with scrambled mouths or brows. Any one pair exchanged in 20 to 513 faces of 300-W is found in at least 80 % of
them - least often the nearest ones, nostrils and middles of the upper lip - and mouth corners always; in half profiles
of WFLW the lips less often, 33 % at worst."""
ENOUGH_TO_JUDGE = 75
"""Faces below which the shapes of the others tell too little.

Measured with one landmark of one face of 300-W moved by 0.3 inter-ocular distances: the face exceeds SUSPICIOUS in 0,
7, 23, 47, 83, 97 % of the trials and has the largest score in 30, 70, 67, 77, 93, 97 % for 12, 20, 30, 50, 75, 300
faces (30 trials each)."""


def mirror_list(examination: Examination) -> list[Finding]:
    """The scheme's mirror list against the mean shape; values: deviation per landmark, share of the norm distance."""
    scheme = examination.store.info.scheme
    landmarks = examination.store.landmarks[examination.usable]
    if len(landmarks) < FEWEST_FOR_FLIP:
        return [Finding(INFO, FLIP, f"not checked: {len(landmarks)} faces, at least {FEWEST_FOR_FLIP} are needed")]
    mean, mirrored = mirrored_mean(scheme, landmarks)
    deviation = np.linalg.norm(mirrored - mean, axis=-1)
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


def exchanged(examination: Examination) -> list[Finding]:
    """Faces that fit the mean shape far better with left and right exchanged, all of them or those of some pairs.

    measured: share of the distance to the mean shape that is left then; of several pairs the smallest.
    """
    rows = np.flatnonzero(examination.usable)
    if len(rows) < FEWEST_FOR_FLIP:
        return []
    landmarks, flip = examination.store.landmarks[rows], list(examination.store.info.scheme.flip)
    aligned, mean = procrustes(landmarks)
    own = np.linalg.norm(aligned - mean, axis=(-2, -1))
    other = np.linalg.norm(align_to(aligned[:, flip], mean) - mean, axis=(-2, -1))
    left = other / np.maximum(own, 1e-9)
    whole = left < CLEARLY_BETTER
    found = np.flatnonzero(whole)
    pairs = _exchanged_pairs(examination, rows[~whole], aligned[~whole], mean)
    if not len(found):
        return pairs
    found = found[np.argsort(left[found], kind="stable")]
    named = some(examination.names(rows[found]), 3)
    message = (
        f"{len(found):,} of {len(rows):,} faces fit far better with left and right landmarks exchanged ({named}): "
        "their picture was mirrored without renumbering, or they are numbered from the other side. Correct them."
    )
    return [examination.finding(WARNING, EXCHANGED, message, rows[found], left[found]), *pairs]


def _exchanged_pairs(
    examination: Examination, rows: np.ndarray, aligned: np.ndarray, mean: np.ndarray
) -> list[Finding]:
    """Faces with the two landmarks of a mirror pair exchanged.

    Args:
        rows: (K,) of the store.
        aligned: (K, N, 2) their shapes, fitted to mean (N, 2).
    """
    first, left = pair_distances_left(aligned, mean, examination.store.info.scheme.flip)
    found = np.flatnonzero((left < PAIR_BETTER).any(axis=-1))
    if not len(found):
        return []
    found = found[np.argsort(left[found].min(axis=-1), kind="stable")]
    mirror = examination.store.info.scheme.flip
    per_pair = {
        f"{i} and {mirror[i]}": int(n) for i, n in zip(first, (left < PAIR_BETTER).sum(axis=0), strict=True) if n
    }
    per_pair = dict(sorted(per_pair.items(), key=lambda item: -item[1]))
    message = (
        f"{len(found):,} of {len(rows):,} faces fit far better with the numbers of a mirror pair exchanged "
        f"({some((f'{pair} on {n:,}' for pair, n in per_pair.items()), 3)}). Look at the picture and correct them."
    )
    values = {"landmarks": [int(i) for i in first[left[found].argmin(axis=-1)]], "pairs": per_pair}
    smallest = left[found].min(axis=-1)
    return [examination.finding(WARNING, EXCHANGED_PAIRS, message, rows[found], smallest, values)]


def pair_distances_left(aligned: np.ndarray, mean: np.ndarray, flip: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """What is left of the distance of each mirror pair to the mean shape when its two numbers are exchanged.

    Every pair alone: a pair that is exchanged on many faces looks like an ordinary deformation to shapes(), and hardly
    matters to the fit of the whole face.

    Args:
        aligned: (K, N, 2) shapes, fitted to mean (N, 2).
        flip: N mirror indices.

    Returns:
        (P,) the lower landmark of each of P pairs, and (K, P) distances after over before; above 1 where right.
    """
    mirror = np.asarray(flip)
    first = np.flatnonzero(mirror > np.arange(len(mirror)))
    second = mirror[first]

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(((aligned[:, a] - mean[first]) ** 2 + (aligned[:, b] - mean[second]) ** 2).sum(-1)))

    return first, distance(second, first) / np.maximum(distance(first, second), 1e-9)


def shapes(examination: Examination) -> list[Finding]:
    """The usable faces with the largest shape residual; measured: the score, values: the landmark that stands out."""
    residuals = examination.residuals
    if residuals is None:
        message = f"not checked: {int(examination.usable.sum())} faces are too few to tell what is usual"
        return [Finding(INFO, SHAPES, message)]
    rows = np.flatnonzero(examination.usable)
    rows = rows[np.argsort(-residuals.score[rows], kind="stable")]
    suspicious = int((residuals.score[rows] > SUSPICIOUS).sum())
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
    message += f"{residuals.score[listed[0]]:.1f}; median of all faces {np.median(residuals.score[rows]):.1f}"
    if len(rows) < ENOUGH_TO_JUDGE:
        message += f"; with fewer than {ENOUGH_TO_JUDGE} faces a wrong landmark may go unnoticed"
    return [*findings, _shape_finding(examination, message, listed, warn=False)]


def _shape_finding(examination: Examination, message: str, rows: np.ndarray, warn: bool) -> Finding:
    assert examination.residuals is not None
    landmark = examination.residuals.per_landmark[rows].argmax(axis=-1)
    values = {"landmarks": [int(i) for i in landmark]}
    score = examination.residuals.score[rows]
    return examination.finding(WARNING if warn else INFO, SHAPES, message, rows, score, values)
