"""Correlation, neighbour lists and masks: by hand, by symmetry, and against the published graph."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facegraph.data.synthetic.dataset import SyntheticDataset
from facegraph.errors import ConfigError
from facegraph.graph.correlation import landmark_correlation
from facegraph.graph.neighbours import edge_table, graph_mask, top_k_neighbours
from facegraph.graph.published import COFW29_EDGES, IBUG68_EDGES, published_neighbours
from facegraph.landmarks import COFW29, IBUG68, LandmarkScheme
from tests.helpers.models import face_statistics
from tests.helpers.runs import ROOT

SHARED = ROOT.parent / "shared"
WFLW = SHARED / "data" / "wflw_mini" / "list_98pt_attr_union1966.txt"
PUBLISHED = SHARED / "spec" / "adjacency_98_top3.md"


@pytest.fixture(scope="module")
def shapes() -> np.ndarray:
    return SyntheticDataset(train_size=60, test_size=1).train().table.landmarks


def test_correlation_by_hand() -> None:
    # x: landmark 1 follows 0, landmark 2 opposes it half of the time; y: 1 opposes 0, 2 never moves
    x = np.array([[0.0, 0.0, 1.0], [1.0, 2.0, 0.0], [2.0, 4.0, 1.0], [3.0, 6.0, 0.0]])
    y = np.array([[0.0, 3.0, 5.0], [1.0, 2.0, 5.0], [2.0, 1.0, 5.0], [3.0, 0.0, 5.0]])
    found = landmark_correlation(np.stack([x, y], axis=-1), frame="image")
    # Pearson of (0,1,2,3) and (1,0,1,0): -1 / sqrt(5 * 1)
    c = 1 / np.sqrt(5)
    expected = np.array([[1.0, 1.0, c / 2], [1.0, 1.0, c / 2], [c / 2, c / 2, 1.0]])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_correlation_agrees_with_numpy(shapes: np.ndarray) -> None:
    expected = sum(np.abs(np.corrcoef(shapes[..., axis].T)) for axis in (0, 1)) / 2
    np.testing.assert_allclose(landmark_correlation(shapes, "image"), expected, atol=1e-9)


@pytest.mark.parametrize("frame", ["image", "box", "procrustes"])
def test_correlation_is_a_symmetric_table_of_shares(shapes: np.ndarray, frame: str) -> None:
    table = landmark_correlation(shapes, frame)
    assert table.shape == (98, 98)
    assert np.array_equal(table, table.T)
    assert np.array_equal(np.diag(table), np.ones(98))
    assert table.min() >= 0
    assert table.max() <= 1


def moved(shapes: np.ndarray, turn: float) -> np.ndarray:
    """Each face scaled and shifted by its own amounts and turned by up to `turn` radians."""
    rng = np.random.default_rng(1)
    angle, size = rng.uniform(-turn, turn, len(shapes)), rng.uniform(0.2, 5, len(shapes))
    matrix = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(-1, 2, 2)
    return size[:, None, None] * shapes @ matrix + rng.normal(0, 100, (len(shapes), 1, 2))


def test_frames_ignore_what_they_should(shapes: np.ndarray) -> None:
    plain = {frame: landmark_correlation(shapes, frame) for frame in ("image", "box", "procrustes")}
    shifted, turned = moved(shapes, turn=0.0), moved(shapes, turn=1.0)
    np.testing.assert_allclose(landmark_correlation(shifted, "box"), plain["box"], atol=1e-9)
    # up to a common rotation of the mean shape, which has no preferred direction
    np.testing.assert_allclose(landmark_correlation(shifted, "procrustes"), plain["procrustes"], atol=1e-6)
    assert np.abs(landmark_correlation(turned, "procrustes") - plain["procrustes"]).mean() < 0.05
    assert np.abs(landmark_correlation(turned, "box") - plain["box"]).mean() > 0.05
    assert np.abs(landmark_correlation(shifted, "image") - plain["image"]).mean() > 0.1


@pytest.mark.parametrize(
    ("landmarks", "frame", "named"),
    [
        (np.zeros((5, 4, 2)), "affine", ["affine", "box", "image", "procrustes"]),
        (np.zeros((2, 4, 2)), "image", ["(2, 4, 2)", "at least 3"]),
        (np.zeros((5, 4, 3)), "image", ["(5, 4, 3)", "(faces, points, 2)"]),
    ],
)
def test_correlation_refuses(landmarks: np.ndarray, frame: str, named: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        landmark_correlation(landmarks, frame)
    for part in named:
        assert part in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.data())
def test_neighbours_are_the_strongest_others(n: int, data: st.DataObject) -> None:
    top_k = data.draw(st.integers(1, n - 1))
    correlation = face_statistics(n, seed=data.draw(st.integers(0, 1000))).correlation
    lists = top_k_neighbours(correlation, top_k)
    assert lists.shape == (n, top_k)
    for i, row in enumerate(lists.tolist()):
        assert i not in row
        assert len(set(row)) == top_k
        weights = correlation[i, row]
        assert (weights[:-1] >= weights[1:]).all()
        others = [j for j in range(n) if j != i and j not in row]
        assert not others or correlation[i, others].max() <= weights[-1]


def test_ties_go_to_the_smaller_index() -> None:
    assert top_k_neighbours(torch.ones(5, 5), 2).tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]


@pytest.mark.parametrize("top_k", [-1, 0, 4, 97])
def test_top_k_out_of_range(top_k: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"top_k={top_k} is out of range: with 4 landmarks it must lie in 1\.\.3.*head.top_k"
    ):
        top_k_neighbours(torch.rand(4, 4), top_k)


def test_masks() -> None:
    lists = [[1], [2], [1], []]
    directed, symmetric = graph_mask(lists, symmetric=False), graph_mask(lists, symmetric=True)
    assert directed.int().tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert symmetric.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert torch.equal(graph_mask(torch.tensor([[1], [2], [0]]), False), graph_mask([[1], [2], [0]], False))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 20), st.integers(0, 1000))
def test_symmetric_masks_are_symmetric(n: int, seed: int) -> None:
    lists = top_k_neighbours(face_statistics(n, seed).correlation, max(1, n // 3))
    symmetric = graph_mask(lists, symmetric=True)
    assert torch.equal(symmetric, symmetric.T)
    assert torch.equal(symmetric, graph_mask(lists, False) | graph_mask(lists, False).T)
    assert symmetric.diagonal().all()
    assert (graph_mask(lists, False).sum(dim=1) == lists.shape[1] + 1).all()


@pytest.mark.parametrize(("n", "non_zeros", "directed"), [(98, 470, 294), (68, 266, 99), (29, 133, 52)])
def test_published_graphs_have_the_published_sizes(n: int, non_zeros: int, directed: int) -> None:
    lists = published_neighbours(n)
    assert len(lists) == n
    assert sum(map(len, lists)) == directed
    assert int(graph_mask(lists, symmetric=True).sum()) == non_zeros
    assert int(graph_mask(lists, symmetric=False).sum()) == directed + n


@pytest.mark.parametrize(("scheme", "one_sided"), [(IBUG68, [(55, 64)]), (COFW29, [])])
def test_graphs_drawn_by_hand_follow_the_face(scheme: LandmarkScheme, one_sided: list[tuple[int, int]]) -> None:
    """Mirrored they are themselves, but for one edge; neighbours on a contour are neighbours in the graph."""
    lists = published_neighbours(scheme.num_landmarks)
    edges = {frozenset((i, j)) for i, row in enumerate(lists) for j in row}
    assert all(len(edge) == 2 for edge in edges)
    mirrored = {frozenset(scheme.flip[i] for i in edge) for edge in edges}
    assert sorted(tuple(sorted(edge)) for edge in edges - mirrored) == one_sided
    for contour in scheme.contours:
        closing = contour.indices[:1] if contour.closed else ()
        assert {frozenset(step) for step in pairwise((*contour.indices, *closing))} <= edges, contour.name


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published lists in ../shared are not part of this repository")
@pytest.mark.parametrize(("n", "edges"), [(68, IBUG68_EDGES), (29, COFW29_EDGES)])
def test_our_copy_of_the_graphs_drawn_by_hand_is_theirs(n: int, edges: tuple[tuple[int, int], ...]) -> None:
    section = PUBLISHED.read_text().split(f"## {n}pts.txt")[1].split("\n## ")[0]
    drawn = [(int(i), int(j)) for i, j in re.findall(r"(\d+)-(\d+)\b", section.split("(a-b):")[1])]
    assert list(edges) == drawn
    assert [(i, j) for i, row in enumerate(published_neighbours(n)) for j in row] == sorted(drawn, key=lambda e: e[0])


@pytest.mark.parametrize("n", [17, 0, 106])
def test_other_numbers_have_no_published_graph(n: int) -> None:
    with pytest.raises(ConfigError, match=rf"{n} landmarks, only for 29, 68 and 98"):
        published_neighbours(n)


def test_edge_table_is_sorted_and_without_self_loops() -> None:
    correlation = torch.tensor([[1.0, 0.5, 0.9], [0.5, 1.0, 0.2], [0.9, 0.2, 1.0]])
    edges, weights = edge_table(torch.ones(3, 3, dtype=torch.bool), correlation)
    assert edges.tolist() == [[0, 2], [2, 0], [0, 1], [1, 0], [1, 2], [2, 1]]
    torch.testing.assert_close(weights, torch.tensor([0.9, 0.9, 0.5, 0.5, 0.2, 0.2]))
    edges, _ = edge_table(torch.tensor([[1, 1, 0], [0, 1, 0], [0, 1, 1]]).bool(), correlation)
    assert edges.tolist() == [[0, 1], [2, 1]]


def published_lists() -> tuple[list[list[int]], list[list[float]]]:
    rows = re.findall(r"^(\d+): (.+)$", PUBLISHED.read_text(), re.MULTILINE)
    entries = [re.findall(r"(\d+)\(([\d.]+)\)", line) for _, line in rows]
    assert [int(i) for i, _ in rows] == list(range(98))
    return [[int(j) for j, _ in row] for row in entries], [[float(w) for _, w in row] for row in entries]


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published lists in ../shared are not part of this repository")
def test_our_copy_of_the_published_lists_is_theirs() -> None:
    assert [list(row) for row in published_neighbours(98)] == published_lists()[0]


@pytest.mark.skipif(
    not (WFLW.exists() and PUBLISHED.exists()), reason="needs WFLW's research-only landmarks in ../shared"
)
def test_the_procrustes_frame_reproduces_the_published_graph() -> None:
    points = np.array([line.split()[:196] for line in WFLW.read_text().splitlines() if line.strip()], dtype=np.float64)
    assert len(points) == 1966
    table = torch.from_numpy(landmark_correlation(points.reshape(-1, 98, 2), "procrustes"))
    neighbours, weights = published_lists()
    ours = top_k_neighbours(table, 3).tolist()
    overlap = np.mean([len(set(a) & set(b)) / 3 for a, b in zip(ours, neighbours, strict=True)])
    difference = np.mean(
        [abs(table[i, j] - w) for i in range(98) for j, w in zip(neighbours[i], weights[i], strict=True)]
    )
    assert overlap >= 0.90
    assert difference <= 0.02
