"""Graph convolution over landmarks and the three ways to weight its edges.

An adjacency A (N, N) or (B, N, N) is read row-wise: out_i = sum_j A_ij h_j W + b. SCC paper, Eqs. 3 and 6.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError


class GraphConv(nn.Module):
    """One graph convolution.

    weights=1: out = A H W + b (paper, Eq. 6). weights=2: the node itself and its neighbours have a matrix each,
    out = diag(A) H W_self + (A - diag(A)) H W_neighbour + b (released code, after SemGCN).

    Each matrix is initialised by its own fan; the released code computes the fan over the stack of both, which makes
    hidden weights ten times too small.
    """

    def __init__(self, in_features: int, out_features: int, weights: int = 1) -> None:
        super().__init__()
        if weights not in (1, 2):
            raise ConfigError(
                f"head.weights_per_layer={weights} does not exist; choose 1 (paper) or 2 (released code)."
            )
        self.own = nn.Linear(in_features, out_features, bias=False)
        self.neighbour = nn.Linear(in_features, out_features, bias=False) if weights == 2 else None
        self.bias = nn.Parameter(torch.zeros(out_features))
        for linear in (self.own, self.neighbour):
            if linear is not None:
                nn.init.xavier_uniform_(linear.weight, gain=math.sqrt(2.0))

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        """nodes (B, N, D_in), adjacency (N, N) or (B, N, N) -> (B, N, D_out)."""
        if self.neighbour is None:
            return adjacency @ self.own(nodes) + self.bias
        diagonal = torch.diagonal(adjacency, dim1=-2, dim2=-1)
        others = adjacency - torch.diag_embed(diagonal)
        return diagonal[..., None] * self.own(nodes) + others @ self.neighbour(nodes) + self.bias


class MaskedSoftmax(nn.Module):
    """Edge logits (..., E) in row-major order of a mask -> adjacency (..., N, N), each row a softmax over its edges.

    The soft-max runs over the mask only: a soft-max over a matrix that holds zeros elsewhere (the paper's formula read
    to the letter) would give every missing edge the weight e^0. Computed in float32 under autocast.
    """

    slot: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.nodes = mask.shape[0]
        self.edges = int(mask.sum())
        # where each cell of the dense matrix finds its logit; all cells without an edge share one more slot
        slot = torch.full((mask.numel(),), self.edges, dtype=torch.int64)
        slot[mask.flatten()] = torch.arange(self.edges)
        self.register_buffer("slot", slot)

    def forward(self, logits: Tensor) -> Tensor:
        logits = logits.float()
        absent = logits.new_full((*logits.shape[:-1], 1), float("-inf"))
        dense = torch.cat([logits, absent], dim=-1)[..., self.slot]
        return dense.unflatten(-1, (self.nodes, self.nodes)).softmax(dim=-1)


class DynamicEdges(nn.Module):
    """Weights from the face itself: pooled node features -> two linear layers -> edge logits, one set for all layers.

    The paper names two linear layers; the ReLU and batch norm between them are the released code's, and the published
    parameter counts include them.
    """

    def __init__(self, mask: Tensor, channels: int, layers: int) -> None:
        super().__init__()
        self.softmax = MaskedSoftmax(mask)
        self.layers = layers
        hidden = max(channels // 2, 1)
        self.relation = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(hidden),
            nn.Linear(hidden, self.softmax.edges),
        )

    def forward(self, pooled: Tensor) -> list[Tensor]:
        """(B, channels) -> one (B, N, N) for each layer."""
        return [self.softmax(self.relation(pooled))] * self.layers


class StaticEdges(nn.Module):
    """Weights learned per edge and layer, the same for every face; all start equal."""

    def __init__(self, mask: Tensor, channels: int, layers: int) -> None:
        super().__init__()
        self.softmax = MaskedSoftmax(mask)
        self.logits = nn.Parameter(torch.ones(layers, self.softmax.edges))

    def forward(self, pooled: Tensor) -> list[Tensor]:
        """One (N, N) for each layer; pooled is not used."""
        return list(self.softmax(self.logits).unbind(0))


class BinaryEdges(nn.Module):
    """Nothing learned: neighbours are averaged. The paper's ablation "without dynamic weighting"."""

    adjacency: Tensor

    def __init__(self, mask: Tensor, channels: int, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("adjacency", mask.float() / mask.sum(dim=1, keepdim=True), persistent=False)

    def forward(self, pooled: Tensor) -> list[Tensor]:
        """The same (N, N) for each layer; pooled is not used."""
        return [self.adjacency] * self.layers


class BinarySumEdges(BinaryEdges):
    """As released: neighbours are summed, rows are not normalised."""

    def __init__(self, mask: Tensor, channels: int, layers: int) -> None:
        super().__init__(mask, channels, layers)
        self.adjacency = mask.float()


EDGE_WEIGHTS: dict[str, type[DynamicEdges] | type[StaticEdges] | type[BinaryEdges]] = {
    "dynamic": DynamicEdges,
    "static": StaticEdges,
    "binary": BinaryEdges,
    "binary_sum": BinarySumEdges,
}
