"""Balancing: how often each training face is drawn per epoch, by its pose or by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from facegraph.data.source import FaceTable
from facegraph.errors import ConfigError, DataError
from facegraph.geometry.procrustes import procrustes

# the set's name stands before the face's too, as nowhere in 300-W: afw/134212_1.jpg
_NAME_OF_300W_LP = re.compile(r"(AFW|HELEN|IBUG|LFPW)(_Flip)?/\1_[^/]+_(?P<pose>[0-9]+)\.\w+", re.IGNORECASE)
_LAST_POSE = 17


class Balancing(Protocol):
    """What data.balancing may be."""

    def draws(self, table: FaceTable) -> np.ndarray:
        """(M,) int64, 1 or more: draws per epoch of each face of the training table."""
        ...


@dataclass(frozen=True)
class PoseBalancing:
    """Repeat training faces so that each bin of a pose score is drawn about equally often.

    The score is the first principal component of the Procrustes-aligned shapes, with its sign, so left and right
    profiles fall into different bins. Source: Feng et al. 2018 (Wing loss), section 5; the cap is ours: a bin of three
    faces would otherwise have each drawn hundreds of times per epoch.

    Attributes:
        bins: of equal width between the smallest and the largest score.
        max_repeat: most draws of one face per epoch.

    Raises:
        ConfigError: bins or max_repeat below 1.
    """

    bins: int = 9
    max_repeat: int = 10

    def __post_init__(self) -> None:
        if self.bins < 1 or self.max_repeat < 1:
            raise ConfigError(f"balancing with bins={self.bins}, max_repeat={self.max_repeat}: both must be 1 or more.")

    def draws(self, table: FaceTable) -> np.ndarray:
        """See Balancing."""
        return self.repeats(table.landmarks)

    def scores(self, landmarks: np.ndarray) -> np.ndarray:
        """(M,) pose scores of landmarks (M, N, 2); their unit and overall sign mean nothing."""
        return _first_component(procrustes(landmarks)[0])

    def repeats(self, landmarks: np.ndarray) -> np.ndarray:
        """(M,) int64, 1 to max_repeat: round(count of the fullest bin / count of the face's bin), rounded half to even.

        Args:
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


@dataclass(frozen=True)
class LargePoseBalancing:
    """Draw a picture of 300W-LP ceil(most * decay^number) times, once at least; number is the last one of its name, in
    steps of 5 degrees of yaw away from the photograph: HELEN/HELEN_1629243_1_12.jpg has 12.

    Source: ibug's FAN, experiments on 300W-LP. They weigh the loss of a picture by this number (over its mean); here it
    is drawn that often. With all 61,225 pictures an epoch is about twice as long for it.

    Attributes:
        most: draws of the picture with the least turn.
        decay: per step.

    Raises:
        ConfigError: most below 1, or decay not in (0, 1].
    """

    most: int = 5
    decay: float = 0.8

    def __post_init__(self) -> None:
        if self.most < 1 or not 0 < self.decay <= 1:
            raise ConfigError(
                f"balancing with most={self.most}, decay={self.decay}: most must be 1 or more and decay lie in (0, 1]; "
                "FAN has 5 and 0.8."
            )

    def draws(self, table: FaceTable) -> np.ndarray:
        """See Balancing.

        Raises:
            DataError: a name is not one of 300W-LP. Names of 300-W and WFLW end in a number too, that of the face.
        """
        # rounded first: 5 * 0.8 may come out a little above 4
        repeats = [np.ceil(round(self.most * self.decay ** _pose_number(name), 9)) for name in table.ids]
        return np.maximum(np.asarray(repeats, dtype=np.int64), 1)


def _pose_number(name: str) -> int:
    found = _NAME_OF_300W_LP.fullmatch(name)
    if found is None or int(found["pose"]) > _LAST_POSE:
        raise DataError(
            f"the training face '{name}' is not numbered by its pose as those of 300W-LP are, 0 to {_LAST_POSE} at the "
            "end of names such as HELEN/HELEN_1629243_1_12.jpg. Choose dataset=300wlp, or data.balancing=null."
        )
    return int(found["pose"])


def _first_component(shapes: np.ndarray) -> np.ndarray:
    flat = np.asarray(shapes, dtype=np.float64).reshape(len(shapes), -1)
    centred = flat - flat.mean(axis=0)
    # eigenvectors of the (2N, 2N) scatter matrix: M may be large, 2N is not
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    return centred @ direction
