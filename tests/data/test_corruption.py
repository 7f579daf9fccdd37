"""Faces made harder where they are tested: how much, where, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facegraph.data.augment import Augmentation
from facegraph.data.boxes import LandmarkBox
from facegraph.data.corruption import NONE, Blur, Corruption, Occlusion, Resolution
from facegraph.data.crops import CropsDataset
from facegraph.data.datamodule import FaceDataModule
from facegraph.data.normalise import PerImage
from facegraph.errors import ConfigError
from tests.helpers.faces import QUAD, annotation_frame, draw_dots, find_dot, write_faces
from tests.helpers.runs import TinyRun, evaluate_run

GREY = np.full((64, 64, 3), 127, np.uint8)
IDS = [f"face {i}" for i in range(40)]


@given(share=st.floats(0, 1), face=st.text(max_size=8), seed=st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_the_rectangle_has_the_asked_area_and_lies_in_the_crop(share: float, face: str, seed: int) -> None:
    x0, y0, x1, y1 = Occlusion(share, seed).rectangle(face)
    assert min(x0, y0) >= 0
    assert max(x1, y1) <= 1 + 1e-12
    assert (x1 - x0) * (y1 - y0) == pytest.approx(share, abs=1e-9)


# below 1e-307 a square root of a share is no longer exact
SHARES = st.floats(0, 1, allow_subnormal=False)


@given(shares=st.tuples(SHARES, SHARES), face=st.text(max_size=8))
@settings(max_examples=150, deadline=None)
def test_a_larger_share_covers_all_of_a_smaller_one(shares: tuple[float, float], face: str) -> None:
    small, large = (Occlusion(share).rectangle(face) for share in sorted(shares))
    assert min(small[0] - large[0], small[1] - large[1], large[2] - small[2], large[3] - small[3]) >= -1e-9


@pytest.mark.parametrize("side", [64, 100, 256])
def test_the_covered_pixels_add_up_to_the_share(side: int) -> None:
    """Black and white crops show how much of each pixel is covered: colour * c and 255 - (255 - colour) * c."""
    black, white = np.zeros((side, side, 3), np.uint8), np.full((side, side, 3), 255, np.uint8)
    for share in (0.02, 0.3, 0.85):
        for face in IDS[:6]:
            occlusion = Occlusion(share)
            left = (occlusion(white, face).astype(float) - occlusion(black, face))[..., 0] / 255
            assert 1 - left.mean() == pytest.approx(share, abs=2e-4)


def test_all_of_the_crop_can_be_covered() -> None:
    covered = Occlusion(1.0)(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8), "a")
    assert len(np.unique(covered.reshape(-1, 3), axis=0)) == 1


def test_rectangles_differ_by_face_and_seed_and_not_by_crop_size() -> None:
    places = {Occlusion(0.2, seed).rectangle(face) for face in IDS for seed in (0, 1)}
    assert len(places) == 2 * len(IDS)
    small, large = (Occlusion(0.25)(np.repeat(np.repeat(GREY, k, 0), k, 1), "a") for k in (1, 4))
    shrunk = large.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small).max() <= 1


def test_blur_means_the_same_at_every_input_size() -> None:
    """A step blurred with sigma 8 px of 256 falls from 84 to 16 % over 2 sigma, which is 16 px of 256 and 8 of 128."""
    for side in (256, 128):
        step = np.zeros((side, side, 3), np.uint8)
        step[:, : side // 2] = 200
        profile = Blur(8.0)(step, "a")[side // 2, :, 0] / 200
        sigma = 8 * side // 256
        middle = (side - 1) / 2
        at = np.interp([middle - sigma, middle, middle + sigma], np.arange(side), profile)
        np.testing.assert_allclose(at, [0.841, 0.5, 0.159], atol=0.012)


@pytest.mark.parametrize("corruption", [Blur(6.0), Resolution(32), Resolution(24)])
def test_landmarks_stay_where_they_are(corruption: Corruption) -> None:
    points = np.array([[60.3, 70.7], [190.5, 71.2], [120.0, 180.4]])
    changed = corruption(draw_dots(points, 256, 256, sigma=8), "a")
    for point in points:
        np.testing.assert_allclose(find_dot(changed, point, 40), point, atol=0.25)


def test_a_small_face_has_as_many_values_as_asked() -> None:
    """A chessboard of 2 x 2 px becomes its mean, 100, where 4 px become one; 64 px stay."""
    board = np.kron(np.indices((32, 32)).sum(0) % 2, np.ones((2, 2)))[..., None].repeat(3, 2)
    image = (200 * board).astype(np.uint8)
    assert (Resolution(16)(image, "a") == 100).all()
    assert Resolution(64)(image, "a") is image
    assert Resolution(128)(image, "a") is image


@given(
    corruption=st.one_of(
        st.builds(Blur, st.floats(0, 3)), st.builds(Resolution, st.one_of(st.none(), st.integers(1, 300)))
    ),
    side=st.integers(8, 128),
)
@settings(max_examples=150, deadline=None)
def test_a_card_says_a_change_exactly_where_there_is_one(corruption: Corruption, side: int) -> None:
    board = (255 * (np.indices((side, side)).sum(0) % 2)).astype(np.uint8)[..., None].repeat(3, 2)
    dot = np.zeros((side, side, 3), np.uint8)
    dot[side // 3, side // 3] = 255
    changed = any((corruption(image, "a") != image).any() for image in (board, dot))
    assert changed == (corruption.describe(side) != NONE)


@pytest.mark.parametrize("corruption", [Occlusion(0), Blur(0), Resolution(None)])
def test_nothing_is_nothing(corruption: Corruption) -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert corruption(image, "a") is image
    assert corruption.describe(64) == NONE


def test_descriptions_tell_settings_apart() -> None:
    corruptions = [Occlusion(0.1), Occlusion(0.2), Occlusion(0.2, seed=1), Blur(1), Blur(2), Resolution(32)]
    assert len({c.describe(256) for c in corruptions} | {NONE}) == 7
    assert Resolution(128).describe(256) == "crop shrunk to 128 px and enlarged again"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Occlusion(1.2), "share is 1.2"),
        (lambda: Occlusion(float("nan")), "share is nan"),
        (lambda: Occlusion(seed=-1), "seed is -1"),
        (lambda: Blur(-1), "sigma is -1"),
        (lambda: Resolution(0), "side is 0"),
    ],
)
def test_bad_settings_are_named(build, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corrupted")
    write_faces(folder, annotation_frame(22, tests=6))
    return folder


def module(root: Path, corruption: Corruption | None, **changes: int) -> FaceDataModule:
    sizes = {"input_size": 32, "batch_size": 4, "eval_batch_size": 3, "num_workers": 0, **changes}
    data = FaceDataModule(
        CropsDataset(root, QUAD), Augmentation(), PerImage(), box=LandmarkBox(1.5), val_fraction=0.3, seed=0,
        corruption=corruption, **sizes,
    )  # fmt: skip
    data.setup("fit")
    data.setup("test")
    return data


def images(loader) -> dict[int, np.ndarray]:
    return {int(i): image.numpy() for batch in loader for i, image in zip(batch.index, batch.image, strict=True)}


def test_only_test_faces_change_whatever_the_loaders(root: Path) -> None:
    clean, covered = module(root, None), module(root, Occlusion(0.4))
    others = module(root, Occlusion(0.4), eval_batch_size=2, num_workers=2)
    for loader in ("train_dataloader", "val_dataloader"):
        before, after = (images(getattr(data, loader)()) for data in (clean, covered))
        assert all((before[i] == after[i]).all() for i in before)
    before, after, again = (images(data.test_dataloader()) for data in (clean, covered, others))
    for i in before:
        share = (before[i] != after[i]).any(axis=0).mean()
        assert 0.35 <= share <= 0.55, i  # edges are mixed, and a pixel may have the colour already
        assert (after[i] == again[i]).all()


def test_targets_stay(root: Path) -> None:
    pairs = zip(*(module(root, c).test_dataloader() for c in (None, Occlusion(0.4))), strict=True)
    for clean, covered in pairs:
        assert (clean.landmarks == covered.landmarks).all()
        assert (clean.crop_to_image == covered.crop_to_image).all()


def test_an_evaluation_under_a_corruption_says_so(tiny_run: TinyRun, tmp_path: Path, no_pictures: None) -> None:
    nothing = evaluate_run(
        tiny_run.folder, f"output_dir={tmp_path}/nothing", "corruption=occlusion", "corruption.share=0"
    )
    covered = evaluate_run(
        tiny_run.folder, f"output_dir={tmp_path}/covered", "corruption=occlusion", "corruption.share=0.4"
    )
    clean = tiny_run.result
    assert clean.protocol.corruption == nothing.protocol.corruption == NONE
    assert nothing.metrics["test"]["last"]["nme"] == pytest.approx(clean.metrics["test"]["last"]["nme"], rel=1e-6)
    assert covered.protocol.differences(clean.protocol) == {
        "corruption": ("a rectangle over 0.4 of the crop, seed 0", NONE)
    }
    assert covered.metrics["test"]["last"]["nme"] != clean.metrics["test"]["last"]["nme"]
