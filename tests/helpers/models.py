"""Small models and reference implementations to compare them with."""

from __future__ import annotations

import copy
import functools
import math

import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from facegraph.landmarks import SCHEMES, LandmarkScheme
from facegraph.models.regressor import LandmarkRegressor
from facegraph.runs.compose import build_model, compose
from facegraph.structures import ShapeStatistics


def scheme_of(num_landmarks: int) -> LandmarkScheme:
    """The known scheme of so many landmarks, or one of points that mirror themselves."""
    known = {scheme.num_landmarks: scheme for scheme in SCHEMES.values()}
    nameless = LandmarkScheme("points", tuple(range(num_landmarks)), {"inter_ocular": ((0,), (1,))})
    return known.get(num_landmarks, nameless)


def face_statistics(num_landmarks: int, seed: int = 0) -> ShapeStatistics:
    """A mean shape inside the unit square and a symmetric correlation with ones on its diagonal."""
    generator = torch.Generator().manual_seed(seed)
    mean_shape = 0.2 + 0.6 * torch.rand(num_landmarks, 2, generator=generator)
    square = torch.rand(num_landmarks, num_landmarks, generator=generator)
    correlation = (square + square.T) / 2
    correlation.fill_diagonal_(1.0)
    return ShapeStatistics(mean_shape, correlation, scheme_of(num_landmarks))


@functools.lru_cache
def _composed(groups: tuple[str, ...]) -> DictConfig:
    return compose(["input_size=64", *groups])


def small_model(num_landmarks: int, *overrides: str) -> LandmarkRegressor:
    """The model of these overrides at 64 px, weights from seed 0."""
    groups = tuple(o for o in overrides if o.split("=")[0] in ("head", "backbone"))
    cfg = copy.deepcopy(_composed(groups))
    for override in overrides:
        if override not in groups:
            key, value = override.split("=", 1)
            OmegaConf.update(cfg, key, yaml.safe_load(value), force_add=False)
    torch.manual_seed(0)
    model = build_model(cfg, face_statistics(num_landmarks))
    assert isinstance(model, LandmarkRegressor)
    return model


def faces(count: int, size: int = 64, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def masked_softmax_by_hand(logits: list[float], mask: list[list[bool]]) -> list[list[float]]:
    """Row-wise softmax over the cells of a mask, logits in row-major order, with loops and math.exp."""
    n, given, rows = len(mask), iter(logits), []
    for i in range(n):
        powers = [math.exp(next(given)) if mask[i][j] else 0.0 for j in range(n)]
        rows.append([p / sum(powers) for p in powers])
    return rows
