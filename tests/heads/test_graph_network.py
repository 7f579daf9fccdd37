"""Graph layers against loops, and what must hold for messages."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.graph.neighbours import graph_mask
from facegraph.graph.published import published_neighbours
from facegraph.heads.gcn import GraphNetwork
from facegraph.layers.attention import ParallelAttention, attend
from facegraph.layers.fusion import MultiScaleFusion
from facegraph.layers.graph_conv import EDGE_WEIGHTS, BinaryEdges, DynamicEdges, GraphConv, MaskedSoftmax, StaticEdges
from tests.helpers.models import faces, masked_softmax_by_hand, small_model


def random_mask(n: int, seed: int = 0) -> Tensor:
    mask = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < 0.4
    return mask | torch.eye(n, dtype=torch.bool)


def conv_by_hand(layer: GraphConv, nodes: Tensor, adjacency: Tensor) -> Tensor:
    """out_i = sum_j A_ij W h_j + b with loops; the neighbours' own matrix where the layer has one."""
    out = torch.zeros(*nodes.shape[:2], len(layer.bias))
    for face in range(len(nodes)):
        for i in range(nodes.shape[1]):
            for j in range(nodes.shape[1]):
                own = i == j or layer.neighbour is None
                matrix = layer.own.weight if own else layer.neighbour.weight
                out[face, i] += adjacency[face, i, j] * (matrix @ nodes[face, j])
            out[face, i] += layer.bias
    return out


@pytest.mark.parametrize("weights", [1, 2])
@pytest.mark.parametrize("per_face", [True, False])
def test_graph_convolution_by_hand(weights: int, per_face: bool) -> None:
    torch.manual_seed(0)
    layer = GraphConv(5, 3, weights)
    nn.init.normal_(layer.bias)
    nodes, adjacency = torch.randn(2, 6, 5), torch.randn(2, 6, 6) if per_face else torch.randn(6, 6)
    with torch.no_grad():
        expected = conv_by_hand(layer, nodes, adjacency.expand(2, 6, 6))
        torch.testing.assert_close(layer(nodes, adjacency), expected)


def test_each_matrix_is_initialised_by_its_own_fan() -> None:
    torch.manual_seed(0)
    layer = GraphConv(256, 128, weights=2)
    for linear in (layer.own, layer.neighbour):
        bound = math.sqrt(2) * math.sqrt(6 / (256 + 128))
        assert 0.97 * bound < linear.weight.abs().max() <= bound
    with pytest.raises(ConfigError, match="weights_per_layer=3"):
        GraphConv(2, 2, weights=3)


def test_masked_softmax_by_hand() -> None:
    mask = random_mask(7)
    logits = torch.randn(int(mask.sum()), dtype=torch.float64)
    expected = torch.tensor(masked_softmax_by_hand(logits.tolist(), mask.tolist()))
    adjacency = MaskedSoftmax(mask)(logits)
    torch.testing.assert_close(adjacency, expected.float())
    shifted = MaskedSoftmax(mask)(logits + 1000)
    torch.testing.assert_close(shifted, adjacency, rtol=1e-3, atol=1e-4)


def test_dynamic_rows_sum_to_one_on_the_mask_and_follow_the_face() -> None:
    torch.manual_seed(0)
    mask = random_mask(9)
    layers = DynamicEdges(mask, channels=36, layers=4)
    adjacencies = layers(torch.randn(5, 36))
    assert len(adjacencies) == 4
    first = adjacencies[0]
    assert all(torch.equal(first, other) for other in adjacencies)  # one set of weights for all layers
    assert first.shape == (5, 9, 9)
    torch.testing.assert_close(first.sum(dim=-1), torch.ones(5, 9))
    assert (first[:, ~mask] == 0).all()
    assert (first[:, mask] > 0).all()
    assert (first[0] - first[1]).abs().max() > 1e-3


def test_static_edges_start_equal_and_differ_between_layers() -> None:
    mask = random_mask(9)
    layers = StaticEdges(mask, channels=36, layers=3)
    uniform = mask.float() / mask.sum(dim=1, keepdim=True)
    for adjacency in layers(torch.zeros(1, 36)):
        torch.testing.assert_close(adjacency, uniform)
    assert layers.logits.shape == (3, int(mask.sum()))
    torch.testing.assert_close(BinaryEdges(mask, 36, 3)(torch.zeros(1, 36))[0], uniform)
    torch.testing.assert_close(EDGE_WEIGHTS["binary_sum"](mask, 36, 3)(torch.zeros(1, 36))[0], mask.float())


def components(mask: Tensor) -> list[set[int]]:
    left, found = set(range(len(mask))), []
    while left:
        reached, frontier = set(), {min(left)}
        while frontier:
            reached |= frontier
            frontier = {j for i in frontier for j in torch.nonzero(mask[i]).flatten().tolist()} - reached
        found.append(reached)
        left -= reached
    return found


@pytest.mark.parametrize("edges", ["dynamic", "static", "binary"])
def test_a_message_stays_in_its_component(edges: str) -> None:
    torch.manual_seed(0)
    mask = graph_mask(published_neighbours(98), symmetric=True)
    parts = components(mask)
    assert sorted(map(len, parts)) == [9, 9, 9, 18, 20, 33]
    network = GraphNetwork(in_features=6, hidden=8, residual_blocks=4, weights=2).eval()
    adjacencies = EDGE_WEIGHTS[edges](mask, 12, network.num_layers).eval()(torch.randn(2, 12))
    nodes = torch.randn(2, 98, 6)
    with torch.no_grad():
        before = network(nodes, adjacencies)
        for node in (0, 40, 60, 85):
            changed = nodes.clone()
            changed[:, node] += 1.0
            moved = (network(changed, adjacencies) - before).abs().sum(dim=(0, 2)) > 0
            own = next(part for part in parts if node in part)
            assert set(torch.nonzero(moved).flatten().tolist()) <= own
            assert moved[node]


def test_the_head_uses_exactly_its_mask() -> None:
    model = small_model(29, "head.top_k=5")
    seen = []
    model.head.edges.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    with torch.no_grad():
        model.eval()(faces(2))
    assert torch.equal(seen[0][0] > 0, model.head.mask)
    assert (model.head.mask.sum(dim=1) == 6).all()


def test_attention_by_hand() -> None:
    torch.manual_seed(0)
    layer, guide = ParallelAttention(6), torch.randn(2, 6, 5, 4)
    first, second = layer.perceptron[0].weight, layer.perceptron[2].weight
    assert first.shape == (3, 6)
    assert layer.perceptron[0].bias is None
    with torch.no_grad():
        channel_map, spatial_map = layer(guide)
        for face in range(2):
            flat = guide[face].reshape(6, -1)
            pooled = [second @ torch.relu(first @ values) for values in (flat.mean(1), flat.max(1).values)]
            torch.testing.assert_close(channel_map[face, :, 0, 0], torch.sigmoid(pooled[0] + pooled[1]))
            stacked = torch.stack([guide[face].mean(0), guide[face].max(0).values])
            padded = F.pad(stacked, (3, 3, 3, 3))
            for y, x in ((0, 0), (4, 3), (2, 1)):
                value = (padded[:, y : y + 7, x : x + 7] * layer.spatial.weight[0]).sum() + layer.spatial.bias[0]
                torch.testing.assert_close(spatial_map[face, 0, y, x], torch.sigmoid(value))
    features = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(attend(features, channel_map, spatial_map), features * channel_map * (1 + spatial_map))


CHANNELS = {1: 8, 2: 16, 3: 32, 4: 64, 5: 128}


def pyramid(seed: int = 0) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        level: torch.randn(2, c, 64 // 2**level, 64 // 2**level, generator=generator) for level, c in CHANNELS.items()
    }


@pytest.mark.parametrize("attention", ["semantic", "self", "none"])
@pytest.mark.parametrize("levels", [(5,), (3, 4, 5), (2, 5), (2, 3), (5, 3, 4)])
def test_fusion_halves_the_channels_and_ends_at_stride_32(levels: tuple[int, ...], attention: str) -> None:
    fusion = MultiScaleFusion(CHANNELS, levels, attention)
    assert fusion.out_channels == sum(CHANNELS[level] // 2 for level in levels)
    assert fusion(pyramid()).shape == (2, fusion.out_channels, 2, 2)


@pytest.mark.parametrize(("attention", "travels"), [("semantic", True), ("self", False), ("none", False)])
def test_only_semantic_attention_lets_the_top_level_guide_the_others(attention: str, travels: bool) -> None:
    torch.manual_seed(0)
    fusion = MultiScaleFusion(CHANNELS, (3, 4, 5), attention).eval()
    with torch.no_grad():
        before = fusion(pyramid())
        changed = fusion(pyramid() | {5: torch.zeros(2, 128, 2, 2)})
    lower = 16 + 32  # channels of levels 3 and 4, which come first
    assert bool((before[:, :lower] != changed[:, :lower]).any()) is travels
    assert (before[:, lower:] != changed[:, lower:]).any()
