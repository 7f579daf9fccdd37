"""`facegraph bench codec`: the error that heatmaps cost by themselves, for each way of reading them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facegraph.codecs.heatmap import HeatmapCodec
from facegraph.compose import build_data, compose, make, project_root
from facegraph.data.datamodule import FaceDataModule
from facegraph.errors import ConfigError
from facegraph.geometry.affine import transform_points
from facegraph.geometry.completion import complete_shapes

_BATCH_PIXELS = 2**25  # of maps at once, 128 MiB
_DECODER = "codec.decoder."
_PLAIN = "centroid, plain"
_VARIANTS = {_PLAIN: ("codec=centroid", f"{_DECODER}border=plain")}


@dataclass(frozen=True)
class CodecCost:
    """codec: option of conf/codec, with the settings of its decoder that were asked for. size: side of the maps.

    noise: standard deviation of what is added to each pixel.

    nme: of the decoded landmarks, fraction of the first normaliser. worst: of the worst face.
    """

    codec: str
    size: int
    noise: float
    nme: float
    worst: float


@dataclass(frozen=True)
class CodecBench:
    """Result of one run. outside: share of the landmarks that lie outside the crop, where no map can show them."""

    dataset: str
    faces: int
    landmarks: int
    input_size: int
    normaliser: str
    outside: float
    costs: tuple[CodecCost, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Truth:
    """landmarks (M, N, 2) float32 crop px. to_image: (M, 2, 2), turns steps in crop px into steps in image px.

    norms: (M,) image px.
    """

    landmarks: Tensor
    to_image: Tensor
    norms: Tensor


def bench_codec(
    overrides: Sequence[str],
    sizes: Sequence[int] = (32, 64, 128),
    noises: Sequence[float] = (0.0, 0.05),
    input_size: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> CodecBench:
    """Encode the true landmarks of a data set's test faces and decode them, with every option of conf/codec.

    Args:
        overrides: of train.py: data set, box, settings of the codec that all options have, such as codec.sigma=1.5; and
        settings of a decoder, codec.decoder.beta=4,16: the options that have them are measured with each value.
        sizes: sides of the maps. noises: see CodecCost; the same noise for every codec. input_size: side of the crop;
        None: that of the configuration. say: called with what is being done.

    Raises:
        ConfigError: a size below 2, a noise that is negative or no number, a codec among the overrides, or overrides
        that fit nothing.
    """
    _check(overrides, sizes, noises)
    decoders = [override for override in overrides if override.startswith(_DECODER)]
    base = [override for override in overrides if override not in decoders]
    base += [] if input_size is None else [f"input_size={input_size}"]
    cfg = compose(base)
    choices = _choices(base, decoders)
    data = build_data(cfg)
    data.setup("test")
    truth, input_size = _truth(data), data.input_size
    codecs = {name: make(compose([*base, *choice]).codec) for name, choice in choices.items()}
    costs: list[CodecCost] = []
    for size in sizes:
        for noise in noises:
            say(f"maps of {size} px, noise {noise:g}: {len(truth.norms)} faces")
            costs += _costs(codecs, truth, input_size, size, noise)
    inside = ((truth.landmarks >= -0.5) & (truth.landmarks <= input_size - 0.5)).all(dim=-1)
    return CodecBench(
        dataset=data.dataset.name,
        faces=len(truth.norms),
        landmarks=truth.landmarks.shape[1],
        input_size=input_size,
        normaliser=data.dataset.normalisers[0],
        outside=1 - float(inside.float().mean()),
        costs=tuple(costs),
    )


def _check(overrides: Sequence[str], sizes: Sequence[int], noises: Sequence[float]) -> None:
    chosen = [override for override in overrides if override.startswith("codec=")]
    if chosen:
        raise ConfigError(f"{' '.join(chosen)} chooses a codec, but all are measured beside each other; leave it out.")
    if not sizes or min(sizes) < 2:
        raise ConfigError(f"sizes={list(sizes)}: sides of heatmaps are at least 2 px, and one is needed; FAN has 64.")
    if not noises or not all(math.isfinite(noise) and noise >= 0 for noise in noises):
        raise ConfigError(
            f"noises={list(noises)}: standard deviations are finite and at least 0, and one is needed; 0 is none."
        )


def _choices(base: Sequence[str], decoders: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name in the table -> overrides. decoders: such as codec.decoder.beta=4,16, for the options that have a beta.

    Raises:
        ConfigError: no option has a setting.
    """
    options: dict[str, tuple[str, ...]] = {
        p.stem: (f"codec={p.stem}",) for p in sorted((project_root() / "conf" / "codec").glob("*.yaml"))
    }
    if not decoders:
        return options | _VARIANTS
    settings = {name: compose([*base, *choice]).codec.decoder for name, choice in options.items()}
    asked = [override.removeprefix(_DECODER).partition("=")[::2] for override in decoders]
    for key, _ in asked:
        if not any(key in setting for setting in settings.values()):
            known = [f"{name} {', '.join(map(str, list(s)[1:]))}" for name, s in settings.items() if len(s) > 1]
            raise ConfigError(f"no decoder has a setting '{key}'; there are: {'; '.join(known)}.")
    found = {}
    for name, choice in (options | _VARIANTS).items():
        own = settings[choice[0].removeprefix("codec=")]
        fixed = {override.partition("=")[0].removeprefix(_DECODER) for override in choice[1:]}
        if fixed & dict(asked).keys():
            continue  # a variant of what is asked for by name
        values = [[f"{key}={value}" for value in text.split(",")] for key, text in asked if key in own]
        for given in itertools.product(*values):
            found[", ".join([name, *given])] = (*choice, *(f"{_DECODER}{setting}" for setting in given))
    return found


def _truth(data: FaceDataModule) -> _Truth:
    table = data.test_table
    matrices = [data.box.square(box, data.input_size) for box in table.boxes]
    shapes = complete_shapes(table.landmarks)
    points = [transform_points(matrix, face) for matrix, face in zip(matrices, shapes, strict=True)]
    return _Truth(
        torch.from_numpy(np.stack(points)).float(),
        torch.from_numpy(np.linalg.inv(np.stack(matrices)[:, :2, :2])).float(),
        torch.from_numpy(data.dataset.norm_distances(table.landmarks)[:, 0]).float(),
    )


def _costs(
    codecs: dict[str, HeatmapCodec], truth: _Truth, input_size: int, size: int, noise: float
) -> Iterator[CodecCost]:
    errors: dict[str, list[Tensor]] = {name: [] for name in codecs}
    generator = torch.Generator().manual_seed(0)
    faces = max(1, _BATCH_PIXELS // (truth.landmarks.shape[1] * size**2))
    for rows in torch.arange(len(truth.norms)).split(faces):
        landmarks = truth.landmarks[rows]
        added = noise * torch.randn(*landmarks.shape[:2], size, size, generator=generator) if noise else 0.0
        for name, codec in codecs.items():
            heatmaps = codec.encode(landmarks, input_size, (size, size)) + added
            # a step is mapped, not two points: photographs are large and float32 is short
            steps = (codec.decode(heatmaps, input_size) - landmarks) @ truth.to_image[rows].transpose(-1, -2)
            errors[name].append(steps.norm(dim=-1).mean(dim=-1) / truth.norms[rows])
    for name, parts in errors.items():
        error = torch.cat(parts)
        yield CodecCost(name, size, noise, float(error.mean()), float(error.max()))
