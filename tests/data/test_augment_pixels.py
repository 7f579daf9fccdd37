"""Changes of colour and occlusion of our own, and the coin they share with the geometry."""

from __future__ import annotations

import albumentations as A
import numpy as np
import pytest

from facegraph.data.augment import Augmentation, GeometricAugmentation
from facegraph.data.photometric import ContrastClip, NoiseRectangle, RectangleOcclusion
from facegraph.data.warp import warp
from facegraph.errors import ConfigError

OWN = [RectangleOcclusion(), NoiseRectangle(), ContrastClip()]


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("transform", OWN, ids=lambda t: type(t).__name__)
def test_same_generator_same_picture_and_the_input_stays(transform) -> None:
    image = noise(0, 40, 56, 3)
    before = image.copy()
    pictures = [transform.apply(image, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(pictures[0], pictures[2])
    assert (pictures[0] != pictures[1]).any()
    assert pictures[0].dtype == np.uint8
    assert pictures[0].shape == image.shape


def levels_of(seed: int, low_max: float = 0.4, high_min: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """low and high (3,) that ContrastClip draws, as levels of a byte."""
    rng = np.random.default_rng(seed)
    return 255 * rng.uniform(0, low_max, 3), 255 * rng.uniform(high_min, 1, 3)


def ramp(first: int = 0, last: int = 255) -> np.ndarray:
    """(1, W, 3): each level from first to last once, the same in all channels."""
    return np.repeat(np.arange(first, last + 1, dtype=np.uint8)[None, :, None], 3, axis=2)


def test_contrast_clip_blackens_and_whitens_and_leaves_what_lies_between() -> None:
    """With black and white in the channel nothing is left to stretch."""
    image = ramp()
    np.testing.assert_array_equal(ContrastClip(0.0, 1.0).apply(image, np.random.default_rng(0)), image)
    for seed in range(20):
        low, high = levels_of(seed)
        clipped = ContrastClip(0.4, 0.6).apply(image, np.random.default_rng(seed))
        np.testing.assert_array_equal(clipped, np.where(image < low, 0, np.where(image > high, 255, image)))


def test_contrast_clip_uses_the_whole_range_afterwards() -> None:
    """By hand: 110, 130 and 150 lie between any low of up to 102 and any high from 153 on: 0, 127.5 and 255."""
    image = np.array([[110, 130, 150]], dtype=np.uint8)[..., None].repeat(3, axis=2)
    for seed in range(20):
        clipped = ContrastClip(0.4, 0.6).apply(image, np.random.default_rng(seed))
        assert set(clipped[0, 0]) == {0}
        assert set(clipped[0, 1]) <= {127, 128}
        assert set(clipped[0, 2]) == {255}


def test_contrast_clip_takes_minimum_and_maximum_of_what_was_clipped() -> None:
    """A channel whose darkest is cut to 0 and whose lightest is left: (v - 0) / 140, whatever the darkest was."""
    image = np.array([[1, 120, 140]], dtype=np.uint8)[..., None].repeat(3, axis=2)
    seed = next(s for s in range(50) if (levels_of(s)[0] > 2).all())
    clipped = ContrastClip(0.4, 0.6).apply(image, np.random.default_rng(seed))
    np.testing.assert_array_equal(clipped[0], [[0] * 3, [219] * 3, [255] * 3])  # 255 * 120 / 140 = 218.57
    image = np.array([[110, 140, 254]], dtype=np.uint8)[..., None].repeat(3, axis=2)
    seed = next(s for s in range(50) if (levels_of(s)[1] < 253).all())
    clipped = ContrastClip(0.4, 0.6).apply(image, np.random.default_rng(seed))
    np.testing.assert_array_equal(clipped[0], [[0] * 3, [53] * 3, [255] * 3])  # 255 * 30 / (255 - 110) = 52.76


def test_contrast_clip_leaves_no_level_in_a_constant_channel() -> None:
    """Even where the level is above high: 1 minus the minimum, 1."""
    image = np.broadcast_to(np.array([5, 130, 250], dtype=np.uint8), (4, 6, 3)).copy()
    image[:, 3:, 1] = 140  # and only there: other channels do not matter to one
    for seed in range(10):
        clipped = ContrastClip(0.4, 0.6).apply(image, np.random.default_rng(seed))
        assert not clipped[..., [0, 2]].any()
        assert (clipped[:, :3, 1] == 0).all()
        assert (clipped[:, 3:, 1] == 255).all()


def test_contrast_clip_treats_channels_apart_and_reaches_its_ranges() -> None:
    blacks, whites = [], []
    for seed in range(300):
        levels = ContrastClip(0.4, 0.6).apply(ramp(), np.random.default_rng(seed))[0]
        assert (np.diff(levels.astype(int), axis=0) >= 0).all()
        blacks.append((levels == 0).sum(axis=0) / 256)
        whites.append(1 - (levels == 255).sum(axis=0) / 256)
    assert np.max(blacks) == pytest.approx(0.4, abs=0.02)
    assert np.min(whites) == pytest.approx(0.6, abs=0.02)
    assert np.ptp(blacks, axis=1).mean() > 0.1


def test_noise_rectangle_is_one_rectangle_of_noise_within_the_crop() -> None:
    image = np.full((80, 100, 3), 100, dtype=np.uint8)
    sizes, corners = [], []
    for seed in range(500):
        changed = NoiseRectangle(0.5).apply(image, np.random.default_rng(seed))
        rows, columns = np.nonzero((changed != image).any(axis=2))
        part = changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        sizes.append(part.shape[:2])
        corners.append((rows.min(), columns.min(), 79 - rows.max(), 99 - columns.max()))
        assert (part != 100).any(axis=2).all()  # all three channels hit 100 once in 16 million times
    assert np.max(sizes, axis=0).tolist() == [40, 50]
    assert np.min(sizes, axis=0).max() <= 2
    assert np.mean(sizes, axis=0) == pytest.approx([20.5, 25.5], rel=0.1)
    assert np.min(corners, axis=0).tolist() == [0, 0, 0, 0]


def test_noise_is_uniform_and_apart_in_each_channel() -> None:
    part = NoiseRectangle(1.0).apply(np.zeros((400, 400, 3), dtype=np.uint8), np.random.default_rng(3))
    part = part[(part > 0).any(axis=2)].astype(float)
    assert len(part) > 5000
    assert part.mean() == pytest.approx(127.5, abs=3)
    assert part.std() == pytest.approx(255 / np.sqrt(12), abs=3)
    assert np.abs(np.corrcoef(part.T) - np.eye(3)).max() < 0.05


def test_one_coin_for_geometry_and_pixels_another_for_what_comes_after() -> None:
    augmentation = Augmentation(
        GeometricAugmentation(rotation_degrees=30),
        photometric=[ContrastClip(p=1.0)],
        probability=0.5,
        afterwards=[A.ToGray(p=0.5)],
    )
    image = noise(1, 32, 32, 3)
    grey_image = A.ToGray(p=1.0)(image=image)["image"]
    rows = []
    for seed in range(800):
        rng = np.random.default_rng(seed)
        change = augmentation.sample(rng, 32)
        painted = augmentation.paint(image, rng, change.painted)
        moved = not np.array_equal(change.crop_to_augmented, np.eye(3))
        grey = bool((painted == painted[..., :1]).all())
        assert moved == change.painted
        assert change.painted != any(np.array_equal(painted, picture) for picture in (image, grey_image))
        rows.append((moved, grey))
    moved, grey = np.array(rows).T
    assert moved.mean() == pytest.approx(0.5, abs=0.06)
    assert grey.mean() == pytest.approx(0.5, abs=0.06)
    assert abs(np.corrcoef(moved, grey)[0, 1]) < 0.1


@pytest.mark.parametrize("p", [0.0, 0.35, 1.0])
def test_p_is_the_share_of_changed_faces(p: float) -> None:
    image = noise(2, 24, 24, 3)
    augmentation = Augmentation(photometric=[NoiseRectangle(p=p)])
    changed = [(augmentation.paint(image, np.random.default_rng(s)) != image).any() for s in range(800)]
    assert np.mean(changed) == pytest.approx(p, abs=0.05 if 0 < p < 1 else 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RectangleOcclusion(p=1.5),
        lambda: RectangleOcclusion(area_fraction=0),
        lambda: NoiseRectangle(max_side=2),
        lambda: ContrastClip(low_max=0.7, high_min=0.6),
        lambda: Augmentation(probability=-1),
        lambda: Augmentation(afterwards=[A.HorizontalFlip()]),
        lambda: Augmentation(geometric={"scale_min": 0.9}),
    ],
)
def test_out_of_range_is_refused(make) -> None:
    with pytest.raises(ConfigError, match=r"needs|needed|may move pixels|Choose an option that has one"):
        make()


def test_the_warp_through_four_channels_changes_no_bit() -> None:
    """Rows that the crop does not show are not copied, and what memory holds there must not be seen."""
    cv2 = pytest.importorskip("cv2")
    geometric = GeometricAugmentation(180, 0.6, 1.6, 0.7, 0.5, 1.0, 0.6, 1.4, 0.3)
    rng = np.random.default_rng(5)
    for number in range(150):
        image = noise(number, *rng.integers(40, 300, 2), 3)
        warp(noise(number + 1, 320, 320, 3), np.eye(3), 64)  # leaves other pixels in the memory
        matrix, _ = geometric.sample(rng, 64)
        if np.sqrt(abs(np.linalg.det(matrix[:2, :2]))) < 0.5:
            continue
        expected = cv2.warpAffine(image, matrix[:2], (64, 64), flags=cv2.INTER_LINEAR, borderValue=(127, 127, 127))
        np.testing.assert_array_equal(warp(image, matrix, 64), expected)
