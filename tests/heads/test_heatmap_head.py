"""The heatmap head on timm backbones: sizes, counts, first outputs, learning."""

from __future__ import annotations

import pytest
import torch

from facegraph.backbones import TimmBackbone
from facegraph.errors import ConfigError
from facegraph.heads.heatmap import HeatmapHead
from facegraph.heads.heatmap_fusion import Concatenation, Deconvolution
from facegraph.metrics.cost import count_macs
from facegraph.runs.compose import build_model, compose, make
from facegraph.structures import FaceBatch
from tests.helpers.models import face_statistics, faces, small_model

HEADS = ("head=heatmap", "head=heatmap_hrnet")


@pytest.mark.parametrize("head", HEADS)
def test_maps_have_a_quarter_of_the_side(head: str) -> None:
    model = small_model(29, head, "backbone=tiny", "head.upsampling.width=16").eval()
    output = model(faces(2))
    assert output.heatmaps is not None
    assert output.confidence is not None
    assert output.stage_landmarks is not None
    assert output.heatmaps.shape == (2, 1, 29, 16, 16)
    assert output.landmarks.shape == (2, 29, 2)
    assert output.confidence.shape == (2,)
    assert output.heatmaps.dtype == output.landmarks.dtype == torch.float32
    torch.testing.assert_close(output.stage_landmarks[:, 0], output.landmarks)
    assert isinstance(model.head, HeatmapHead)
    torch.testing.assert_close(output.landmarks, model.head.codec.decode(output.heatmaps[:, 0], 64))


@pytest.mark.parametrize("head", HEADS)
def test_first_maps_are_nearly_empty(head: str) -> None:
    output = small_model(29, head, "backbone=tiny", "head.upsampling.width=16")(faces(4))
    assert output.heatmaps is not None
    assert 0 < float(output.heatmaps.abs().max()) < 0.1


def test_deconvolution_of_simple_baselines() -> None:
    """512 -> 256 -> 256 -> 256 channels by 4x4 kernels without bias, a scale and a shift each."""
    module = Deconvolution({5: 512}, [5])
    assert sum(p.numel() for p in module.parameters()) == 16 * (512 * 256 + 2 * 256 * 256) + 3 * 2 * 256
    assert module({5: torch.rand(1, 512, 2, 2)}).shape == (1, 256, 16, 16)
    assert Deconvolution({4: 8}, [4], width=4, output_level=1)({4: torch.rand(1, 8, 2, 2)}).shape == (1, 4, 16, 16)


@pytest.mark.any_processor
def test_hrnet_for_faces_as_published() -> None:
    """9.3 M parameters and 4.3 G multiply-adds in the published table for 19 landmarks (AFLW) of 256 px.

    The features are the four branches of 18, 36, 72 and 144 channels, side by side 270.
    """
    cfg = compose(["experiment=hrnet_heatmap_wflw"])
    model = build_model(cfg, face_statistics(98))
    assert isinstance(model.backbone, TimmBackbone)
    assert [model.backbone.channels[level] for level in (2, 3, 4, 5)] == [18, 36, 72, 144]
    assert isinstance(model.head, HeatmapHead)
    # 1x1 convolution, batch norm, 1x1 convolution with bias
    assert sum(p.numel() for p in model.head.parameters()) == 270 * 270 + 2 * 270 + 98 * 270 + 98
    assert 9.3e6 < sum(p.numel() for p in model.parameters()) < 9.7e6
    assert 4.2e9 < count_macs(model, 256)[0] < 4.8e9


def test_levels_side_by_side_keep_their_place() -> None:
    """A blob in the coarsest level comes out where it was, as pixel areas go."""
    module = Concatenation({2: 1, 4: 1}, [4, 2], width=1).eval()
    features = {2: torch.zeros(1, 1, 16, 16), 4: torch.zeros(1, 1, 4, 4)}
    features[4][0, 0, 1, 2] = 1.0
    torch.nn.init.ones_(module.mix[0].weight)
    found = module(features)[0, 0]
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    assert float((found * columns).sum() / found.sum()) == pytest.approx(2 * 4 + 1.5, abs=1e-4)
    assert float((found * rows).sum() / found.sum()) == pytest.approx(1 * 4 + 1.5, abs=1e-4)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["head=heatmap", "head.levels=[4,5]"], ["head.levels=[4, 5]", "one level", "head=heatmap_hrnet"]),
        (["head=heatmap", "head.levels=[6]"], ["[6]", "[2, 3, 4, 5]"]),
        (["head=heatmap", "head.upsampling.output_level=5"], ["output_level=5", "1 .. 4"]),
        (["head=heatmap", "head.upsampling.width=0"], ["width=0"]),
        (["head=heatmap_hrnet", "head.upsampling.width=0"], ["width=0", "null"]),
        (["head=heatmap_hrnet", "head.levels=[]"], ["at least one level"]),
    ],
)
def test_settings_out_of_range(overrides: list[str], named: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_model(compose(["input_size=64", *overrides]), face_statistics(29))
    for part in named:
        assert part in str(caught.value)


@pytest.mark.any_processor
@pytest.mark.parametrize("loss", ["heatmap", "heatmap_mse", "awing"])
def test_learns_one_batch(loss: str) -> None:
    """Four drawn-at-random images are learnt by heart to below 1 px with plain settings of the losses."""
    torch.manual_seed(0)
    n, size = 5, 64
    model = small_model(n, "head=heatmap", "backbone=tiny", "head.upsampling.width=32")
    criterion = make(compose([f"loss={loss}"]).loss)(statistics=face_statistics(n))
    landmarks = torch.rand(4, n, 2, generator=torch.Generator().manual_seed(1)) * (size - 1)
    batch = FaceBatch(
        faces(4),
        landmarks,
        torch.ones(landmarks.shape[:2], dtype=torch.bool),
        torch.eye(2, 3).expand(4, 2, 3),
        torch.ones(4, 1),
        torch.zeros(4, 0, dtype=torch.bool),
        torch.arange(4),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(70):
        optimizer.zero_grad()
        criterion(model(batch.image), batch)["loss"].backward()
        optimizer.step()
    error = (model(batch.image).landmarks - landmarks).norm(dim=-1).mean()
    assert float(error) < 1.0
