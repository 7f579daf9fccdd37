"""From correlations to neighbour lists, and from lists to the masks that the graph layers use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from facegraph.errors import ConfigError


def top_k_neighbours(correlation: Tensor, top_k: int | None, setting: str = "head.top_k") -> Tensor:
    """(N, top_k) int64: for each landmark the others that it correlates with most, strongest first.

    top_k None: all others. Ties go to the smaller index, so that the list does not depend on the machine.

    Args:
        setting: what names top_k, for the message.

    Raises:
        ConfigError: top_k outside 1..N-1.
    """
    n = correlation.shape[0]
    if top_k is None:
        top_k = n - 1
    if not 1 <= top_k <= n - 1:
        name = setting.rsplit(".", 1)[-1]
        raise ConfigError(
            f"{name}={top_k} is out of range: with {n} landmarks it must lie in 1..{n - 1}, or be "
            f"null for all others. Set {setting} accordingly."
        )
    others = correlation.clone()
    others.fill_diagonal_(float("-inf"))
    return torch.argsort(others, dim=1, descending=True, stable=True)[:, :top_k]


def graph_mask(neighbours: Tensor | Sequence[Sequence[int]], symmetric: bool) -> Tensor:
    """(N, N) bool: mask[i, j] if landmark i listens to landmark j; every landmark listens to itself.

    Args:
        neighbours: (N, k) indices or N lists of indices.
        symmetric: i and j listen to each other as soon as one of them lists the other.
    """
    mask = torch.eye(len(neighbours), dtype=torch.bool)
    for i, row in enumerate(neighbours):
        mask[i, torch.as_tensor(row, dtype=torch.int64)] = True
    return mask | mask.T if symmetric else mask


def edge_table(mask: Tensor, correlation: Tensor) -> tuple[Tensor, Tensor]:
    """Directed edges (E, 2) src, dst of a mask (N, N) and their weights (E,), strongest first, without self loops."""
    edges = torch.nonzero(mask & ~torch.eye(len(mask), dtype=torch.bool, device=mask.device))
    weights = correlation[edges[:, 0], edges[:, 1]]
    order = torch.argsort(weights, descending=True, stable=True)
    return edges[order], weights[order]
