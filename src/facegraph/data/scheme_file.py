"""Landmark schemes by name or from a YAML file, and a check of their mirror pairs against real landmarks."""

from __future__ import annotations

from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np

from facegraph.errors import ConfigError, DataError
from facegraph.files import plain_yaml
from facegraph.geometry.procrustes import align_to, procrustes
from facegraph.landmarks import MAX_LANDMARKS, SCHEMES, Contour, LandmarkScheme

_KEYS = ("name", "num_landmarks", "flip", "mirror_pairs", "normalisers", "contours")

FEWEST_FACES = 20
FLIP_TOLERANCE = 0.005


def load_scheme(name_or_path: str) -> LandmarkScheme:
    """A scheme of facegraph.landmarks by name, or one described in a YAML file.

    Keys of the file:
        name: as results print it.
        num_landmarks: N.
        flip: N indices, landmark i is landmark flip[i] of the mirror image; or instead
        mirror_pairs: pairs [i, j] of landmarks that mirror each other; landmarks in no pair lie on the middle line.
        normalisers: name: [[indices], [indices]], the distance between the mean points of two groups.
        contours: optional, name: {indices: [...], closed: true or false}, the lines that draw the face.

    Raises:
        ConfigError: no such name or file, or a file with a wrong key or value.
    """
    if name_or_path in SCHEMES:
        return SCHEMES[name_or_path]
    path = Path(str(name_or_path)).expanduser()  # a name in digits comes as a number
    if not path.is_file():
        raise ConfigError(
            f"landmark scheme '{name_or_path}' is neither one of {sorted(SCHEMES)} nor a file. Set dataset.scheme."
            "name_or_path to one of these names, or to the path of a YAML file that describes your numbering."
        )
    try:
        content = plain_yaml.load(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Correct its access rights.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no readable YAML file: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}; a mapping with the keys {list(_KEYS)} is needed.")
    unknown = [key for key in content if key not in _KEYS]
    if unknown:
        raise ConfigError(f"{path}: unknown key {shortened(unknown)}; allowed are {list(_KEYS)}.")
    try:
        return LandmarkScheme(
            name=str(_get(path, content, "name", str)),
            flip=_flip(path, content),
            normalisers=_normalisers(path, content),
            contours=_contours(path, content),
        )
    except ConfigError as error:
        prefix = "" if str(error).startswith(str(path)) else f"{path}: "
        raise ConfigError(f"{prefix}{error}") from error


def _get(path: Path, content: dict[str, Any], key: str, kind: type) -> Any:
    value = content.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{path}: key '{key}' is {shortened(value)}; {_KINDS[kind]} is needed.")
    return value


_KINDS = {str: "a text", int: "a whole number", list: "a list", dict: "a mapping"}


def _indices(path: Path, key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in value):
        raise ConfigError(
            f"{path}: key '{key}' is {shortened(value)}; a list of landmark indices (whole numbers) is needed."
        )
    return tuple(value)


def _flip(path: Path, content: dict[str, Any]) -> tuple[int, ...]:
    n = _get(path, content, "num_landmarks", int)
    if not 1 <= n <= MAX_LANDMARKS:
        raise ConfigError(f"{path}: key 'num_landmarks' is {n}; 1 to {MAX_LANDMARKS} are possible.")
    if ("flip" in content) == ("mirror_pairs" in content):
        raise ConfigError(f"{path}: give one of the keys 'flip' ({n} indices) and 'mirror_pairs' (pairs), not both.")
    if "flip" in content:
        flip = _indices(path, "flip", content["flip"])
        if len(flip) != n:
            raise ConfigError(f"{path}: key 'flip' has {len(flip)} indices but num_landmarks is {n}. List one each.")
        return flip
    flip_list = list(range(n))
    seen: set[int] = set()
    for entry in _get(path, content, "mirror_pairs", list):
        pair = _indices(path, "mirror_pairs", entry)
        if len(pair) != 2 or len(set(pair)) != 2 or not all(0 <= i < n for i in pair) or seen & set(pair):
            raise ConfigError(
                f"{path}: key 'mirror_pairs' holds {shortened(list(pair))}; two different indices in 0..{n - 1} are "
                "needed, each landmark in one pair at most."
            )
        seen |= set(pair)
        flip_list[pair[0]], flip_list[pair[1]] = pair[1], pair[0]
    return tuple(flip_list)


def _normalisers(path: Path, content: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    normalisers = {}
    for name, groups in _get(path, content, "normalisers", dict).items():
        key = f"normalisers.{name}"
        if not isinstance(groups, list) or len(groups) != 2:
            raise ConfigError(
                f"{path}: key '{key}' is {shortened(groups)}; two lists of indices are needed, as [[60], [72]]."
            )
        normalisers[str(name)] = (_indices(path, key, groups[0]), _indices(path, key, groups[1]))
    return normalisers


def _contours(path: Path, content: dict[str, Any]) -> tuple[Contour, ...]:
    contours = []
    for name, value in (_get(path, content, "contours", dict) if "contours" in content else {}).items():
        key = f"contours.{name}"
        if not isinstance(value, dict) or not set(value) <= {"indices", "closed"} or "indices" not in value:
            raise ConfigError(
                f"{path}: key '{key}' is {shortened(value)}; {{indices: [...], closed: false}} is needed."
            )
        closed = value.get("closed", False)
        if not isinstance(closed, bool):
            raise ConfigError(f"{path}: key '{key}.closed' is {shortened(closed)}; true or false is needed.")
        contours.append(Contour(str(name), _indices(path, f"{key}.indices", value["indices"]), closed))
    return tuple(contours)


def mirrored_mean(scheme: LandmarkScheme, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean shape (N, 2) of faces (M, N, 2), centred and of unit norm, and its mirror image, renumbered by scheme.flip
    and turned onto it."""
    mean = procrustes(landmarks)[1]
    return mean, align_to((mean * [-1, 1])[list(scheme.flip)], mean)


def check_flip(scheme: LandmarkScheme, landmarks: np.ndarray) -> None:
    """Check the scheme's mirror list against faces: the mirrored mean shape must fit best as the scheme numbers it.

    The Procrustes mean of the faces is mirrored, renumbered by scheme.flip and rotated onto itself. For every two
    landmarks the summed squared distance must not fall by more than FLIP_TOLERANCE when their numbers are exchanged;
    the unit is the mean squared distance of a landmark from the centre of the shape. Asking for the better of two
    numberings, not for a small distance, lets sets of turned faces pass.

    Measured on 2,012 faces of 300-W: with the right list the largest fall is below 0 for any 20 random faces and 0.0016
    for the 50 most turned ones; the least of all wrong exchanges of two pairs (inner and outer mouth corners) falls by
    0.0125, exchanged eye corners by 0.43. Fewer than FEWEST_FACES faces are not checked.

    Args:
        landmarks: (M, N, 2) in any unit.

    Raises:
        DataError: a better numbering exists; the message names the landmarks.
    """
    if len(landmarks) < FEWEST_FACES:
        return
    mean, mirrored = mirrored_mean(scheme, landmarks)
    squared = scheme.num_landmarks * ((mirrored[:, None] - mean[None]) ** 2).sum(axis=-1)
    own = np.diag(squared)
    fall = np.triu(own[:, None] + own[None] - squared - squared.T, k=1)
    if fall.max() <= FLIP_TOLERANCE:
        return
    worst = np.argsort(fall, axis=None)[::-1][:3]
    pairs = [np.unravel_index(k, fall.shape) for k in worst if fall.flat[k] > FLIP_TOLERANCE]
    named = "; ".join(f"{i} and {j} (listed mirrors {scheme.flip[i]} and {scheme.flip[j]})" for i, j in pairs)
    raise DataError(
        f"scheme '{scheme.name}': its mirror list does not fit the {len(landmarks)} annotated faces. The mirrored mean "
        f"face fits better with these landmarks exchanged: {named}. Correct flip or mirror_pairs, or the order of the "
        "points in the annotations."
    )
