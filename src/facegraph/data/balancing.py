"""Pose-based data balancing: rare poses are drawn more often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facegraph.errors import ConfigError
from facegraph.geometry.procrustes import procrustes


@dataclass(frozen=True)
class PoseBalancing:
    """Repeat training faces so that each bin of a pose score is drawn about equally often.

    The score is the first principal component of the Procrustes-aligned shapes, with its sign, so left and right
    profiles fall into different bins. Source: Feng et al. 2018 (Wing loss), section 5; the cap is ours: a bin of three
    faces would otherwise have each drawn hundreds of times per epoch.

    bins: of equal width between the smallest and the largest score. max_repeat: most draws of one face per epoch.

    Raises:
        ConfigError: bins or max_repeat below 1.
    """

    bins: int = 9
    max_repeat: int = 10

    def __post_init__(self) -> None:
        if self.bins < 1 or self.max_repeat < 1:
            raise ConfigError(f"balancing with bins={self.bins}, max_repeat={self.max_repeat}: both must be 1 or more.")

    def scores(self, landmarks: np.ndarray) -> np.ndarray:
        """(M,) pose scores of landmarks (M, N, 2); their unit and overall sign mean nothing."""
        return _first_component(procrustes(landmarks)[0])

    def repeats(self, landmarks: np.ndarray) -> np.ndarray:
        """(M,) int64, 1 to max_repeat: round(count of the fullest bin / count of the face's bin), rounded half to even.

        landmarks: (M, N, 2) in any unit.
        """
        return self.repeats_of(self.scores(landmarks))

    def repeats_of(self, scores: np.ndarray) -> np.ndarray:
        """(M,) int64, the repeats of faces with these scores (M,)."""
        low, high = scores.min(), scores.max()
        if high - low < 1e-12:
            return np.ones(len(scores), dtype=np.int64)
        bin_of = np.minimum((self.bins * (scores - low) / (high - low)).astype(int), self.bins - 1)
        counts = np.bincount(bin_of, minlength=self.bins)
        ratio = np.rint(counts.max() / counts[bin_of]).astype(np.int64)
        return np.clip(ratio, 1, self.max_repeat)


@dataclass(frozen=True)
class ReleasedPoseBalancing(PoseBalancing):
    """Balancing as in the released SCC code: raw landmarks without alignment, absolute score (left and right together).

    Meant for faces that were cut out and aligned beforehand, as theirs were. Deviation: an empty bin does no harm, and
    max_repeat caps the repeats, which the code does not; 100 keeps all but the emptiest bins as released.
    """

    max_repeat: int = 100

    def scores(self, landmarks: np.ndarray) -> np.ndarray:
        return np.abs(_first_component(landmarks))


def _first_component(shapes: np.ndarray) -> np.ndarray:
    flat = np.asarray(shapes, dtype=np.float64).reshape(len(shapes), -1)
    centred = flat - flat.mean(axis=0)
    # eigenvectors of the (2N, 2N) scatter matrix: M may be large, 2N is not
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    return centred @ direction
