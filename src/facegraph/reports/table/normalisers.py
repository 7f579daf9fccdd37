"""What --norm may be: a normaliser that the predictions have, or two landmarks of the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facegraph.errors import ConfigError
from facegraph.records import Predictions


def spelled(name: str, known: Sequence[str]) -> str:
    """The file's spelling of a normaliser: interpupil and inter-pupil are inter_pupil; other names as they are."""
    letters = {other.replace("_", ""): other for other in known}
    return letters.get(name.replace("_", "").replace("-", "").lower(), name)


def distances(faces: Predictions, name: str, folder: Path) -> np.ndarray:
    """(M,) px by a name in the file's spelling, or between two landmarks of the truth, such as 36,45.

    Raises:
        ConfigError: neither.
    """
    if name in faces.norm_distances:
        return faces.norm_distances[name]
    first, second = _pair(name, faces.truth.shape[1], sorted(faces.norm_distances), folder)
    truth = faces.truth.astype(np.float64)
    return np.asarray(np.linalg.norm(truth[:, first] - truth[:, second], axis=-1))


def _pair(text: str, landmarks: int, known: Sequence[str], folder: Path) -> tuple[int, int]:
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"{folder} knows no normaliser '{text}'; it has {', '.join(known)}. Name one of these, or two landmarks "
            f"from 0 to {landmarks - 1} with a comma between, such as 0,{landmarks - 1}."
        ) from None
    if first == second or not (0 <= first < landmarks and 0 <= second < landmarks):
        raise ConfigError(
            f"normaliser '{text}' must be two different landmarks of those that the faces of {folder} have, 0 to "
            f"{landmarks - 1}."
        )
    return first, second
