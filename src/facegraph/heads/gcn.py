"""The graph head: multi-scale features -> one feature vector per landmark -> sparse graph network -> coordinates.

SCC paper; `conf/head/gcn.yaml` is the paper's text, `conf/head/gcn_released.yaml` the released code without its bugs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.graph.neighbours import graph_mask, top_k_neighbours
from facegraph.heads.output import LandmarkOffset
from facegraph.layers.conv import ConvBlock
from facegraph.layers.fusion import COARSEST_LEVEL, MultiScaleFusion
from facegraph.layers.graph_conv import EDGE_WEIGHTS, GraphConv
from facegraph.structures import LandmarkOutput, ShapeStatistics


class MapToNode(nn.Module):
    """Feature map -> N node vectors: two conv blocks give n channels per landmark, whose cells become its features.

    Where only one level feeds the head its reduction is already the first of the two blocks (as in the released F5-only
    network), so the 1x1 block is left out.
    """

    def __init__(self, in_channels: int, width: int, num_landmarks: int, expansion: int, single_level: bool) -> None:
        super().__init__()
        self.num_landmarks = num_landmarks
        squeeze = nn.Identity() if single_level else ConvBlock(in_channels, width, kernel_size=1)
        expand = ConvBlock(in_channels if single_level else width, expansion * num_landmarks)
        self.blocks = nn.Sequential(squeeze, expand)

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) -> nodes (B, N, n * h * w) and pooled channels (B, n * N)."""
        node_map = self.blocks(fused)
        nodes = node_map.contiguous().flatten(1).unflatten(1, (self.num_landmarks, -1))
        return nodes, node_map.mean(dim=(2, 3))


class GraphBlock(nn.Module):
    """Graph convolution, batch norm with statistics over faces and nodes, ReLU."""

    def __init__(self, in_features: int, out_features: int, weights: int) -> None:
        super().__init__()
        self.conv = GraphConv(in_features, out_features, weights)
        # a plain layer, not a subclass: only those survive the conversion to synchronised batch norm under DDP
        self.norm = nn.BatchNorm1d(out_features)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        nodes = self.conv(nodes, adjacency)
        return torch.relu(self.norm(nodes.flatten(0, 1)).view_as(nodes))


class GraphNetwork(nn.Module):
    """Input block, residual blocks of two graph blocks each, output convolution to two numbers per node."""

    def __init__(self, in_features: int, hidden: int, residual_blocks: int, weights: int) -> None:
        super().__init__()
        self.inlet = GraphBlock(in_features, hidden, weights)
        self.blocks = nn.ModuleList(GraphBlock(hidden, hidden, weights) for _ in range(2 * residual_blocks))
        self.outlet = GraphConv(hidden, 2, weights)
        self.num_layers = len(self.blocks) + 2

    def forward(self, nodes: Tensor, adjacencies: Sequence[Tensor]) -> Tensor:
        """nodes (B, N, D), one adjacency per layer -> (B, N, 2) float32."""
        nodes = self.inlet(nodes, adjacencies[0])
        for i in range(0, len(self.blocks), 2):
            inner = self.blocks[i](nodes, adjacencies[i + 1])
            nodes = nodes + self.blocks[i + 1](inner, adjacencies[i + 2])
        # coordinates need more than the 8 bits of bfloat16
        with torch.autocast(nodes.device.type, enabled=False):
            return self.outlet(nodes.float(), adjacencies[-1].float())


class GraphHead(nn.Module):
    """The dynamic sparse graph network on attention-guided multi-scale features.

    Args:
        channels: level -> channels of the backbone.
        input_size: side S of the crop in px, a multiple of 32.
        statistics: mean shape (and number of landmarks N) and landmark correlation of the training faces.
        levels: backbone levels to fuse, a subset of 2..5.
        attention: 'semantic', 'self' or 'none'.
        expansion: n, channels per landmark of the node map.
        width: channels between the two map-to-node blocks.
        top_k: neighbours per landmark, 1..N-1, None for all others.
        symmetric: i and j see each other as soon as one lists the other.
        edge_weights: 'dynamic', 'static', 'binary' (mean over neighbours) or 'binary_sum' (released form).
        weights_per_layer: 1 (paper) or 2 (released: one for the node, one for its neighbours).
        hidden: features per node.
        blocks: residual blocks.
        neighbours: N -> neighbour lists, in place of the top-k of the training landmarks.
        start_at_mean_shape: see LandmarkOffset.

    Raises:
        ConfigError: a switch out of its range; the message names the range.
    """

    mask: Tensor

    def __init__(
        self,
        channels: Mapping[int, int],
        input_size: int,
        statistics: ShapeStatistics,
        levels: Sequence[int] = (3, 4, 5),
        attention: str = "semantic",
        expansion: int = 4,
        width: int = 256,
        top_k: int | None = 3,
        symmetric: bool = False,
        edge_weights: str = "dynamic",
        weights_per_layer: int = 1,
        hidden: int = 128,
        blocks: int = 4,
        neighbours: Callable[[int], Sequence[Sequence[int]]] | None = None,
        start_at_mean_shape: bool = True,
    ) -> None:
        super().__init__()
        n = statistics.mean_shape.shape[0]
        if edge_weights not in EDGE_WEIGHTS:
            raise ConfigError(f"head.edge_weights='{edge_weights}' does not exist; choose one of {list(EDGE_WEIGHTS)}.")
        sizes = (("expansion", expansion, 1), ("width", width, 1), ("hidden", hidden, 1), ("blocks", blocks, 0))
        for name, value, least in sizes:
            if value < least:
                raise ConfigError(f"head.{name}={value} is out of range; it must be at least {least}.")
        self.levels = tuple(levels)
        self.fusion = MultiScaleFusion(channels, levels, attention)
        single = len(set(levels)) == 1
        self.map_to_node = MapToNode(self.fusion.out_channels, width, n, expansion, single)
        lists = neighbours(n) if neighbours is not None else top_k_neighbours(statistics.correlation, top_k)
        self.register_buffer("mask", graph_mask(lists, symmetric))
        cells = (input_size // 2**COARSEST_LEVEL) ** 2
        self.network = GraphNetwork(expansion * cells, hidden, blocks, weights_per_layer)
        self.edges = EDGE_WEIGHTS[edge_weights](self.mask, expansion * n, self.network.num_layers)
        self.offset = LandmarkOffset(statistics, input_size, start_at_mean_shape)

    def forward(self, features: Mapping[int, Tensor]) -> LandmarkOutput:
        nodes, pooled = self.map_to_node(self.fusion(features))
        return LandmarkOutput(landmarks=self.offset(self.network(nodes, self.edges(pooled))))
