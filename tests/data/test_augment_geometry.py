"""The matrix of an augmented face: ranges, probabilities, and the numbers that are drawn for it."""

from __future__ import annotations

import numpy as np
import pytest

from facegraph.data.augment import Augmentation, GeometricAugmentation
from facegraph.data.boxes import LandmarkBox
from facegraph.data.pipeline import FacePipeline
from facegraph.errors import ConfigError
from facegraph.geometry.affine import horizontal_flip, rotation, scaling, transform_points, translation
from facegraph.structures import FaceSample
from tests.helpers.faces import QUAD

SIZE = 128
CENTRE = np.array([63.5, 63.5])


def linear_parts(geometric: GeometricAugmentation, count: int = 2000) -> np.ndarray:
    """(count, 2, 2) of draws, unmirrored."""
    matrices = []
    for seed in range(count):
        matrix, flipped = geometric.sample(np.random.default_rng(seed), SIZE)
        matrices.append((matrix @ horizontal_flip(SIZE) if flipped else matrix)[:2, :2])
    return np.array(matrices)


def test_paper_recipe_takes_the_numbers_it_always_took() -> None:
    """Angle, factor, two shifts, coin; and no more, so that seeds keep their meaning."""
    geometric = GeometricAugmentation(40, 0.9, 1.1, 0.1171875, 0.5)
    for seed in range(50):
        rng, expected = np.random.default_rng(seed), np.random.default_rng(seed)
        change = Augmentation(geometric).sample(rng, SIZE)
        angle, factor = expected.uniform(-40, 40), expected.uniform(0.9, 1.1)
        dx, dy = expected.uniform(-0.1171875, 0.1171875, size=2) * SIZE
        mirrored = expected.random() < 0.5
        matrix = translation(dx, dy) @ scaling(factor, (63.5, 63.5)) @ rotation(angle, (63.5, 63.5))
        if mirrored:
            matrix = matrix @ horizontal_flip(SIZE)
        np.testing.assert_array_equal(change.crop_to_augmented, matrix)
        assert change.flipped == mirrored
        assert change.painted
        assert rng.random() == expected.random()


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_probability_leaves_the_mirror_alone(probability: float) -> None:
    geometric = GeometricAugmentation(50, 0.8, 1.2, 0.125, flip_probability=0.5, probability=probability)
    changes = [geometric.sample(np.random.default_rng(seed), SIZE) for seed in range(2000)]
    still = [np.array_equal(m, horizontal_flip(SIZE) if f else np.eye(3)) for m, f in changes]
    assert np.mean(still) == pytest.approx(1 - probability, abs=0.04)
    assert np.mean([flipped for _, flipped in changes]) == pytest.approx(0.5, abs=0.04)


def test_width_reaches_its_range_and_height_stays() -> None:
    parts = linear_parts(GeometricAugmentation(width_min=0.6, width_max=1.4))
    np.testing.assert_allclose(parts[:, 1], [[0, 1]] * len(parts), atol=1e-12)
    widths = parts[:, 0, 0]
    assert widths.min() == pytest.approx(0.6, abs=0.01)
    assert widths.max() == pytest.approx(1.4, abs=0.01)
    assert widths.mean() == pytest.approx(1.0, abs=0.02)


def test_shear_reaches_its_range_along_both_axes() -> None:
    parts = linear_parts(GeometricAugmentation(shear=0.3))
    np.testing.assert_allclose(parts[:, [0, 1], [0, 1]], 1, atol=1e-12)
    off = parts[:, [0, 1], [1, 0]]
    assert np.abs(off).max() <= 0.3
    np.testing.assert_allclose(off.min(axis=0), -0.3, atol=0.01)
    np.testing.assert_allclose(off.max(axis=0), 0.3, atol=0.01)
    assert abs(np.corrcoef(off.T)[0, 1]) < 0.1  # two numbers, not one


def test_rotation_comes_before_the_stretch() -> None:
    """The width of the turned face changes, so the first row of a rotation is multiplied and the second is not."""
    parts = linear_parts(GeometricAugmentation(rotation_degrees=30, width_min=0.6, width_max=1.4))
    np.testing.assert_allclose(np.linalg.norm(parts[:, 1], axis=1), 1, atol=1e-12)
    assert np.ptp(np.linalg.norm(parts[:, 0], axis=1)) > 0.7
    np.testing.assert_allclose((parts[:, 0] * parts[:, 1]).sum(axis=1), 0, atol=1e-12)


def test_everything_turns_about_the_centre() -> None:
    geometric = GeometricAugmentation(30, 0.9, 1.1, width_min=0.6, width_max=1.4, shear=0.3, flip_probability=0.5)
    for seed in range(50):
        matrix, _ = geometric.sample(np.random.default_rng(seed), SIZE)
        np.testing.assert_allclose(transform_points(matrix, CENTRE), CENTRE, atol=1e-9)


def test_a_mirrored_face_keeps_left_left() -> None:
    """Dots of four brightnesses: the brightness found at a landmark is that of the landmark it was before."""
    points = np.array([[40.0, 40.0], [88.0, 42.0], [45.0, 86.0], [84.0, 90.0]])
    levels = np.array([60, 120, 180, 240])
    image = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    for (x, y), level in zip(points.astype(int), levels, strict=True):
        image[y - 6 : y + 7, x - 6 : x + 7] = level
    sample = FaceSample(image, points, np.array([0.0, 0.0, 127.0, 127.0]), np.zeros(0, dtype=bool), "levels")
    geometric = GeometricAugmentation(20, 0.9, 1.1, 0.02, 0.5, 1.0, 0.8, 1.2, 0.1)
    pipeline = FacePipeline(QUAD, SIZE, LandmarkBox(1.0), Augmentation(geometric))
    seen = {False: 0, True: 0}
    for seed in range(40):
        _, flipped = geometric.sample(np.random.default_rng(seed), SIZE)
        crop = pipeline.crop(sample, np.random.default_rng(seed))
        x, y = np.rint(crop.landmarks).astype(int).T
        order = list(QUAD.flip) if flipped else [0, 1, 2, 3]
        np.testing.assert_allclose(crop.image[y, x, 0], levels[order], atol=2)
        assert crop.landmarks[0, 0] < crop.landmarks[1, 0]
        seen[flipped] += 1
    assert min(seen.values()) > 5


@pytest.mark.parametrize(
    "settings_",
    [{"probability": 1.5}, {"width_min": 1.2, "width_max": 1.1}, {"width_min": 0}, {"shear": 1}],
    ids=str,
)
def test_out_of_range_is_refused(settings_: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings_))}={next(iter(settings_.values()))}"):
        GeometricAugmentation(**settings_)
