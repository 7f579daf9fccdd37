"""Published FAN weights: what architecture a file holds, read off its names and shapes.

Fits the 2D weights of 1adrianb/face-alignment and hhj1897/face_alignment (2dfan2, 2dfan4, 2dfan2_alt): the names are
those of facegraph's model. What a file cannot tell (pooling, strides of the stem) is said in the notes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import torch
from torch import Tensor, nn

from facegraph.codecs.decoders import Centroid
from facegraph.codecs.heatmap import HeatmapCodec
from facegraph.errors import ConfigError, RunError
from facegraph.files import plain_tensors
from facegraph.landmarks import SCHEMES, LandmarkScheme
from facegraph.models.fan.hourglass import POOLS
from facegraph.models.fan.model import FAN
from facegraph.models.released import ReleasedWeights
from facegraph.structures import ShapeStatistics

INPUT_SIZE = 256
DATASETS = {"ibug68": "300w", "wflw98": "wflw", "cofw29": "cofw"}
"""Scheme -> conf/dataset."""
FULL_STACKS = 4
"""2dfan4, with 4 stacks, averages where 2dfan2 and 2dfan2_alt take the maximum."""
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_STATISTICS = ("mean_shape", "correlation")
_NEEDED = ("conv1.weight", "conv4.conv1.weight", "l0.weight")
_MOST_NAMED, _LONGEST_NAME = 5, 100
_MOST_WRAPPINGS = 4
_LIMITS = {"num_modules": 8, "num_features": 512, "depth": 5, "stem_kernel": 15}
"""Of an architecture, before a model of it is built: names of weights cost a file nothing."""


@dataclass(frozen=True)
class Architecture:
    """What names and shapes tell.

    Attributes:
        num_landmarks: maps per stack; the rest as FAN's arguments.
    """

    num_landmarks: int
    num_modules: int
    num_features: int
    depth: int
    norm: str
    stem_kernel: int

    def __str__(self) -> str:
        return (
            f"{self.num_modules} stacks of width {self.num_features} and depth {self.depth}, {self.num_landmarks} "
            f"landmarks, {self.norm} norm, {self.stem_kernel} x {self.stem_kernel} stem"
        )


def read_released(path: str | Path, pool: str | None = None) -> ReleasedWeights:
    """Published weights as facegraph's FAN takes them.

    Args:
        path: a .pth with a state dict, possibly below 'state_dict' or the like and with names that begin with
            'module.'.
        pool: max | avg, which no weight shows; None for that of the published model with as many stacks: avg for 4, max
            for others.

    Raises:
        RunError: the file cannot be read, is no FAN, or one that the model cannot be; the message says why.
        ConfigError: an unknown pool, or landmarks of a number that no scheme has.
    """
    path = Path(path)
    if pool is not None and pool not in POOLS:
        raise ConfigError(f"pool='{pool}' is unknown; use {' or '.join(POOLS)}.")
    found = _read(path)
    architecture = _architecture(path, found)
    scheme = _scheme(path, architecture.num_landmarks)
    chosen = pool or ("avg" if architecture.num_modules == FULL_STACKS else "max")
    state, notes = _matched(path, found, architecture, scheme, chosen)
    if pool is None:
        notes.append(
            f"pooling is {chosen}, as in the published model of {architecture.num_modules} stacks; weights do not "
            "show it. If the errors are large, try the other one."
        )
    notes.append("stem: stride 2 and pooling 2 on a crop of 256 px, as published; weights do not show these.")
    notes.append("crop: 1 / 0.55 of the box's mean side; the detector behind the authors' boxes is not known.")
    notes.append(
        "test_time_flip is true: the authors score the mean over a face and its mirror image, at twice the cost; "
        "eval.py test_time_flip=false takes the face alone."
    )
    return ReleasedWeights(
        state=state, overrides=_overrides(architecture, chosen, scheme), scheme=scheme, mean_shape=None,
        notes=tuple(notes),
    )  # fmt: skip


def _read(path: Path) -> dict[str, Tensor]:
    """Names -> tensors, unwrapped."""
    try:
        loaded = plain_tensors.load(path)
    except FileNotFoundError:
        raise RunError(f"there is no file {path}; give the .pth of a published FAN, such as 2dfan2.pth.") from None
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read as plain tensors ({error}). Download it again; of a TorchScript archive, save "
            "torch.jit.load(file).state_dict() with torch.save first."
        ) from error
    state = _unwrapped(loaded)
    if not state:
        raise RunError(
            f"{path} holds {_shown(loaded)}, not a state dict (names and tensors), nor one below "
            f"{', '.join(_WRAPPERS)}. Give the .pth of a published FAN."
        )
    return {name.removeprefix("module."): value for name, value in state.items()}


def _unwrapped(loaded: Any) -> dict[str, Tensor]:
    """The tensors of the wrapping that has most: a checkpoint may hold single ones and empty wrappings beside them."""
    level, found = [loaded], []
    for _ in range(_MOST_WRAPPINGS):
        level = [item for item in level if isinstance(item, Mapping)]
        found += [{str(n): value for n, value in item.items() if isinstance(value, Tensor)} for item in level]
        level = [item[name] for item in level for name in _WRAPPERS if name in item]
    return max(found, key=len, default={})


def _names(names: list[str]) -> str:
    """The first of them, each as long as a name of a weight may be."""
    return ", ".join(name[:_LONGEST_NAME] for name in names[:_MOST_NAMED])


def _shown(loaded: Any) -> str:
    if isinstance(loaded, Mapping):
        return f"a dictionary with {', '.join(map(shortened, list(loaded)[:_MOST_NAMED])) or 'nothing'}"
    return f"a {type(loaded).__name__}"


def _architecture(path: Path, state: Mapping[str, Tensor]) -> Architecture:
    missing = [name for name in _NEEDED if name not in state or state[name].ndim != 4]
    levels = _numbers(r"m0\.b1_(\d{1,9})\.conv1\.weight", state)
    if not levels:
        missing.append("m0.b1_1.conv1.weight")
    if missing:
        raise RunError(
            f"{path} is no FAN: {', '.join(missing)} of its weights is missing or no convolution. It has "
            f"{len(state)} tensors, the first are {_names(list(state))}."
        )
    found = Architecture(
        num_landmarks=state["l0.weight"].shape[0],
        num_modules=len(_numbers(r"l(\d{1,9})\.weight", state)),
        num_features=state["l0.weight"].shape[1],
        depth=max(levels),
        norm="batch" if "bn1.running_mean" in state else "instance",
        stem_kernel=state["conv1.weight"].shape[-1],
    )
    for name, most in _LIMITS.items():
        if getattr(found, name) > most:
            raise RunError(
                f"{path} names or holds weights of {name}={getattr(found, name)}; a FAN of at most {most} is built. "
                "The published ones are far smaller: download the file again."
            )
    return found


def _numbers(pattern: str, state: Mapping[str, Tensor]) -> list[int]:
    return [int(match.group(1)) for name in state if (match := re.fullmatch(pattern, name, re.ASCII))]


def _scheme(path: Path, num_landmarks: int) -> LandmarkScheme:
    known = {scheme.num_landmarks: scheme for scheme in SCHEMES.values() if scheme.name in DATASETS}
    if num_landmarks not in known:
        raise ConfigError(
            f"{path} predicts {num_landmarks} landmarks; schemes are known of {sorted(known)}. Weights of another "
            "numbering need a scheme and a data set first."
        )
    return known[num_landmarks]


def _matched(
    path: Path, found: Mapping[str, Tensor], architecture: Architecture, scheme: LandmarkScheme, pool: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors that the model has, and notes.

    Raises:
        RunError: a weight is missing or has another shape, or no model of this architecture can be made.
    """
    try:
        expected = _expected(architecture, scheme, pool)
    except ConfigError as error:
        raise RunError(f"{path} holds a FAN of {architecture}, which model=fan cannot be: {error}") from error
    # counts of batches were not saved before torch 0.4.1 and change nothing in evaluation
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    state = {name: found[name] for name in expected if name in found and found[name].shape == expected[name].shape}
    wrong = sorted(expected.keys() - state.keys() - (counters - found.keys()))
    if wrong:
        shown = ", ".join(f"{name} {_shape(found, name)}, needed {tuple(expected[name].shape)}" for name in wrong[:3])
        raise RunError(
            f"{path} is no whole FAN of {architecture}: {len(wrong)} of {len(expected)} tensors do not fit: {shown}. "
            "Download the file again."
        )
    state |= {name: expected[name] for name in counters - found.keys()}
    left = sorted(found.keys() - expected.keys())
    named = _names(left) + (", ..." if len(left) > _MOST_NAMED else "")
    absent = len(counters - found.keys())
    notes = [
        f"{len(expected) - absent} of {len(expected)} tensors matched by name and shape"
        + (f"; {absent} counts of batches are not in the file and start at 0" if absent else "")
        + (f"; left over: {len(left)} ({named})." if left else "; none left over."),
        f"{architecture}.",
    ]
    return state, notes


def _shape(found: Mapping[str, Tensor], name: str) -> str:
    return f"is {tuple(found[name].shape)}" if name in found else "is missing"


def _expected(architecture: Architecture, scheme: LandmarkScheme, pool: str) -> dict[str, Tensor]:
    """The state dict of a new model without its statistics."""
    n = architecture.num_landmarks
    step = 2 ** (architecture.depth + 3)  # fits every norm; a larger crop has the same weights
    model: nn.Module = FAN(
        input_size=step,
        statistics=ShapeStatistics(torch.zeros(n, 2), torch.eye(n), scheme),
        codec=HeatmapCodec(Centroid()),
        num_modules=architecture.num_modules,
        num_features=architecture.num_features,
        depth=architecture.depth,
        pool=pool,
        norm=architecture.norm,
        stem_kernel=architecture.stem_kernel,
    )
    return {name: value for name, value in model.state_dict().items() if name not in _STATISTICS}


def _overrides(architecture: Architecture, pool: str, scheme: LandmarkScheme) -> tuple[str, ...]:
    return (
        f"dataset={DATASETS[scheme.name]}",
        "model=fan",
        f"model.num_modules={architecture.num_modules}",
        f"model.num_features={architecture.num_features}",
        f"model.depth={architecture.depth}",
        f"model.pool={pool}",
        f"model.norm={architecture.norm}",
        f"model.stem_kernel={architecture.stem_kernel}",
        f"input_size={INPUT_SIZE}",
        "normalise=unit",
        "codec.corner_origin=true",
        "loss=heatmap",
        "box.side=mean",
        "box.margin=1.8182",
        "test_time_flip=true",
    )
